//! What an authority may do to us. Each row provokes a fault for real and asserts three things:
//! a known name is served meanwhile, there is no order too many, and the cause is told.

mod bed;

use std::path::Path;

use bed::approval::Behaviour;
use bed::client::Refused;
use bed::house::{House, Plan, again, meddled_house};
use bed::meddler::{Asked, Meddler, Meddling};
use bed::program::Edge;
use bed::{appears, eventually};
use sqlx::Connection;

const HTTP01: &str = r#"["http-01"]"#;

/// A house with a certificate for `known.test`, and every other name of the tests approved.
async fn begin(plan: Plan) -> (House, Meddler) {
    let (house, meddler) = meddled_house(Plan { challenges: HTTP01, ..plan }).await;
    for name in ["known.test", "new.test", "a.test", "b.test", "c.test", "d.test"] {
        house.endpoint.says(name, Behaviour::Yes);
    }
    if let Err(refused) = house.edge.handshake("known.test").await {
        panic!("{refused:?} {}", house.edge.log());
    }
    (house, meddler)
}

fn json_problem(kind: &str, detail: &str) -> String {
    serde_json::json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail }).to_string()
}

fn say(status: u16, retry_after: Option<&'static str>, body: String) -> Meddling {
    Meddling::Say(status, retry_after, "application/problem+json", body)
}

/// `name` gets no certificate, `known.test` is served; what is kept about the attempt.
async fn refused(edge: &Edge, name: &str) -> String {
    for _ in 0..3 {
        assert!(matches!(edge.handshake(name).await, Err(Refused::Alert(112))), "{}", edge.log());
        edge.handshake("known.test").await.expect("known names are served meanwhile");
    }
    report(&edge.folder().join("data"), name).await.expect("the attempt is kept")
}

