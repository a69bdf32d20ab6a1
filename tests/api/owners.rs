//! Whose a hostname is.

use serde_json::{Value, json};

use crate::bed::eventually;
use crate::house::{House, Reply, house};

const MORE: &str = r#"
[[site]]
name = "dogs"
organization = "dogs"
origins = ["{other}"]
"#;

/// How often names that have a certificate were read.
const READS: &str = "store_operations_total{operation=\"news_after\",result=\"ok\"}";

/// Registers for the site of the other organization.
async fn dogs_register(house: &House, token: &str, name: &str) -> Reply {
    let body = json!({ "data": { "attributes": { "hostname": name } } });
    house.call(token, "POST", "/sites/dogs/hostnames", Some(body)).await
}

async fn dogs_see(house: &House, token: &str, name: &str) -> Value {
    house.call(token, "GET", &format!("/sites/dogs/hostnames/{name}"), None).await.attributes().clone()
}

async fn sets_txt(house: &House, name: &str, value: &Value) {
    let host = format!("_nameplate.{name}.");
    house.ca.set_dns("set-txt", json!({ "host": host, "value": value })).await;
}

async fn dogs_check(house: &House, token: &str, name: &str) {
    house.call(token, "POST", &format!("/sites/dogs/hostnames/{name}/check"), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_organizations_fight_for_a_name_and_the_one_with_the_txt_record_has_it() {
    let house = house(MORE).await;
    let (cats, dogs) = (house.token("cats", "write"), house.token("dogs", "write"));
    house.register(&cats, "www.prize.test").await;
    house.becomes(&cats, "www.prize.test", "serving").await;

    let second = dogs_register(&house, &dogs, "www.prize.test").await;
    assert_eq!(second.status, 201, "{:?}", second.body);
    eventually("the second one is told what to do", async || {
        dogs_see(&house, &dogs, "www.prize.test").await["state"] == "stuck"
    })
    .await;
    let seen = dogs_see(&house, &dogs, "www.prize.test").await;
    let proof = &second.attributes()["ownership"]["txt_value"];
    let reason = seen["reason"].as_str().unwrap();
    assert!(
        reason.contains("_nameplate.www.prize.test") && reason.contains(proof.as_str().unwrap()),
        "{reason}"
    );
    house.edge.get("www.prize.test", "/first").await;
    assert_eq!(house.host_of("/first"), "www.prize.test");

    sets_txt(&house, "www.prize.test", proof).await;
    eventually("the record is seen", async || {
        dogs_check(&house, &dogs, "www.prize.test").await;
        dogs_see(&house, &dogs, "www.prize.test").await["state"] == "serving"
    })
    .await;
    eventually("requests go to the new owner", async || {
        house.edge.get("www.prize.test", "/second").await;
        house.other_origin.requests().iter().any(|seen| seen.line.ends_with("/second"))
    })
    .await;
    let lost = house.becomes(&cats, "www.prize.test", "stuck").await;
    assert_eq!(lost["ownership"]["held"], false);
    assert_eq!(house.ca.orders(), 1, "the certificate is the name's, not the organization's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dangling_record_gives_a_stranger_nothing() {
    let house = house(MORE).await;
    let (cats, dogs) = (house.token("cats", "write"), house.token("dogs", "write"));
    house.register(&cats, "old.shop.test").await;
    house.becomes(&cats, "old.shop.test", "serving").await;
    house.call(&cats, "DELETE", "/sites/default/hostnames/old.shop.test", None).await;

    // Its DNS still leads here.
    dogs_register(&house, &dogs, "old.shop.test").await;
    eventually("it was looked at", async || {
        dogs_see(&house, &dogs, "old.shop.test").await["state"] == "stuck"
    })
    .await;
    // What changed, by whomever, is looked at twice a second.
    let reads = async || house.edge.metric(READS).await;
    let before = reads().await;
    eventually("changes were read again", async || reads().await > before + 3.0).await;
    assert!(house.edge.handshake("old.shop.test").await.is_err(), "a stranger is not served");
    // Whose it was comes back without setting anything.
    house.register(&cats, "old.shop.test").await;
    house.becomes(&cats, "old.shop.test", "serving").await;
    house.edge.get("old.shop.test", "/back").await;
    assert_eq!(house.host_of("/back"), "old.shop.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_organization_sees_nothing_of_another() {
    let house = house(MORE).await;
    let (cats, dogs) = (house.token("cats", "admin"), house.token("dogs", "admin"));
    house.register(&cats, "secret.cats.test").await;
    for (method, path) in [
        ("GET", "/sites/default"),
        ("GET", "/sites/default/hostnames"),
        ("GET", "/sites/default/hostnames/secret.cats.test"),
        ("DELETE", "/sites/default/hostnames/secret.cats.test"),
        ("POST", "/sites/default/hostnames/secret.cats.test/check"),
        ("GET", "/sites/dogs/hostnames/secret.cats.test"),
    ] {
        assert_eq!(house.call(&dogs, method, path, None).await.status, 404, "{method} {path}");
    }
    for path in ["/hostnames", "/certificates", "/events", "/tokens?page[size]=1", "/sites"] {
        let reply = house.call(&dogs, "GET", path, None).await;
        assert_eq!(reply.status, 200);
        assert!(!reply.body.to_string().contains("cats"), "{path}: {}", reply.body);
    }
    let operator = house.token("*", "read");
    let all = house.call(&operator, "GET", "/hostnames", None).await;
    assert_eq!(all.body["data"][0]["id"], "secret.cats.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_names_is_its_sites_whatever_others_register() {
    let acme = "[[site]]\nname = \"acme\"\norganization = \"acme\"\nhostnames = [\"*.acme.test\", \"www.fixed.test\"]\n\
                origins = [\"{other}\"]\n[[site]]\nname = \"dogs\"\norganization = \"dogs\"\n\
                origins = [\"127.0.0.1:1\"]\n";
    let house = house(acme).await;
    let dogs = house.token("dogs", "admin");
    for name in ["login.acme.test", "www.fixed.test", "*.acme.test", crate::house::TARGET] {
        let refused = dogs_register(&house, &dogs, name).await;
        assert_eq!(refused.status, 422, "{name}: {:?}", refused.body);
        assert!(!refused.body.to_string().contains("acme\""), "whose it is is not told: {}", refused.body);
    }
    house.edge.get("login.acme.test", "/mine").await;
    assert!(house.other_origin.requests().iter().any(|seen| seen.line.ends_with("/mine")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_below_anothers_wildcard_gives_a_stranger_nothing() {
    let house = house(MORE).await;
    let (cats, dogs) = (house.token("cats", "admin"), house.token("dogs", "admin"));
    house.register(&cats, "*.pets.test").await;
    dogs_register(&house, &dogs, "login.pets.test").await;
    eventually("it was looked at", async || {
        dogs_see(&house, &dogs, "login.pets.test").await["state"] == "stuck"
    })
    .await;
    assert!(house.edge.handshake("login.pets.test").await.is_err());
    assert_eq!(house.ca.orders(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_hostname_is_nobodys_on_connections_of_before_too() {
    let house = house("").await;
    let token = house.token("cats", "write");
    house.register(&token, "kept.alive.test").await;
    house.becomes(&token, "kept.alive.test", "serving").await;
    let served = house.edge.handshake("kept.alive.test").await.unwrap();
    house.call(&token, "DELETE", "/sites/default/hostnames/kept.alive.test", None).await;
    let page = served.get("kept.alive.test", "/after").await;
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    assert!(!house.origin.requests().iter().any(|seen| seen.line.ends_with("/after")));
}
