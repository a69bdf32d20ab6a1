//! What is set for one hostname, and for sites, is in force without a reload.

use serde_json::json;

use crate::bed::eventually;
use crate::house::house;

#[tokio::test(flavor = "multi_thread")]
async fn origin_redirect_and_metadata_of_a_hostname_are_in_force_at_once() {
    let house = house("").await;
    let token = house.token("cats", "write");
    house.register(&token, "shop.set.test").await;
    house.becomes(&token, "shop.set.test", "serving").await;
    let path = "/sites/default/hostnames/shop.set.test";
    let patch = async |attributes: serde_json::Value| {
        let body = json!({ "data": { "attributes": attributes } });
        let reply = house.call(&token, "PATCH", path, Some(body)).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply
    };

    patch(json!({ "metadata": { "plan": "gold", "name": "Bücher" } })).await;
    house.edge.get("shop.set.test", "/meta").await;
    let seen = house.origin.requests().into_iter().rev().find(|seen| seen.line.ends_with("/meta")).unwrap();
    let metadata: serde_json::Value =
        serde_json::from_slice(seen.headers["x-nameplate-metadata"].as_bytes()).unwrap();
    assert_eq!(metadata, json!({ "plan": "gold", "name": "Bücher" }));

    patch(json!({ "origin": house.other_origin.address.to_string() })).await;
    house.edge.get("shop.set.test", "/own").await;
    assert!(house.other_origin.requests().iter().any(|seen| seen.line.ends_with("/own")));

    patch(json!({ "redirect_to": "www.set.test", "redirect_status": 301 })).await;
    let page = house.edge.get("shop.set.test", "/a/b?c=d").await;
    assert!(page.starts_with("HTTP/1.1 301"), "{page}");
    let port = house.edge.https.port();
    let wanted = format!("location: https://www.set.test:{port}/a/b?c=d");
    assert!(page.to_lowercase().contains(&wanted), "{page}");

    let cleared = patch(json!({ "origin": null, "redirect_to": null, "metadata": null })).await;
    assert!(cleared.attributes()["metadata"].is_null());
    house.edge.get("shop.set.test", "/plain").await;
    assert_eq!(house.host_of("/plain"), "shop.set.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_based_on_an_older_version_is_refused() {
    let house = house("").await;
    let token = house.token("cats", "write");
    let made = house.register(&token, "v.set.test").await;
    let first = made.headers["etag"].to_str().unwrap().to_owned();
    let path = "/sites/default/hostnames/v.set.test";
    let change = async |etag: &str, n: i32| {
        let body = json!({ "data": { "attributes": { "metadata": { "n": n } } } }).to_string();
        house.call_with(&token, "PATCH", path, Some(body), &[("if-match", etag)]).await
    };
    let second = change(&first, 1).await;
    assert_eq!(second.status, 200);
    assert_ne!(second.headers["etag"], first.as_str());
    let refused = change(&first, 2).await;
    assert_eq!((refused.status, refused.code()), (412, "changed_meanwhile"));
    assert_eq!(house.get(&token, "v.set.test").await.attributes()["metadata"], json!({ "n": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_made_by_the_api_serves_and_follows_its_changes() {
    let house = house("").await;
    let token = house.token("dogs", "admin");
    let site = json!({ "data": { "attributes": {
        "name": "kennel", "origins": [house.origin.address.to_string()], "cname_target": "dogs.example.net"
    } } });
    assert_eq!(house.call(&token, "POST", "/sites", Some(site)).await.status, 201);
    let body = json!({ "data": { "attributes": { "hostname": "www.kennel.test" } } });
    let made = house.call(&token, "POST", "/sites/kennel/hostnames", Some(body)).await;
    assert_eq!(made.attributes()["dns"]["records_wanted"][0]["value"], "dogs.example.net", "white label");
    let path = "/sites/kennel/hostnames/www.kennel.test";
    eventually("it serves", async || {
        house.call(&token, "GET", path, None).await.attributes()["state"] == "serving"
    })
    .await;
    house.edge.get("www.kennel.test", "/one").await;
    assert_eq!(house.host_of("/one"), "www.kennel.test");

    assert_eq!(house.call(&token, "DELETE", "/sites/kennel", None).await.code(), "site_in_use");
    let body = json!({ "data": { "attributes": { "origins": [house.other_origin.address.to_string()] } } });
    assert_eq!(house.call(&token, "PATCH", "/sites/kennel", Some(body)).await.status, 200);
    eventually("requests go to the new origin", async || {
        house.edge.get("www.kennel.test", "/two").await;
        house.other_origin.requests().iter().any(|seen| seen.line.ends_with("/two"))
    })
    .await;
    house.call(&token, "DELETE", path, None).await;
    assert_eq!(house.call(&token, "DELETE", "/sites/kennel", None).await.status, 204);
}
