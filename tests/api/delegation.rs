//! The record by which a certificate is obtained before a hostname's own DNS is switched.

use serde_json::{Value, json};

use crate::bed::{appears, free_port};
use crate::cli::{done, line};
use crate::house::{House, house};

/// The record of this purpose among those that are wanted.
fn challenge(attributes: &Value) -> Option<&Value> {
    let wanted = attributes["dns"]["records_wanted"].as_array().unwrap();
    wanted.iter().find(|record| record["purpose"] == "challenge")
}

/// Its status once somebody has looked.
async fn becomes(house: &House, token: &str, hostname: &str, status: &str) -> Value {
    let path = format!("/sites/default/hostnames/{hostname}");
    appears(&format!("the record is {status}"), async || {
        house.call(token, "POST", &format!("{path}/check"), None).await;
        let attributes = house.get(token, hostname).await.attributes().clone();
        (challenge(&attributes)?["status"] == status).then_some(attributes)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_wants_the_record_without_needing_it_and_a_wildcard_needs_it() {
    let zone = format!(
        "[dns_server]\nlisten = [\"127.0.0.1:{}\"]\nzone = \"acme.plat.test\"\nname_servers = [\"ns.plat.test\"]\n",
        free_port()
    );
    let house = house(&zone).await;
    let (cats, dogs) = (house.token("cats", "write"), house.token("*", "admin"));
    let made = house.register(&cats, "shop.customer.test").await;
    let record = challenge(made.attributes()).expect("the answer to the first call has it").clone();
    assert_eq!(record["name"], "_acme-challenge.shop.customer.test");
    assert_eq!((&record["kind"], &record["status"]), (&json!("CNAME"), &json!("unknown")));
    let value = record["value"].as_str().unwrap().to_owned();
    let (label, domain) = value.split_once('.').unwrap();
    assert_eq!((label.len(), domain), (32, "acme.plat.test"));

    house.becomes(&cats, "shop.customer.test", "serving").await;
    becomes(&house, &cats, "shop.customer.test", "missing").await;
    house
        .ca
        .set_dns("set-cname", json!({ "host": "_acme-challenge.shop.customer.test.", "target": value }))
        .await;
    let attributes = becomes(&house, &cats, "shop.customer.test", "right").await;
    let found = attributes["dns"]["records_found"].as_array().unwrap();
    assert!(found.iter().any(|record| record["value"] == value.as_str()), "{found:?}");
    let explained = done(&house, &dogs, &["explain", "shop.customer.test"]).await;
    assert!(
        line(&explained, &["_acme-challenge.shop.customer.test", "CNAME", &value, "right"]),
        "{explained}"
    );

    let wildcard = house.register(&cats, "*.shop.customer.test").await;
    assert_eq!(challenge(wildcard.attributes()).unwrap()["value"], value.as_str(), "one record for both");
    house.register(&cats, "*.wild.customer.test").await;
    let missing = becomes(&house, &cats, "*.wild.customer.test", "missing").await;
    let advice = missing["dns"]["advice"].as_array().unwrap();
    let advice = advice.iter().find(|advice| advice["code"] == "delegation_missing").unwrap();
    assert!(advice["text"].as_str().unwrap().contains("Set _acme-challenge.wild.customer.test CNAME "));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_zone_of_ours_there_is_no_such_record() {
    let house = house("").await;
    let token = house.token("cats", "write");
    let made = house.register(&token, "shop.customer.test").await;
    assert!(challenge(made.attributes()).is_none(), "{:?}", made.body);
}
