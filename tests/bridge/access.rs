//! How Redis lets us in.

use super::bed::approval::Behaviour;
use super::bed::house::{House, Plan, house};
use super::bed::redis::Redis;
use super::bed::{appears, eventually};

/// An edge with this bridge obtains a certificate, and did all that the bridge is for.
async fn obtains_across(bridge: String) -> House {
    let house = house(Plan { before: bridge, ..Plan::default() }).await;
    house.endpoint.says("new.test", Behaviour::Yes);
    let outcome = house.edge.handshake("new.test").await;
    assert!(outcome.is_ok(), "{:?} {}", outcome.err(), house.edge.log());
    for (operation, result) in [("read", "none"), ("lock", "ok"), ("publish", "ok"), ("write", "ok")] {
        let line = format!(r#"bridge_operations_total{{operation="{operation}",result="{result}"}}"#);
        eventually(&line, async || house.edge.metric(&line).await >= 1.0).await;
    }
    assert_eq!(house.edge.metric(r#"bridge_operations_total{operation="read",result="error"}"#).await, 0.0);
    house
}

#[tokio::test]
async fn a_user_with_the_rights_that_the_guide_names_can_do_all_of_it() {
    let guide = std::fs::read_to_string("docs/cut-over.md").unwrap();
    let rights = guide.split('`').find(|part| part.starts_with("+getrange")).expect("the rights");
    let mut settings = vec!["--user", "edge", "on", ">pass", "~ssl:*"];
    settings.extend(rights.split(' '));
    let redis = Redis::start_with(&settings).await;
    let url = redis.url().replace("redis://", "redis://edge:pass@");
    let bridge =
        format!("[bridge.lua_resty_auto_ssl]\nredis = {url:?}\nprefix = \"ssl\"\nwrite_back = true\n");
    let house = obtains_across(bridge).await;
    appears("it is written", async || redis.get("ssl:new.test:latest").await).await;
    eventually("all else is removed", async || redis.keys("*").await.len() == 1).await;
    assert!(!house.edge.log().contains(">pass") && !house.edge.log().contains("edge:pass"));
}

#[tokio::test]
async fn a_redis_with_tls_is_trusted_by_its_file() {
    let redis = Redis::start_with_tls().await;
    let (url, file) = (redis.url().replace("redis://", "rediss://"), redis.ca_file());
    obtains_across(format!(
        "[bridge.lua_resty_auto_ssl]\nredis = {url:?}\nca_file = {file:?}\nwrite_back = true\n"
    ))
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_told_of_without_being_shown() {
    let redis = Redis::start_with(&["--requirepass", "right"]).await;
    let url = redis.url().replace("redis://", "redis://:s3cret@");
    let before = format!("[bridge.lua_resty_auto_ssl]\nredis = {url:?}\n");
    let House { ca, endpoint, edge, origin: _origin } = house(Plan { before, ..Plan::default() }).await;
    endpoint.says("new.test", Behaviour::Yes);
    assert!(edge.handshake("new.test").await.is_err());
    assert_eq!(ca.orders(), 0);
    let log = edge.log();
    assert!(log.contains("check user and password") && !log.contains("s3cret"), "{log}");
}
