//! A cut-over played through, step by step.

use nameplate::certs::import::item;
use nameplate::domain::clock::{Clock, SystemClock};
use nameplate::peers::lua_resty_auto_ssl;

use super::bed::approval::Behaviour;
use super::bed::house::{House, Plan, again};
use super::bed::program::run;
use super::bed::redis::Redis;
use super::bed::{appears, eventually, plain};
use super::house::{ANSWER, TOKEN, bridge, bridged, bridged_by, put_ending_certificate, put_old_certificate};

const WELL_KNOWN: &str = "/.well-known/acme-challenge";

#[tokio::test]
async fn tokens_of_the_old_fleet_are_answered_and_nothing_else_of_its_redis_is_shown() {
    let redis = Redis::start().await;
    let House { edge, ca: _ca, endpoint: _endpoint, origin: _origin } = bridged(&redis, "").await;
    let other = TOKEN.replace("Loq", "abc");
    redis
        .set(&[
            (format!("old.test:challenge:{TOKEN}"), ANSWER.to_owned()),
            (format!("old.test:challenge:{other}"), "a secret".to_owned()),
        ])
        .await;
    let path = format!("{WELL_KNOWN}/{TOKEN}");
    let answer = plain(edge.http, "OLD.test:80", &path).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(ANSWER), "{answer}");
    for (host, token) in [("other.test", TOKEN), ("old.test", &other), ("old.test", "short")] {
        let answer = plain(edge.http, host, &format!("{WELL_KNOWN}/{token}")).await;
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && !answer.contains("secret"),
            "{host} {token}: {answer}"
        );
    }
    let counted = async |result: &str| {
        edge.metric(&format!(r#"bridge_operations_total{{operation="answer",result="{result}"}}"#)).await
    };
    assert_eq!(
        (counted("ok").await, counted("none").await),
        (1.0, 2.0),
        "what is no token is not asked about"
    );
}

#[tokio::test]
async fn a_certificate_of_the_old_fleet_is_served_without_an_order_and_without_redis_from_then_on() {
    let mut redis = Redis::start().await;
    let House { ca, endpoint, mut edge, origin: _origin } = bridged(&redis, "").await;
    edge.client.roots.clear();
    let old = put_old_certificate(&redis, "old.test").await;
    assert!(edge.handshake("old.test").await.is_err(), "nobody approves it");
    endpoint.says("shop.test", Behaviour::Yes);
    let shop = put_old_certificate(&redis, "shop.test").await;
    assert_ne!(old.serial, shop.serial);
    assert_eq!(edge.handshake("shop.test").await.unwrap().serial(), shop.serial);
    assert_eq!(ca.orders(), 0);
    assert!(edge.log().contains("taken over from the Redis of the bridge"), "{}", edge.log());

    redis.stop().await;
    assert_eq!(edge.handshake("shop.test").await.unwrap().serial(), shop.serial);
    let client = edge.client.clone();
    let edge = again(edge.stop().await, client).await;
    assert_eq!(edge.handshake("shop.test").await.unwrap().serial(), shop.serial, "after a restart too");
    assert_eq!(ca.orders(), 0);
}

#[tokio::test]
async fn a_new_hostname_is_ordered_once_and_the_old_fleet_can_answer_for_it() {
    let redis = Redis::start().await;
    let House { ca, endpoint, edge, origin: _origin } = bridged(&redis, "prefix = \"ssl\"").await;
    endpoint.says("new.test", Behaviour::Yes);
    ca.halt_dns();
    let (client, address) = (edge.client.clone(), edge.https);
    let visitor = tokio::spawn(async move { client.handshake(address, "new.test").await });
    let key =
        appears("our token is in Redis", async || redis.keys("ssl:new.test:challenge:*").await.pop()).await;
    // At once: the CA waits two seconds for its DNS.
    let lock_key = "ssl:new.test:issue_cert_lock";
    let mut both = redis::pipe();
    both.cmd("GET").arg(&key).cmd("TTL").arg(&key).cmd("GET").arg(lock_key).cmd("TTL").arg(lock_key);
    let (answer, answer_ends, lock, lock_ends): (String, i64, Option<String>, i64) =
        both.query_async(&mut redis.connection("").await).await.unwrap();
    ca.resume_dns();
    let token = key.rsplit(':').next().unwrap();
    assert!(answer.starts_with(&format!("{token}.")), "{answer}");
    assert!((1..=600).contains(&answer_ends), "it ends by itself");
    let lock = lock.expect("old servers do not order it too");
    assert!(lock.len() == 64 && lock.bytes().all(|octet| octet.is_ascii_hexdigit()), "{lock}");
    assert!((1..=30).contains(&lock_ends));

    visitor.await.unwrap().expect("it is served");
    eventually("nothing is left behind", async || redis.keys("*").await.is_empty()).await;
    assert_eq!((ca.orders_for("new.test"), ca.orders()), (1, 1), "by http-01 at once, not after tls-alpn-01");
}

#[tokio::test]
async fn with_write_back_the_old_fleet_has_what_was_obtained() {
    let redis = Redis::start().await;
    let House { ca, endpoint, edge, origin: _origin } = bridged(&redis, "write_back = true").await;
    endpoint.says("new.test", Behaviour::Yes);
    let served = edge.handshake("new.test").await.unwrap();
    let value = appears("it is in Redis", async || redis.get("new.test:latest").await).await;
    let texts = lua_resty_auto_ssl::texts(value.as_bytes()).unwrap();
    let text = item::joined(texts.chain.as_bytes(), texts.key.as_bytes()).unwrap();
    let name = "new.test".parse().unwrap();
    let certificates = item::certificates(&text, Some(&name), SystemClock.now()).unwrap();
    let leaf = served.stream.ssl().peer_certificate().unwrap().to_der().unwrap();
    assert_eq!(certificates[0].chain[0], leaf);
    let fields: serde_json::Value = serde_json::from_str(&value).unwrap();
    assert_eq!(fields["expiry"].as_f64().unwrap() as i64, certificates[0].validity.not_after.0);
    assert!(fields["fullchain_pem"].as_str().unwrap().starts_with(fields["cert_pem"].as_str().unwrap()));
    // openssl, which the old servers read it with, takes both.
    openssl::pkey::PKey::private_key_from_pem(texts.key.as_bytes()).unwrap();
    openssl::x509::X509::stack_from_pem(texts.chain.as_bytes()).unwrap();
    eventually("the lock is given back", async || redis.keys("new.test:issue*").await.is_empty()).await;
    eventually("none waits", async || edge.metric("bridge_writes_pending").await == 0.0).await;
    assert_eq!(ca.orders(), 1);
    let ran = run(&["import", "lua-resty-auto-ssl", "--redis", &redis.url()]).await;
    assert!(ran.out.contains("1 names in 1 of 1 keys; 0 keys skipped"), "{}", ran.out);
}

#[tokio::test]
async fn an_old_certificate_near_its_end_is_served_and_renewed_by_us() {
    let redis = Redis::start().await;
    let House { ca, endpoint, mut edge, origin: _origin } = bridged(&redis, "write_back = true").await;
    let trusting = std::mem::take(&mut edge.client.roots);
    endpoint.says("near.test", Behaviour::Yes);
    put_ending_certificate(&redis, "near.test", 48).await;
    let before = redis.get("near.test:latest").await;
    edge.handshake("near.test").await.expect("the old one, at once");
    edge.client.roots = trusting;
    eventually("it is renewed", async || edge.handshake("near.test").await.is_ok()).await;
    assert_eq!((ca.orders_for("near.test"), ca.orders()), (1, 1));
    eventually("the old fleet has it too", async || redis.get("near.test:latest").await != before).await;
}

#[tokio::test]
async fn a_renewal_takes_what_the_old_fleet_has_renewed_meanwhile() {
    let redis = Redis::start().await;
    let House { ca, endpoint, mut edge, origin: _origin } = bridged(&redis, "").await;
    edge.client.roots.clear();
    endpoint.says("near.test", Behaviour::Yes);
    put_ending_certificate(&redis, "near.test", 48).await;
    // They are at it already.
    redis.set(&[("near.test:issue_cert_lock".into(), "a".repeat(64))]).await;
    edge.handshake("near.test").await.expect("the old one, at once");
    eventually("ours waits", async || {
        edge.metric(r#"bridge_operations_total{operation="lock",result="none"}"#).await >= 1.0
    })
    .await;
    let renewed = put_old_certificate(&redis, "near.test").await;
    let serial = async || edge.handshake("near.test").await.unwrap().serial();
    eventually("theirs is served", async || serial().await == renewed.serial).await;
    assert_eq!(ca.orders(), 0);
}

#[tokio::test]
async fn a_reload_opens_and_closes_the_bridge() {
    let redis = Redis::start().await;
    let plan = Plan { before: String::new(), ..Plan::default() };
    let House { ca: _ca, edge, endpoint: _endpoint, origin: _origin } = super::bed::house::house(plan).await;
    redis.set(&[(format!("old.test:challenge:{TOKEN}"), ANSWER.to_owned())]).await;
    let answers = async || {
        plain(edge.http, "old.test", &format!("{WELL_KNOWN}/{TOKEN}")).await.starts_with("HTTP/1.1 200 ")
    };
    assert!(!answers().await);
    let file = edge.config_file();
    let without = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{without}\n{}", bridge(&redis, ""))).unwrap();
    edge.signal("HUP");
    eventually("the bridge is open", async || answers().await).await;
    std::fs::write(&file, without).unwrap();
    edge.signal("HUP");
    eventually("the bridge is closed", async || !answers().await).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_told_of_and_ordered() {
    let redis = Redis::start().await;
    let House { ca, endpoint, edge, origin: _origin } = bridged_by(&redis, "", Plan::default()).await;
    put_old_certificate(&redis, "other.test").await;
    let others = redis.get("other.test:latest").await.unwrap();
    let emptied = r#"{"cert_pem":"","privkey_pem":"","fullchain_pem":""}"#;
    redis
        .set(&[
            ("wrong.test:latest".into(), others),
            ("broken.test:latest".into(), "no JSON: secret".into()),
            ("emptied.test:latest".into(), emptied.into()),
        ])
        .await;
    for name in ["wrong.test", "broken.test", "emptied.test"] {
        endpoint.says(name, Behaviour::Yes);
        edge.handshake(name).await.unwrap_or_else(|refused| panic!("{name}: {refused:?} {}", edge.log()));
    }
    assert_eq!(ca.orders(), 3);
    let log = edge.log();
    assert!(log.contains("and is for other.test alone") && log.contains("it is no JSON"), "{log}");
    assert!(!log.contains("secret"), "{log}");
}
