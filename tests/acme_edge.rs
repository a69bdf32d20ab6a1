//! The edge in front of a real ACME CA, which validates at the edge's own ports.

mod bed;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bed::approval::Behaviour;
use bed::client::{Refused, Served};
use bed::house::{House, Plan, again, house};
use nameplate::domain::clock::SystemClock;
use nameplate::store::key_file;
use nameplate::store::sqlite::SqliteStore;
use nameplate::store::{Attempt, Store};
use nameplate::telemetry::metrics::Metrics;

/// unrecognized_name (RFC 6066 §9).
const UNRECOGNIZED_NAME: i32 = 112;
/// internal_error (RFC 8446 §6.2): trying again may help.
const INTERNAL_ERROR: i32 = 80;

async fn stored_attempt(folder: &Path, name: &str) -> Option<Attempt> {
    let data = folder.join("data");
    let key = key_file::load_or_make(&data.join("store.key")).unwrap();
    let metrics = Arc::new(Metrics::new("test"));
    let store = SqliteStore::open_beside(&data, key, Arc::new(SystemClock), metrics).await.unwrap();
    let attempt = store.attempt(&name.parse().unwrap()).await.unwrap();
    store.close().await;
    attempt
}

fn alert(outcome: Result<Served, Refused>) -> i32 {
    match outcome {
        Err(Refused::Alert(number)) => number,
        Err(Refused::Otherwise(why)) => panic!("no alert came: {why}"),
        Ok(served) => panic!("it was served: {:?}", served.names()),
    }
}

