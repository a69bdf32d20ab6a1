//! Requests that come again with the `Idempotency-Key` of the first.

use std::sync::Arc;

use futures::future::join_all;
use nameplate::domain::clock::SystemClock;
use nameplate::store::answers::{Answers, Keyed, Turn};
use nameplate::store::key_file;
use nameplate::store::sqlite::SqliteStore;
use nameplate::telemetry::metrics::Metrics;
use serde_json::{Value, json};

use crate::house::{House, Reply, house};

const ONE: [(&str, &str); 1] = [("idempotency-key", "k-1")];

async fn post(house: &House, token: &str, path: &str, attributes: Value) -> Reply {
    let body = json!({ "data": { "attributes": attributes } }).to_string();
    house.call_with(token, "POST", path, Some(body), &ONE).await
}

async fn post_site(house: &House, token: &str, name: &str) -> Reply {
    post(house, token, "/sites", json!({ "name": name, "origins": ["127.0.0.1:1"] })).await
}

fn is_replayed(reply: &Reply) -> bool {
    reply.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// How many a list has.
async fn number(house: &House, token: &str, path: &str) -> usize {
    house.call(token, "GET", path, None).await.body["data"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_twice_with_one_key_is_done_once() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    let first = post_site(&house, &token, "own").await;
    let second = post_site(&house, &token, "own").await;
    assert_eq!((first.status, second.status), (201, 201), "and not 409");
    assert_eq!(first.body, second.body);
    for header in ["etag", "location", "content-type"] {
        assert_eq!(first.headers.get(header), second.headers.get(header), "{header}");
    }
    assert!(!is_replayed(&first) && is_replayed(&second));
    assert_eq!(post_site(&house, &token, "other").await.code(), "idempotency_key_reused");
    let other = house.token("dogs", "admin");
    assert_eq!(post_site(&house, &other, "third").await.status, 201, "another's key is another key");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_with_secrets_are_given_again_also_after_a_restart() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    let hook = json!({ "url": "https://hooks.shop.test/" });
    let new = json!({ "scope": "read" });
    let webhooks = async |house: &House, token: &str| {
        let headers = [("idempotency-key", "k-2")];
        let body = json!({ "data": { "attributes": hook } }).to_string();
        house.call_with(token, "POST", "/webhooks", Some(body), &headers).await
    };
    let first = (post(&house, &token, "/tokens", new.clone()).await, webhooks(&house, &token).await);
    assert_eq!((first.0.status, first.1.status), (201, 201));
    let tokens = number(&house, &token, "/tokens").await;
    let house = house.restarted().await;
    let second = (post(&house, &token, "/tokens", new).await, webhooks(&house, &token).await);
    assert_eq!((&first.0.body, &first.1.body), (&second.0.body, &second.1.body));
    assert!(is_replayed(&second.0) && is_replayed(&second.1));
    assert_eq!(number(&house, &token, "/tokens").await, tokens);
    assert_eq!(number(&house, &token, "/webhooks").await, 1);
    let secret = first.0.attributes()["token"].as_str().unwrap();
    assert_eq!(house.call(secret, "GET", "/hostnames", None).await.status, 200);
    let folder = house.edge.stop().await;
    for file in std::fs::read_dir(folder.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        let octets = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let found = octets.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{} holds a secret", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_with_one_key_one_is_done_and_all_get_its_answer() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    let replies = join_all((0..10).map(|_| post_site(&house, &token, "own"))).await;
    assert!(replies.iter().all(|reply| reply.status == 201 && reply.body == replies[0].body));
    assert_eq!(replies.iter().filter(|reply| !is_replayed(reply)).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_given_again() {
    let house = house("").await;
    let token = house.token("cats", "write");
    let refused = post(&house, &token, "/sites/default/hostnames", json!({ "hostname": "localhost" })).await;
    let again = post(&house, &token, "/sites/default/hostnames", json!({ "hostname": "localhost" })).await;
    assert_eq!((refused.status, refused.body), (422, again.body.clone()));
    assert!(is_replayed(&again));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_another_machine_is_at_comes_again_later() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    let body = json!({ "data": { "attributes": { "name": "own", "origins": ["127.0.0.1:1"] } } }).to_string();
    let asked = [b"/api/v1/sites\0", body.as_bytes()].concat();
    let request = Keyed {
        caller: token.split('_').nth(1).unwrap(),
        key: "k-1",
        fingerprint: openssl::sha::sha256(&asked),
    };
    let data_dir = house.edge.folder().join("data");
    let key = key_file::load_or_make(&data_dir.join("store.key")).unwrap();
    let clock = Arc::new(SystemClock);
    let store =
        SqliteStore::open_beside(&data_dir, key, clock, Arc::new(Metrics::new("test"))).await.unwrap();
    assert!(store.take_turn(request).await.unwrap() == Turn::Ours);

    let refused = house.call_with(&token, "POST", "/sites", Some(body.clone()), &ONE).await;
    assert_eq!((refused.status, refused.code()), (409, "request_under_way"));
    let seconds: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    store.give_turn_back(request).await.unwrap();
    assert_eq!(house.call_with(&token, "POST", "/sites", Some(body), &ONE).await.status, 201);
}
