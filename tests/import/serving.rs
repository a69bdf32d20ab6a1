//! Imports beside a program that serves.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use time::OffsetDateTime;

use super::bed::approval::Behaviour;
use super::bed::eventually;
use super::bed::house::{House, Plan, house};
use super::bed::pem::{p256, pair};
use super::bed::program::{Edge, Ran, run};
use super::bed::redis::Redis;

async fn apply(edge: &Edge, redis: &Redis) -> Ran {
    let config = edge.config_file().display().to_string();
    run(&["import", "lua-resty-auto-ssl", "--redis", &redis.url(), "--apply", "--config", &config]).await
}

fn value(certificate: &str, key: &KeyPair) -> String {
    serde_json::json!({ "fullchain_pem": certificate, "privkey_pem": key.serialize_pem() }).to_string()
}

/// In the last tenth of its life.
fn ending(name: &str, key: &KeyPair) -> String {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::from_secs(89 * 24 * 60 * 60);
    params.not_after = now + Duration::from_secs(24 * 60 * 60);
    params.self_signed(key).unwrap().pem()
}

#[tokio::test]
async fn an_imported_certificate_is_served_at_once_and_renewed_before_it_ends() {
    let House { ca, endpoint, mut edge, origin: _origin } = house(Plan::default()).await;
    endpoint.says_to_all_others(Behaviour::No);
    let trusting = std::mem::take(&mut edge.client.roots);
    let redis = Redis::start().await;
    let (far, key) = (pair(&["far.test"], &p256(), 2099), p256());
    let far_value =
        serde_json::json!({ "fullchain_pem": far.certificate, "privkey_pem": far.key }).to_string();
    redis.set(&[("far.test:latest".to_owned(), far_value)]).await;
    assert!(edge.handshake("far.test").await.is_err(), "nobody approves it");

    let ran = apply(&edge, &redis).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("1 names imported from 1 of 1 keys; 0 keys skipped"), "{}", ran.out);
    eventually("it is served", async || edge.handshake("far.test").await.is_ok()).await;
    assert_eq!(edge.handshake("far.test").await.unwrap().serial(), far.serial);
    assert_eq!(ca.orders(), 0, "and nothing was ordered");

    endpoint.says("near.test", Behaviour::Yes);
    redis.set(&[("near.test:latest".to_owned(), value(&ending("near.test", &key), &key))]).await;
    let ran = apply(&edge, &redis).await;
    assert!(ran.out.contains("1 names imported from 1 of 2 keys; 0 keys skipped"), "{}", ran.out);
    assert!(ran.out.contains("1 names were there already"), "{}", ran.out);
    edge.client.roots = trusting;
    eventually("it is renewed", async || edge.handshake("near.test").await.is_ok()).await;
    assert_eq!((ca.orders_for("near.test"), ca.orders()), (1, 1));
}

#[tokio::test]
async fn an_import_that_was_killed_is_done_again_and_ends_the_same() {
    let House { mut edge, endpoint: _endpoint, ca: _ca, origin: _origin } = house(Plan::default()).await;
    edge.client.roots.clear();
    let redis = Redis::start().await;
    let key = p256();
    let all: Vec<(String, String)> = (0..6_000)
        .map(|number| {
            let name = format!("n{number}.test");
            (format!("{name}:latest"), value(&pair(&[&name], &key, 2099).certificate, &key))
        })
        .collect();
    redis.set(&all).await;
    let config = edge.config_file().display().to_string();
    let mut import = tokio::process::Command::new(env!("CARGO_BIN_EXE_nameplate"))
        .args(["import", "lua-resty-auto-ssl", "--redis", &redis.url(), "--apply", "--config", &config])
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // Values are read as they are asked for: by then the first thousand are filed.
    eventually("a batch is filed", async || redis.calls("getrange").await > 1_100).await;
    import.kill().await.unwrap();

    let ran = apply(&edge, &redis).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let number = |after: &str| -> u64 {
        let line = ran.out.lines().find(|line| line.contains(after)).unwrap_or("0 ");
        line.split(' ').next().unwrap().parse().unwrap()
    };
    let (new, there) = (number("names imported"), number("names were there already"));
    assert_eq!(new + there, 6_000, "{}", ran.out);
    assert!(new > 0 && there > 0, "it was killed on its way: {}", ran.out);
    let ran = apply(&edge, &redis).await;
    assert!(ran.out.contains("0 names imported from 0 of 6000 keys; 0 keys skipped"), "{}", ran.out);
    eventually("all are known", async || edge.metric("certificates_known").await >= 6_000.0).await;
    assert!(edge.handshake("n5999.test").await.is_ok());
}