/// The report on the last attempt for `name`.
async fn report(data_dir: &Path, name: &str) -> Option<String> {
    let url = format!("sqlite:{}?mode=ro", data_dir.join("store.sqlite").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let report = sqlx::query_scalar("SELECT report FROM attempts WHERE hostname = ?1").bind(name);
    let report = report.fetch_optional(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    report
}

#[tokio::test]
async fn one_that_is_down_is_soon_left_alone_and_after_a_restart_too() {
    let (House { mut ca, endpoint: _endpoint, edge, origin: _origin }, meddler) =
        begin(Plan::default()).await;
    ca.stop();
    for name in ["a.test", "b.test", "c.test"] {
        let report = refused(&edge, name).await;
        assert!(report.contains("could not be reached"), "{report}");
    }
    assert_eq!(edge.metric(r#"authority_up{authority="pebble"}"#).await, 0.0);
    let asked = meddler.asked(Asked::NewOrder);
    let report = refused(&edge, "d.test").await;
    assert!(report.contains("it is not asked before"), "{report}");
    let client = edge.client.clone();
    let edge = again(edge.kill().await, client).await;
    let report = refused(&edge, "new.test").await;
    assert!(report.contains("it is not asked before"), "{report}");
    assert_eq!(meddler.asked(Asked::NewOrder), asked, "nothing reached it");
}

#[tokio::test]
async fn one_that_is_overloaded_or_limits_the_rate_is_left_alone_for_as_long_as_it_says() {
    for (status, kind) in [(503, "serverInternal"), (429, "rateLimited")] {
        let (House { ca, endpoint: _endpoint, edge, origin: _origin }, meddler) =
            begin(Plan::default()).await;
        meddler.once(Asked::NewOrder, say(status, Some("600"), json_problem(kind, "come back later")));
        let report = refused(&edge, "a.test").await;
        assert!(report.contains("come back later") && report.contains("600 s"), "{report}");
        let report = refused(&edge, "b.test").await;
        assert!(report.contains("it is not asked before"), "{report}");
        let client = edge.client.clone();
        let edge = again(edge.kill().await, client).await;
        refused(&edge, "c.test").await;
        refused(&edge, "a.test").await;
        assert_eq!(meddler.asked(Asked::NewOrder), 2, "known.test and a.test, once each");
        assert_eq!(ca.orders(), 1);
    }
}

#[tokio::test]
async fn a_limit_that_a_name_met_leaves_the_other_names_alone() {
    let (House { ca, endpoint: _endpoint, edge, origin: _origin }, meddler) = begin(Plan::default()).await;
    let words = r#"too many certificates already issued for "a.test""#;
    meddler.once(Asked::NewOrder, say(429, Some("600"), json_problem("rateLimited", words)));
    assert!(refused(&edge, "a.test").await.contains("too many certificates"));
    edge.handshake("b.test").await.unwrap();
    assert_eq!(ca.orders(), 2);
}

#[tokio::test]
async fn answers_that_are_none_cost_one_order_at_most_and_are_told() {
    const LONG: &str = "order_timeout = \"60s\"";
    let html = Meddling::Say(200, None, "text/html", "<html>Sorry, we are moving</html>".into());
    for (meddling, authority, told) in [
        (html, LONG, "unusable answer"),
        (Meddling::Truncate, LONG, "could not be reached"),
        (Meddling::Lose, LONG, "could not be reached"),
        (Meddling::Hang, "order_timeout = \"10s\"", "took longer than 10 s"),
    ] {
        let plan = Plan { authority, ..Plan::default() };
        let (House { ca, endpoint: _endpoint, edge, origin: _origin }, meddler) = begin(plan).await;
        meddler.once(Asked::NewOrder, meddling);
        let report = refused(&edge, "new.test").await;
        assert!(report.contains(told), "{report}");
        assert_eq!(meddler.asked(Asked::NewOrder), 2, "known.test and new.test, once each");
        assert!(ca.orders() <= 2);
        assert_eq!(edge.metric(r#"orders_total{authority="pebble",result="failed"}"#).await, 1.0);
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_at_the_end_of_an_order_costs_no_second_one() {
    for (asked, meddling) in [
        (Asked::Finalize, Meddling::Lose),
        (Asked::Finalize, Meddling::Truncate),
        (Asked::Finalize, say(503, None, "busy".into())),
        (Asked::Certificate, Meddling::Lose),
        (Asked::Certificate, Meddling::Truncate),
    ] {
        let (House { ca, endpoint: _endpoint, edge, origin: _origin }, meddler) =
            begin(Plan::default()).await;
        meddler.once(asked, meddling);
        edge.handshake("new.test").await.unwrap();
        edge.handshake("known.test").await.unwrap();
        assert_eq!(ca.orders(), 2, "known.test and new.test");
    }
}

#[tokio::test]
async fn an_order_that_our_own_end_cut_off_is_taken_up_after_it() {
    let (House { ca, endpoint: _endpoint, edge, origin: _origin }, meddler) = begin(Plan::default()).await;
    meddler.once(Asked::Certificate, Meddling::Hang);
    let (client, address) = (edge.client.clone(), edge.https);
    let visitor = tokio::spawn(async move { client.handshake(address, "new.test").await });
    eventually("the certificate is asked for", async || meddler.asked(Asked::Certificate) == 2).await;
    let client = edge.client.clone();
    let edge = again(edge.kill().await, client).await;
    assert!(visitor.await.unwrap().is_err());
    assert_eq!(report(&edge.folder().join("data"), "new.test").await, None, "no failure, no back-off");
    edge.handshake("new.test").await.unwrap();
    edge.handshake("known.test").await.unwrap();
    assert_eq!(ca.orders(), 2);
}

#[tokio::test]
async fn a_certificate_for_another_key_or_name_is_not_served() {
    let (House { ca, endpoint: _endpoint, edge, origin: _origin }, meddler) = begin(Plan::default()).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(["new.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pem = Meddling::Say(200, None, "application/pem-certificate-chain", other.pem());
    meddler.once(Asked::Certificate, pem);
    let report = refused(&edge, "new.test").await;
    assert!(report.contains("it is for another key"), "{report}");
    assert_eq!(ca.orders(), 2, "it is not ordered again at once");
}

#[tokio::test]
async fn a_name_that_does_not_validate_is_told_why_and_tried_later() {
    let (House { ca, endpoint: _endpoint, edge, origin: _origin }, _meddler) = begin(Plan::default()).await;
    ca.break_dns_of("new.test").await;
    let report = refused(&edge, "new.test").await;
    assert!(report.contains("could not validate") && report.contains("What to do"), "{report}");
    let client = edge.client.clone();
    let edge = again(edge.kill().await, client).await;
    refused(&edge, "new.test").await;
    assert_eq!(ca.orders_for("new.test"), 1);
}

#[tokio::test]
async fn limits_on_orders_are_kept_to_and_after_a_restart_too() {
    let plan = Plan { authority: r#"limits = { orders = "2/1h" }"#, ..Plan::default() };
    let (House { ca, endpoint: _endpoint, edge, origin: _origin }, _meddler) = begin(plan).await;
    edge.handshake("a.test").await.unwrap();
    let report = refused(&edge, "b.test").await;
    assert!(report.contains("limits on orders are used up until"), "{report}");
    let client = edge.client.clone();
    let edge = again(edge.kill().await, client).await;
    refused(&edge, "c.test").await;
    assert_eq!(ca.orders(), 2);
}

#[tokio::test]
async fn a_window_that_has_passed_renews_at_once_but_only_once() {
    let (House { ca, endpoint: _endpoint, edge, origin: _origin }, meddler) =
        meddled_house(Plan { challenges: HTTP01, ..Plan::default() }).await;
    let window = r#"{"suggestedWindow": {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}}"#;
    meddler.suggest(window, "60");
    _endpoint.says("known.test", Behaviour::Yes);
    let first = edge.handshake("known.test").await.unwrap().serial();
    eventually("another one is served", async || {
        edge.handshake("known.test").await.expect("served all the time").serial() != first
    })
    .await;
    let replaced = meddler.replaced();
    assert!(matches!(replaced.as_slice(), [None, Some(_)]), "{replaced:?}");
    // The new one is asked about too, and its window has passed as well.
    eventually("the new one is asked about", async || meddler.asked(Asked::RenewalInfo) >= 2).await;
    eventually("what was said is kept", async || {
        edge.metric(r#"renewal_information_total{result="window"}"#).await >= 2.0
    })
    .await;
    let due = renew_at(&edge, "known.test").await;
    assert!(due > now() + 3_000, "not before it is an hour old");
    assert_eq!(ca.orders(), 2);
}

#[tokio::test]
async fn suggestions_that_make_no_sense_change_nothing() {
    let backwards =
        r#"{"suggestedWindow": {"start": "2020-01-02T00:00:00Z", "end": "2020-01-01T00:00:00Z"}}"#;
    for (body, result) in [(backwards, "broken"), ("<html>", "failed")] {
        let (House { ca, endpoint, edge, origin: _origin }, meddler) =
            meddled_house(Plan { challenges: HTTP01, ..Plan::default() }).await;
        meddler.suggest(body, "60");
        endpoint.says("known.test", Behaviour::Yes);
        edge.handshake("known.test").await.unwrap();
        let metric = format!(r#"renewal_information_total{{result="{result}"}}"#);
        eventually("it is asked", async || edge.metric(&metric).await >= 1.0).await;
        assert!(renew_at(&edge, "known.test").await > now() + 24 * 3_600, "due as without a suggestion");
        edge.handshake("known.test").await.unwrap();
        assert_eq!(ca.orders(), 1);
    }
}

fn now() -> i64 {
    use nameplate::domain::clock::{Clock, SystemClock};
    SystemClock.now().0
}

/// When the certificate of `name` is due.
async fn renew_at(edge: &Edge, name: &str) -> i64 {
    let url = format!("sqlite:{}?mode=ro", edge.folder().join("data/store.sqlite").display());
    appears("the certificate is filed", async || {
        let mut connection = sqlx::SqliteConnection::connect(&url).await.ok()?;
        let due = sqlx::query_scalar("SELECT renew_at FROM certificates WHERE name = ?1").bind(name);
        due.fetch_optional(&mut connection).await.ok()?
    })
    .await
}