/// The first handshake obtains by challenges of one type, the second takes what is there.
async fn obtains_by(challenges: &'static str, kind: &str) {
    let House { ca, endpoint, edge, origin: _origin } = house(Plan { challenges, ..Plan::default() }).await;
    endpoint.says("shop.test", Behaviour::Yes);
    let first = edge.handshake("shop.test").await.unwrap();
    assert_eq!(first.names(), ["shop.test"]);
    let second = edge.handshake("shop.test").await.unwrap();
    assert_eq!(second.serial(), first.serial());
    assert_eq!((ca.orders_for("shop.test"), ca.orders()), (1, 1));
    assert_eq!(endpoint.questions_about("shop.test"), 1);
    let answered = format!(r#"challenges_answered_total{{result="answered",type="{kind}"}}"#);
    // Pebble looks three times, and each look is counted once.
    assert_eq!(edge.metric(&answered).await, 3.0, "{kind} was answered");
    assert!(edge.get("shop.test", "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_new_name_is_obtained_by_http_01_and_the_second_handshake_costs_no_order() {
    obtains_by(r#"["http-01"]"#, "http-01").await;
}

#[tokio::test]
async fn a_new_name_is_obtained_by_tls_alpn_01_and_the_second_handshake_costs_no_order() {
    obtains_by(r#"["tls-alpn-01"]"#, "tls-alpn-01").await;
}

#[tokio::test]
async fn a_name_is_served_after_a_restart_without_ca_approval_and_dns() {
    let House { mut ca, mut endpoint, edge, origin: _origin } = house(Plan::default()).await;
    endpoint.says("kept.test", Behaviour::Yes);
    let before = edge.handshake("kept.test").await.unwrap().serial();
    ca.stop();
    ca.stop_dns();
    endpoint.stop().await;
    let client = edge.client.clone();
    let edge = again(edge.stop().await, client).await;
    assert_eq!(edge.handshake("kept.test").await.unwrap().serial(), before);
    assert_eq!(edge.metric("orders_total").await, 0.0);
}

#[tokio::test]
async fn five_hundred_first_handshakes_make_one_order() {
    let House { ca, endpoint, edge, origin: _origin } = house(Plan::default()).await;
    endpoint.says("herd.test", Behaviour::Gated(Box::new(Behaviour::Yes)));
    let gate = async {
        bed::eventually("the question arrives", async || endpoint.questions_about("herd.test") == 1).await;
        endpoint.open_gate();
    };
    let (served, ()) = tokio::join!(edge.handshakes(500, "herd.test"), gate);
    let serials: HashSet<String> = served.into_iter().map(|one| one.expect("served").serial()).collect();
    assert_eq!(serials.len(), 1);
    assert_eq!(endpoint.questions_about("herd.test"), 1);
    assert_eq!((ca.orders_for("herd.test"), ca.orders()), (1, 1));
}

#[tokio::test]
async fn a_hundred_new_names_at_once_are_all_served() {
    let House { ca, endpoint, edge, origin: _origin } = house(Plan::default()).await;
    endpoint.says_to_all_others(Behaviour::Yes);
    let names: Vec<String> = (0..100).map(|n| format!("new{n}.test")).collect();
    for (name, served) in names.iter().zip(edge.handshakes_for(&names).await) {
        let served = served.unwrap_or_else(|why| panic!("{name}: {why:?}\n{}", edge.log()));
        assert_eq!(served.names(), [name.as_str()]);
    }
    assert_eq!((ca.orders(), ca.accounts()), (100, 1));
}

#[tokio::test]
async fn the_second_authority_is_used_while_the_first_is_down() {
    let before = format!(
        "[[authority]]\nname = \"down\"\ndirectory = \"https://127.0.0.1:{}/dir\"\n",
        bed::free_port()
    );
    let House { ca, endpoint, edge, origin: _origin } = house(Plan { before, ..Plan::default() }).await;
    endpoint.says("two.test", Behaviour::Yes);
    edge.handshake("two.test").await.unwrap();
    assert_eq!(ca.orders_for("two.test"), 1);
    assert_eq!(edge.metric(r#"orders_total{authority="down",result="failed"}"#).await, 1.0);
    assert_eq!(edge.metric(r#"orders_total{authority="pebble",result="issued"}"#).await, 1.0);
}

#[tokio::test]
async fn with_half_of_the_nonces_rejected_twenty_of_twenty_names_are_served() {
    let House { ca, endpoint, edge, origin: _origin } =
        house(Plan { nonces_rejected: 50, ..Plan::default() }).await;
    endpoint.says_to_all_others(Behaviour::Yes);
    let names: Vec<String> = (0..20).map(|n| format!("nonce{n}.test")).collect();
    for served in edge.handshakes_for(&names).await {
        served.unwrap_or_else(|why| panic!("{why:?}\n{}", edge.log()));
    }
    let asked_for = ca.log().matches("POST /order-plz -> calling handler()").count();
    assert!(asked_for > 20, "some were rejected: {asked_for}");
    assert_eq!(ca.orders(), 20);
}

#[tokio::test]
async fn a_failed_validation_is_told_in_the_cas_words_and_remembered_after_a_restart() {
    let House { ca, endpoint, edge, origin: _origin } = house(Plan::default()).await;
    endpoint.says("broken.test", Behaviour::Yes);
    ca.break_dns_of("broken.test").await;
    assert_eq!(alert(edge.handshake("broken.test").await), UNRECOGNIZED_NAME);
    let (orders, requests) = (ca.orders(), ca.requests());

    let kept = stored_attempt(&edge.folder(), "broken.test").await.expect("the attempt is kept");
    assert_eq!(kept.failures, 1);
    assert!(kept.next.is_some_and(|next| next > kept.at));
    assert!(kept.report.contains("esolve URL"), "the CA's words: {}", kept.report);
    let line = log_line(&edge.log(), "no certificate: ");
    assert_eq!(line["fields"]["hostname"], "broken.test");
    assert!(line["fields"]["message"].as_str().unwrap().contains("esolve URL"), "{line}");
    assert_eq!(line["fields"]["next"], kept.next.unwrap().to_string());

    let begin = Instant::now();
    assert_eq!(alert(edge.handshake("broken.test").await), UNRECOGNIZED_NAME);
    assert!(begin.elapsed() < Duration::from_secs(5), "refused from memory");
    assert_eq!(endpoint.questions_about("broken.test"), 1);
    let edge = again(edge.stop().await, bed::client::Client::default()).await;
    assert_eq!(alert(edge.handshake("broken.test").await), UNRECOGNIZED_NAME);
    assert_eq!((ca.orders(), ca.requests()), (orders, requests), "nothing reached the CA again");
}

/// The first log line whose message contains `what`.
fn log_line(log: &str, what: &str) -> serde_json::Value {
    log.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["fields"]["message"].as_str().is_some_and(|message| message.contains(what)))
        .unwrap_or_else(|| panic!("no line says {what:?}: {log}"))
}

#[tokio::test]
async fn a_name_whose_order_was_cut_off_by_a_crash_is_obtained_at_once_afterwards() {
    let House { ca, endpoint, edge, origin: _origin } = house(Plan::default()).await;
    endpoint.says_to_all_others(Behaviour::Yes);
    edge.handshake("first.test").await.unwrap();
    ca.halt_dns();
    let (client, address) = (edge.client.clone(), edge.https);
    let waiting = tokio::spawn(async move { client.handshake(address, "cut.test").await });
    bed::eventually("the order comes to its validation", async || ca.orders_for("cut.test") == 1).await;
    assert_eq!(edge.metric("orders_pending").await, 1.0);
    let client = edge.client.clone();
    let folder = edge.kill().await;
    assert!(waiting.await.unwrap().is_err());

    ca.resume_dns();
    let edge = again(folder, client).await;
    let begin = Instant::now();
    edge.handshake("cut.test").await.unwrap();
    assert!(begin.elapsed() < nameplate::store::LEASE_TTL / 2, "the dead process's lease blocks nobody");
    assert_eq!((ca.orders(), ca.accounts()), (3, 1));
}

#[tokio::test]
async fn a_browser_is_told_to_wait_while_the_certificate_is_made_and_then_redirected() {
    let House { ca: _ca, endpoint, edge, origin: _origin } =
        house(Plan { handshake_wait: "10ms", ..Plan::default() }).await;
    endpoint.says("slow.test", Behaviour::Gated(Box::new(Behaviour::Yes)));
    let page = bed::plain(edge.http, "slow.test", "/a?b").await;
    assert!(page.starts_with("HTTP/1.1 503"), "{page}");
    assert!(page.to_lowercase().contains("\r\nretry-after: 3\r\n"), "{page}");
    assert!(page.contains("The certificate of slow.test is being made"), "{page}");
    assert!(page.contains("http-equiv=\"refresh\""), "{page}");
    assert_eq!(alert(edge.handshake("slow.test").await), INTERNAL_ERROR);
    endpoint.open_gate();
    let moved = format!("location: https://slow.test:{}/a?b\r\n", edge.https.port());
    bed::eventually("the redirect", async || {
        let answer = bed::plain(edge.http, "slow.test", "/a?b").await;
        answer.starts_with("HTTP/1.1 301") && answer.to_lowercase().contains(&moved)
    })
    .await;
    assert_eq!(edge.handshake("slow.test").await.unwrap().names(), ["slow.test"]);
}
