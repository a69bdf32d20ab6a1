//! Webhooks by the API: the whole way from what happens to whoever is told.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::bed::eventually;
use crate::house::{House, house};
use crate::receiver::{Behaviour, Message, Receiver};

const ALLOWED: &str = "[webhooks]\nallow_private = [\"127.0.0.0/8\"]\n";
/// Base64 of 32 octets.
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn makes_webhook(house: &House, token: &str, attributes: Value) -> crate::house::Reply {
    house.call(token, "POST", "/webhooks", Some(json!({ "data": { "attributes": attributes } }))).await
}

/// By another HMAC than the one that signed.
fn is_signed(message: &Message) -> bool {
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let key = openssl::pkey::PKey::hmac(&key).unwrap();
    let mut signer = openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &key).unwrap();
    let signed = format!("{}.{}.{}", message.id(), message.header("webhook-timestamp"), message.body);
    signer.update(signed.as_bytes()).unwrap();
    message.header("webhook-signature") == format!("v1,{}", STANDARD.encode(signer.sign_to_vec().unwrap()))
}

fn kinds(messages: &[Message]) -> Vec<String> {
    let kind = |message: &Message| message.json()["type"].as_str().unwrap().to_owned();
    messages.iter().map(kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_gets_everything_in_order_and_signed() {
    let house = house(ALLOWED).await;
    let token = house.token("cats", "admin");
    let receiver = Receiver::start(Behaviour::Status(503)).await;
    let made = makes_webhook(&house, &token, json!({ "url": receiver.url(), "secret": SECRET })).await;
    assert_eq!((made.status, &made.attributes()["secret"]), (201, &json!(SECRET)), "{:?}", made.body);
    let id = made.body["data"]["id"].as_str().unwrap().to_owned();
    let shown = house.call(&token, "GET", &format!("/webhooks/{id}"), None).await;
    assert!(!shown.body.to_string().contains("whsec_"), "the secret is shown once");

    house.register(&token, "told.hook.test").await;
    house.becomes(&token, "told.hook.test", "serving").await;
    house.call(&token, "DELETE", "/sites/default/hostnames/told.hook.test", None).await;
    let path = format!("/webhooks/{id}/deliveries");
    eventually("three are on their way and one was tried", async || {
        let list = house.call(&token, "GET", &path, None).await;
        let tried = |delivery: &Value| delivery["attributes"]["failures"].as_u64() >= Some(1);
        list.body["data"].as_array().is_some_and(|list| list.len() == 3 && list.iter().any(tried))
    })
    .await;

    receiver.behave(Behaviour::Status(204));
    let list = house.call(&token, "GET", &path, None).await;
    let oldest = list.body["data"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let again = house.call(&token, "POST", &format!("{path}/{oldest}/redeliver"), None).await;
    assert_eq!(again.status, 202);
    let wanted = ["certificate.issued", "hostname.serving", "hostname.deleted"];
    eventually("all of it has come", async || {
        let list = house.call(&token, "GET", &path, None).await;
        let delivered = |delivery: &Value| delivery["attributes"]["state"] == "delivered";
        list.body["data"].as_array().is_some_and(|list| list.iter().all(delivered))
    })
    .await;
    let messages = receiver.messages();
    let first = messages[0].clone();
    assert_eq!(kinds(&messages[messages.len() - 3..]), wanted);
    assert!(messages.iter().all(is_signed));
    let of_first: Vec<&Message> = messages.iter().filter(|message| message.id() == first.id()).collect();
    assert!(of_first.len() >= 2 && of_first.iter().all(|message| message.json() == first.json()));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_lead_where_they_must_not_are_refused_and_others_are_not_seen() {
    let house = house("").await;
    let (cats, dogs) = (house.token("cats", "admin"), house.token("dogs", "admin"));
    for (attributes, key) in [
        (json!({ "url": "https://127.0.0.1/hook" }), "url"),
        (json!({ "url": "http://hooks.example/hook" }), "url"),
        (json!({ "url": "nonsense" }), "url"),
        (json!({ "url": "https://hooks.example/", "events": ["token.created"] }), "events"),
        (json!({ "url": "https://hooks.example/", "secret": "short" }), "secret"),
    ] {
        let refused = makes_webhook(&house, &cats, attributes).await;
        assert_eq!(refused.status, 422, "{:?}", refused.body);
        let pointer = format!("/data/attributes/{key}");
        assert_eq!(refused.body["errors"][0]["source"]["pointer"], pointer.as_str());
    }
    let made = makes_webhook(&house, &cats, json!({ "url": "https://hooks.example/h" })).await;
    assert_eq!(made.status, 201);
    let id = made.body["data"]["id"].as_str().unwrap();
    assert_eq!(house.call(&dogs, "GET", &format!("/webhooks/{id}"), None).await.status, 404);
    assert_eq!(house.call(&dogs, "DELETE", &format!("/webhooks/{id}"), None).await.status, 404);
    let off = json!({ "data": { "attributes": { "enabled": false } } });
    let off = house.call(&cats, "PATCH", &format!("/webhooks/{id}"), Some(off)).await;
    assert_eq!(off.attributes()["enabled"], false);
    let again = house.call(&cats, "POST", &format!("/webhooks/{id}/redeliver"), None).await;
    assert_eq!(again.code(), "webhook_disabled");
    assert_eq!(house.call(&cats, "DELETE", &format!("/webhooks/{id}"), None).await.status, 204);
}
