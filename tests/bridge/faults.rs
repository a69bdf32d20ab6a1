//! Redis away: what is served goes on, and nothing is ordered that may lie there.

use std::time::{Duration, Instant};

use super::bed::approval::Behaviour;
use super::bed::house::{House, Plan};
use super::bed::program::run;
use super::bed::redis::Redis;
use super::bed::{appears, eventually, plain};
use super::house::{TOKEN, bridged, bridged_by, put_ending_certificate};

#[tokio::test]
async fn without_redis_known_names_are_served_and_new_ones_wait_for_it_without_an_order() {
    let mut redis = Redis::start().await;
    let House { ca, endpoint, edge, origin: _origin } = bridged(&redis, "").await;
    for name in ["known.test", "new.test"] {
        endpoint.says(name, Behaviour::Yes);
    }
    let known = edge.handshake("known.test").await.unwrap().serial();
    redis.stop().await;
    assert!(edge.handshake("new.test").await.is_err());
    assert!(edge.handshake("new.test").await.is_err(), "from memory now");
    assert_eq!(edge.handshake("known.test").await.unwrap().serial(), known);
    assert_eq!(ca.orders(), 1, "that of the known one");
    let log = edge.log();
    assert!(log.contains("the Redis of the bridge failed; nothing is ordered meanwhile"), "{log}");
    assert!(log.contains(&format!("127.0.0.1:{}: could not read a value", redis.port)), "{log}");

    redis.start_again().await;
    eventually("it is served", async || edge.handshake("new.test").await.is_ok()).await;
    assert_eq!((ca.orders_for("new.test"), ca.orders()), (1, 2));
}

#[tokio::test]
async fn whoever_asks_is_told_that_redis_stands_in_the_way() {
    let mut redis = Redis::start().await;
    let House { endpoint, edge, ca: _ca, origin: _origin } = bridged(&redis, "").await;
    endpoint.says("new.test", Behaviour::Yes);
    redis.stop().await;
    assert!(edge.handshake("new.test").await.is_err());
    let config = edge.config_file().display().to_string();
    let made = run(&[
        "token",
        "create",
        "--organization",
        "default",
        "--scope",
        "read",
        "--config",
        &config,
        "--json",
    ])
    .await;
    let token: serde_json::Value = serde_json::from_str(&made.out).unwrap_or_else(|_| panic!("{}", made.err));
    let api = format!("http://{}", edge.admin);
    let ran = run(&["explain", "new.test", "--api", &api, "--token", token["token"].as_str().unwrap()]).await;
    assert!(ran.out.contains("the Redis of [bridge]"), "{} {}", ran.out, ran.err);
}

#[tokio::test]
async fn a_redis_that_hangs_holds_nobody_up_for_longer_than_its_time() {
    let redis = Redis::start().await;
    let House { ca, endpoint, edge, origin: _origin } = bridged(&redis, "timeout = \"2s\"").await;
    for name in ["known.test", "new.test"] {
        endpoint.says(name, Behaviour::Yes);
    }
    edge.handshake("known.test").await.unwrap();
    redis.halt();
    assert!(edge.handshake("new.test").await.is_err());
    edge.handshake("known.test").await.expect("it is served");
    let begun = Instant::now();
    let answer = plain(edge.http, "old.test", &format!("/.well-known/acme-challenge/{TOKEN}")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(edge.log().contains("no answer within 2s"), "{}", edge.log());
    assert_eq!(ca.orders(), 1);
    redis.resume();
    eventually("it is served", async || edge.handshake("new.test").await.is_ok()).await;
}

#[tokio::test]
async fn a_renewal_waits_for_redis_until_its_last_day() {
    let mut redis = Redis::start().await;
    let House { ca, endpoint, mut edge, origin: _origin } = bridged(&redis, "").await;
    edge.client.roots.clear();
    for name in ["days.test", "hours.test"] {
        endpoint.says(name, Behaviour::Yes);
    }
    // The old servers are about to renew both, so that ours wait until Redis is gone.
    for (name, hours) in [("days.test", 48), ("hours.test", 12)] {
        put_ending_certificate(&redis, name, hours).await;
        redis.set(&[(format!("{name}:issue_cert_lock"), "a".repeat(64))]).await;
    }
    let serial = async |name| edge.handshake(name).await.unwrap().serial();
    let (days, hours) = (serial("days.test").await, serial("hours.test").await);
    redis.stop().await;
    eventually("the urgent one is renewed", async || serial("hours.test").await != hours).await;
    eventually("the other one is put off", async || {
        edge.metric(r#"renewals_total{result="hindered"}"#).await >= 1.0
    })
    .await;
    assert_eq!(serial("days.test").await, days);
    assert_eq!((ca.orders_for("hours.test"), ca.orders()), (1, 1));
}

#[tokio::test]
async fn what_could_not_be_written_back_is_written_once_redis_is_there() {
    let mut redis = Redis::start().await;
    let plan = Plan { lifetime: Some(40), ..Plan::default() };
    let House { ca, endpoint, edge, origin: _origin } = bridged_by(&redis, "write_back = true", plan).await;
    endpoint.says("shop.test", Behaviour::Yes);
    let first = edge.handshake("shop.test").await.unwrap().serial();
    eventually("it is written", async || redis.get("shop.test:latest").await.is_some()).await;
    redis.stop().await;
    // Its days are few, so it is renewed without Redis.
    eventually("it is renewed", async || edge.handshake("shop.test").await.unwrap().serial() != first).await;
    eventually("it waits", async || edge.metric("bridge_writes_pending").await == 1.0).await;
    assert!(edge.log().contains("is renewed without it"), "{}", edge.log());
    redis.start_again().await;
    appears("it is written", async || redis.get("shop.test:latest").await).await;
    eventually("none waits", async || edge.metric("bridge_writes_pending").await == 0.0).await;
    assert!(ca.orders() >= 2);
}
