//! What the API takes, and what it says to everything else.

use serde_json::{Value, json};

use crate::bed::eventually;
use crate::house::{House, house};

fn hostname(name: &str) -> Option<Value> {
    Some(json!({ "data": { "attributes": { "hostname": name } } }))
}

#[tokio::test(flavor = "multi_thread")]
async fn hostnames_that_cannot_be_are_refused_with_a_code_a_sentence_and_a_pointer() {
    let house = house("").await;
    let token = house.token("cats", "write");
    for (name, code) in [
        ("co.uk", "hostname_is_a_public_suffix"),
        ("192.0.2.1", "hostname_is_an_ip_address"),
        ("localhost", "hostname_is_a_single_label"),
        ("a.plat.test", "hostname_under_platform"),
        ("plat.test", "hostname_under_platform"),
        ("https://shop.test/", "hostname_alone"),
        ("shop.\u{202e}tset", "hostname_invalid"),
        ("x\r\nX-Evil: 1.test", "hostname_alone"),
        ("'; DROP TABLE hostnames; --.test", "hostname_alone"),
        ("\u{1f600}.\u{0}.test", "hostname_invalid"),
    ] {
        let refused = house.register(&token, name).await;
        assert_eq!((refused.status, refused.code()), (422, code), "{name:?}: {}", refused.body);
        let error = &refused.body["errors"][0];
        assert_eq!(error["source"]["pointer"], "/data/attributes/hostname");
        assert!(error["detail"].as_str().unwrap().ends_with('.'), "{error}");
    }
    for (typed, name) in
        [("☕.shop.test", "xn--53h.shop.test"), ("MÜNCHEN.shop.test", "xn--mnchen-3ya.shop.test")]
    {
        let made = house.register(&token, typed).await;
        assert_eq!((made.status, &made.body["data"]["id"]), (201, &json!(name)));
    }
    let wildcard = house.register(&token, "*.wild.test").await;
    assert_eq!(wildcard.status, 201);
    let stuck = house.becomes(&token, "*.wild.test", "stuck").await;
    assert!(stuck["reason"].as_str().unwrap().contains("wildcard"), "{stuck}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platforms_own_name_is_taken_where_the_configuration_keeps_it_for_the_site() {
    let kept = "[[site]]\nname = \"kept\"\norganization = \"cats\"\nhostnames = [\"own.plat.test\"]\n\
                origins = [\"127.0.0.1:1\"]\n";
    let house = house(kept).await;
    let token = house.token("cats", "write");
    assert_eq!(house.register(&token, "own.plat.test").await.code(), "hostname_reserved");
    let made = house.call(&token, "POST", "/sites/kept/hostnames", hostname("own.plat.test")).await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    let path = "/sites/kept/hostnames/own.plat.test";
    eventually("the platform's certificate serves it", async || {
        house.call(&token, "GET", path, None).await.attributes()["state"] == "serving"
    })
    .await;
    assert_eq!(house.ca.orders(), 0);
}

async fn send(house: &House, token: &str, body: &str, kind: &str) -> (u16, String) {
    let headers = [("content-type", kind)];
    let path = "/sites/default/hostnames";
    let reply = house.call_with(token, "POST", path, Some(body.to_owned()), &headers).await;
    (reply.status, reply.code().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_told_what_is_wrong_and_change_nothing() {
    let house = house("").await;
    let token = house.token("cats", "write");
    const JSON: &str = "application/json";
    let good = hostname("ok.shop.test").unwrap().to_string();
    let huge = format!(r#"{{"data":{{"attributes":{{"hostname":"{}"}}}}}}"#, "a".repeat(70_000));
    for (body, kind, status, code) in [
        ("{", JSON, 400, "malformed_json"),
        ("", JSON, 400, "malformed_json"),
        ("[]", JSON, 422, "malformed_document"),
        (r#"{"hostname":"a.shop.test"}"#, JSON, 422, "malformed_document"),
        (r#"{"data":{"attributes":{"hostname":7}}}"#, JSON, 422, "wrong_type"),
        (r#"{"data":{"attributes":{"hostname":"a.shop.test","x":1}}}"#, JSON, 422, "unknown_attribute"),
        (r#"{"data":{"attributes":{"hostname":"a.shop.test","metadata":[]}}}"#, JSON, 422, "invalid_value"),
        (
            r#"{"data":{"attributes":{"hostname":"a.shop.test","origin":"nonsense"}}}"#,
            JSON,
            422,
            "invalid_value",
        ),
        (
            r#"{"data":{"attributes":{"hostname":"a.shop.test","redirect_to":"a.shop.test"}}}"#,
            JSON,
            422,
            "invalid_value",
        ),
        (good.as_str(), "text/plain", 415, "unsupported_media_type"),
        (huge.as_str(), JSON, 413, "body_too_large"),
    ] {
        let shown = &body[..body.len().min(60)];
        assert_eq!(send(&house, &token, body, kind).await, (status, code.to_owned()), "{shown}");
    }
    assert_eq!(send(&house, &token, &good, "application/vnd.api+json; charset=utf-8").await.0, 201);
    let all = house.call(&token, "GET", "/hostnames", None).await;
    assert_eq!(all.body["data"].as_array().unwrap().len(), 1);
    for path in [
        "/hostnames?page[size]=0",
        "/hostnames?filter[state]=x",
        "/hostnames?page[after]=x",
        "/hostnames?x=1",
    ] {
        assert_eq!(house.call(&token, "GET", path, None).await.status, 400, "{path}");
    }
    assert_eq!(house.call(&token, "GET", "/nowhere", None).await.code(), "no_such_call");
    assert_eq!(house.call(&token, "PUT", "/sites", None).await.code(), "wrong_method");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_what_they_are_for_while_they_are_good() {
    let house = house("[api]\nrequests_per_token = \"30/1h\"\n").await;
    let (read, write, admin) =
        (house.token("cats", "read"), house.token("cats", "write"), house.token("cats", "admin"));
    for bad in ["", "np_x_y", "9f5e850b7d5fac5566aa35e5a3836df0", &format!("{read}x")] {
        let reply = house.call(bad, "GET", "/hostnames", None).await;
        assert_eq!((reply.status, reply.code()), (401, "unauthorized"), "{bad:?}");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(house.register(&read, "a.shop.test").await.status, 403);
    let site = json!({ "data": { "attributes": { "name": "own", "origins": ["127.0.0.1:1"] } } });
    assert_eq!(house.call(&write, "POST", "/sites", Some(site.clone())).await.status, 403);
    assert_eq!(house.call(&admin, "POST", "/sites", Some(site)).await.status, 201);
    assert_eq!(house.call(&admin, "GET", "/organizations", None).await.status, 403);

    let expired = house.token_with("cats", "read", &["--expires", "1ms"]);
    assert_eq!(house.call(&expired, "GET", "/hostnames", None).await.status, 401);
    let body = json!({ "data": { "attributes": { "scope": "read", "note": "to be revoked" } } });
    let made = house.call(&admin, "POST", "/tokens", Some(body)).await;
    let (id, text) =
        (made.body["data"]["id"].as_str().unwrap(), made.attributes()["token"].as_str().unwrap());
    assert_eq!(house.call(text, "GET", "/hostnames", None).await.status, 200);
    assert_eq!(house.call(&admin, "DELETE", &format!("/tokens/{id}"), None).await.status, 204);
    assert_eq!(house.call(text, "GET", "/hostnames", None).await.status, 401, "in force at once");
    assert!(!house.edge.log().contains(text), "no secret reaches the log");

    let mut last = house.call(&write, "GET", "/hostnames", None).await;
    for _ in 0..40 {
        last = house.call(&write, "GET", "/hostnames", None).await;
    }
    assert_eq!((last.status, last.code()), (429, "too_many_requests"));
    assert!(last.headers.contains_key("retry-after"));
    assert_eq!(house.call(&read, "GET", "/hostnames", None).await.status, 200, "others are not concerned");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_kept_and_an_operator_can_raise_it() {
    let house = house("[api]\nhostnames_per_organization = 1\n").await;
    let (cats, operator) = (house.token("cats", "write"), house.token("*", "admin"));
    assert_eq!(house.register(&cats, "one.shop.test").await.status, 201);
    let refused = house.register(&cats, "two.shop.test").await;
    assert_eq!((refused.status, refused.code()), (403, "quota_reached"));
    let quota = json!({ "data": { "attributes": { "quota": 2 } } });
    assert_eq!(house.call(&operator, "PATCH", "/organizations/cats", Some(quota)).await.status, 200);
    assert_eq!(house.register(&cats, "two.shop.test").await.status, 201);
    let quota = house.call(&cats, "GET", "/quota", None).await;
    assert_eq!((&quota.attributes()["allocated"], &quota.attributes()["used"]), (&json!(2), &json!(2)));
    house.call(&cats, "DELETE", "/sites/default/hostnames/one.shop.test", None).await;
    assert_eq!(house.register(&cats, "three.shop.test").await.status, 201);
    let audit = house.call(&cats, "GET", "/events?filter[audit]=true", None).await;
    let who = audit.body["data"][0]["attributes"]["actor"].as_str().unwrap();
    assert!(cats.contains(who), "the trail names the token by its identifier");
}
