//! Who orders, while both fleets are at work.

use std::sync::Arc;
use std::time::Duration;

use nameplate::acme::bridge::Bridge;
use nameplate::config::{LuaRestyAutoSsl, Secret};
use nameplate::telemetry::metrics::Metrics;

use super::bed::approval::Behaviour;
use super::bed::eventually;
use super::bed::house::House;
use super::bed::redis::Redis;
use super::house::{bridged, put_old_certificate};

const LOCK: &str = "shop.test:issue_cert_lock";

#[tokio::test]
async fn an_order_of_the_old_fleet_is_waited_for_and_its_certificate_taken() {
    let redis = Redis::start().await;
    let House { ca, endpoint, mut edge, origin: _origin } = bridged(&redis, "").await;
    edge.client.roots.clear();
    endpoint.says("shop.test", Behaviour::Yes);
    redis.set(&[(LOCK.into(), "a".repeat(64))]).await;
    let (client, address) = (edge.client.clone(), edge.https);
    let visitor = tokio::spawn(async move { client.handshake(address, "shop.test").await });
    eventually("we look again", async || {
        edge.metric(r#"bridge_operations_total{operation="lock",result="none"}"#).await >= 2.0
    })
    .await;
    assert!(!visitor.is_finished());
    let old = put_old_certificate(&redis, "shop.test").await;
    assert_eq!(visitor.await.unwrap().unwrap().serial(), old.serial);
    assert_eq!(ca.orders(), 0);
    assert_eq!(redis.get(LOCK).await, Some("a".repeat(64)), "it is not ours to remove");
}

#[tokio::test]
async fn an_order_of_the_old_fleet_that_came_to_nothing_is_followed_by_ours() {
    let redis = Redis::start().await;
    let House { ca, endpoint, edge, origin: _origin } = bridged(&redis, "").await;
    endpoint.says("shop.test", Behaviour::Yes);
    redis.set(&[(LOCK.into(), "a".repeat(64))]).await;
    let (client, address) = (edge.client.clone(), edge.https);
    let visitor = tokio::spawn(async move { client.handshake(address, "shop.test").await });
    eventually("we look again", async || {
        edge.metric(r#"bridge_operations_total{operation="lock",result="none"}"#).await >= 2.0
    })
    .await;
    assert_eq!(ca.orders(), 0);
    redis.remove(LOCK).await;
    visitor.await.unwrap().expect("it is ordered here");
    assert_eq!((ca.orders_for("shop.test"), ca.orders()), (1, 1));
    eventually("our lock is given back", async || redis.get(LOCK).await.is_none()).await;
}

#[tokio::test]
async fn a_lock_is_one_holders_and_is_renewed_until_it_is_given_back() {
    let redis = Redis::start().await;
    let config = LuaRestyAutoSsl {
        redis: Secret(redis.url().into()),
        roots: None,
        prefix: None,
        timeout: Duration::from_secs(5),
        write_back: false,
    };
    let bridge = Bridge::new(&config, Arc::new(Metrics::new("test"))).unwrap();
    let hostname = "shop.test".parse().unwrap();
    let lock = bridge.lock(&hostname).await.unwrap().expect("nobody holds it");
    assert!(bridge.lock(&hostname).await.unwrap().is_none());
    let ends_in = async || redis.ends_in(LOCK).await;
    eventually("it grows old", async || (1..=22).contains(&ends_in().await)).await;
    eventually("it is renewed", async || ends_in().await >= 28).await;
    drop(lock);
    eventually("it is given back", async || redis.get(LOCK).await.is_none()).await;

    // One that another holder has taken meanwhile is theirs.
    let lost = bridge.lock(&hostname).await.unwrap().expect("nobody holds it");
    redis.set(&[(LOCK.into(), "b".repeat(64))]).await;
    drop(lost);
    let next = bridge.lock(&"next.test".parse().unwrap()).await.unwrap();
    drop(next);
    eventually("the next one is given back", async || redis.keys("next*").await.is_empty()).await;
    assert_eq!(redis.get(LOCK).await, Some("b".repeat(64)));
}
