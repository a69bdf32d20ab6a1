//! What one's own certificate means for the obtained one, restarts and faults.

use serde_json::json;

use crate::bad::{SHOP, brought, registered, shown};
use crate::bed::eventually;
use crate::ca::{OwnCa, p256, pkcs8, serial};
use crate::house::{House, house};

/// A registered hostname that leads here and has the CA's certificate.
async fn obtained(house: &House, token: &str) -> String {
    assert_eq!(house.register(token, SHOP).await.status, 201);
    house.becomes(token, SHOP, "serving").await;
    shown(house, SHOP).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_before_the_obtained_one_which_is_there_when_it_is_taken_away() {
    let mut house = house("").await;
    let token = house.token("cats", "write");
    let before = obtained(&house, &token).await;
    let (ca, key) = (OwnCa::new(), p256());
    house.edge.client.roots.push(ca.root.clone());
    let leaf = ca.leaf(&[SHOP], &key);
    brought(&house, &token, SHOP, &ca.fullchain(&leaf), &pkcs8(&key)).await;
    assert_eq!(shown(&house, SHOP).await, serial(&leaf), "at once");
    let attributes = house.get(&token, SHOP).await.attributes().clone();
    let sources: Vec<_> = (0..2).map(|n| attributes["certificates"][n]["source"].clone()).collect();
    assert_eq!(sources, [json!("own"), json!("authority")]);
    eventually("its reason tells of it", async || {
        let reason = house.get(&token, SHOP).await.attributes()["reason"].clone();
        reason.as_str().unwrap().contains("the certificate that was brought for it, until")
    })
    .await;

    let house = house.restarted().await;
    assert_eq!(shown(&house, SHOP).await, serial(&leaf), "after a restart");
    let path = format!("/sites/default/hostnames/{SHOP}/certificate");
    assert_eq!(house.call(&token, "DELETE", &path, None).await.status, 204);
    assert_eq!(shown(&house, SHOP).await, before, "the one of before");
    assert_eq!(house.ca.orders_for(SHOP), 1);
    let house = house.restarted().await;
    assert_eq!(shown(&house, SHOP).await, before, "no copy on the disk brings it back");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ordered_for_a_name_that_has_one() {
    let mut house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, key) = (OwnCa::new(), p256());
    house.edge.client.roots.push(ca.root.clone());
    let leaf = ca.leaf(&[SHOP], &key);
    brought(&house, &token, SHOP, &ca.fullchain(&leaf), &pkcs8(&key)).await;
    house.becomes(&token, SHOP, "serving").await;
    house.ca.set_dns("clear-a", json!({ "host": format!("{SHOP}.") })).await;
    let path = format!("/sites/default/hostnames/{SHOP}/check");
    house.call(&token, "POST", &path, None).await;
    eventually("it is looked at and served by it", async || {
        let reason = house.get(&token, SHOP).await.attributes()["reason"].clone();
        reason.as_str().unwrap().contains("Another one is obtained before that")
    })
    .await;
    assert_eq!(shown(&house, SHOP).await, serial(&leaf));
    assert_eq!(house.ca.orders_for(SHOP), 0);
    let gone = format!("/sites/default/hostnames/{SHOP}");
    assert_eq!(house.call(&token, "DELETE", &gone, None).await.status, 204);
    assert!(house.edge.handshake(SHOP).await.is_err(), "it goes with its hostname");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_one_is_there_before_it_ends_and_served_from_then_on() {
    let mut house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, key) = (OwnCa::new(), p256());
    house.edge.client.roots.push(ca.root.clone());
    let ending = ca.leaf_within(&[SHOP], &key, (-3600, 40));
    brought(&house, &token, SHOP, &ca.fullchain(&ending), &pkcs8(&key)).await;
    house.ca.set_dns("clear-a", json!({ "host": format!("{SHOP}.") })).await;
    // What was not to be had while its DNS led elsewhere is due again, also after a try that has seen the
    // old records.
    let postponed = "UPDATE own_certificates SET fall_back_at = 0";
    eventually("another one is obtained", async || {
        sql(&house, postponed).await;
        let listed = house.get(&token, SHOP).await.attributes()["certificates"].clone();
        listed.as_array().is_some_and(|listed| listed.iter().any(|one| one["source"] == "authority"))
    })
    .await;
    assert_eq!(shown(&house, SHOP).await, serial(&ending), "its own one goes before it to its end");
    // At the last second of it a client may take it for ended.
    eventually("the other one takes its place", async || {
        house.edge.handshake(SHOP).await.is_ok_and(|served| served.serial() != serial(&ending))
    })
    .await;
    assert_eq!(house.ca.orders_for(SHOP), 1);
    house.becomes(&token, SHOP, "serving").await;
}

async fn sql(house: &House, statement: &'static str) {
    use sqlx::Connection;
    let url = format!("sqlite:{}", house.edge.folder().join("data/store.sqlite").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_after_a_restart_without_the_store_and_a_lost_store_has_it_again() {
    let mut house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, key) = (OwnCa::new(), p256());
    house.edge.client.roots.push(ca.root.clone());
    let leaf = ca.leaf(&[SHOP], &key);
    brought(&house, &token, SHOP, &ca.fullchain(&leaf), &pkcs8(&key)).await;
    let data = house.edge.folder().join("data");
    eventually("this machine has copied where it belongs", async || {
        std::fs::read_to_string(data.join("listings.jsonl")).is_ok_and(|copy| copy.contains(SHOP))
    })
    .await;
    let client = house.edge.client.clone();
    let folder = house.edge.stop().await;
    std::fs::rename(data.join("store.sqlite"), data.join("elsewhere")).unwrap();
    std::fs::create_dir(data.join("store.sqlite")).unwrap();
    let house = House { edge: crate::bed::house::again(folder, client.clone()).await, ..house };
    assert_eq!(shown(&house, SHOP).await, serial(&leaf), "from this machine's disk");
    assert!(house.edge.get(SHOP, "/").await.starts_with("HTTP/1.1 200"));
    let folder = house.edge.stop().await;
    // The store is lost, and begun anew with what this machine has.
    std::fs::remove_dir(data.join("store.sqlite")).unwrap();
    let house = House { edge: crate::bed::house::again(folder, client).await, ..house };
    assert_eq!(shown(&house, SHOP).await, serial(&leaf));
    let token = house.token("cats", "write");
    eventually("it is listed again", async || {
        let reply = house.get(&token, SHOP).await;
        reply.status == 200 && reply.attributes()["certificates"][0]["source"] == "own"
    })
    .await;
    assert_eq!(shown(&house, SHOP).await, serial(&leaf));
    assert_eq!(house.ca.orders_for(SHOP), 0, "no fault leads to an order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_one_is_kept_aside_and_an_obtained_one_steps_in() {
    let mut house = house("").await;
    let token = house.token("cats", "write");
    let before = obtained(&house, &token).await;
    let (ca, key) = (OwnCa::new(), p256());
    house.edge.client.roots.push(ca.root.clone());
    let leaf = ca.leaf(&[SHOP], &key);
    brought(&house, &token, SHOP, &ca.fullchain(&leaf), &pkcs8(&key)).await;
    sql(&house, "UPDATE own_certificates SET sealed_key = x'00', fingerprint = x'0102030405060708'").await;
    eventually("it is kept aside", async || house.edge.log().contains("own_quarantine")).await;
    eventually("the obtained one is served", async || shown(&house, SHOP).await == before).await;
    assert_eq!(house.edge.metric("records_quarantined_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_another_key_sealed_keeps_no_other_change_from_being_followed() {
    const OTHER: &str = "other.customer.test";
    let mut house = house("").await;
    let token = house.token("cats", "write");
    let (ca, key) = (OwnCa::new(), p256());
    house.edge.client.roots.push(ca.root.clone());
    for name in [SHOP, OTHER] {
        assert_eq!(house.register(&token, name).await.status, 201);
        house.becomes(&token, name, "serving").await;
    }
    let obtained = shown(&house, OTHER).await;
    for name in [SHOP, OTHER] {
        let leaf = ca.leaf(&[name], &key);
        brought(&house, &token, name, &ca.fullchain(&leaf), &pkcs8(&key)).await;
        assert_eq!(shown(&house, name).await, serial(&leaf));
    }
    let looks =
        async || house.edge.metric(r#"store_operations_total{operation="own_changes",result="ok"}"#).await;
    let before = looks().await;
    eventually("what was brought is followed", async || looks().await >= before + 2.0).await;
    // As another machine would do it, with a sealing key that this one does not have.
    let sealed_with_another_key = "UPDATE own_certificates SET fingerprint = fingerprint, sealed_key = \
        x'01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff' \
        WHERE name = 'shop.customer.test'";
    sql(&house, sealed_with_another_key).await;
    // More than is read at a time.
    let again_and_again = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
        INSERT INTO own_changes (name) SELECT 'shop.customer.test' FROM n";
    sql(&house, again_and_again).await;
    sql(&house, "DELETE FROM own_certificates WHERE name = 'other.customer.test'").await;
    eventually("it is met", async || {
        house.edge.log().contains("changes of own certificates could not be read")
    })
    .await;
    eventually("the change behind it is in force", async || shown(&house, OTHER).await == obtained).await;
}
