//! Renewal, by a real CA whose certificates live for seconds.

mod bed;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bed::approval::Behaviour;
use bed::client::Refused;
use bed::house::{House, Plan, again, house};
use bed::origin::Origin;
use bed::program::Edge;
use nameplate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use nameplate::domain::clock::{Clock, SystemClock, UnixTime};
use nameplate::store::Store;
use nameplate::store::key_file;
use nameplate::store::sqlite::SqliteStore;
use nameplate::telemetry::metrics::Metrics;
use sqlx::Connection;

/// Due after 20 seconds or a little less.
const LIFETIME: u32 = 40;

fn short_lived() -> Plan {
    Plan { lifetime: Some(LIFETIME), approval_cache: "1s", ..Plan::default() }
}

#[tokio::test]
async fn a_due_certificate_is_renewed_while_the_one_before_is_served() {
    let House { ca, endpoint, edge, origin: _origin } = house(short_lived()).await;
    endpoint.says("renewed.test", Behaviour::Yes);
    let first = edge.handshake("renewed.test").await.unwrap().serial();
    bed::eventually("the next certificate is served", async || {
        edge.handshake("renewed.test").await.expect("served all the time").serial() != first
    })
    .await;
    assert_eq!(ca.orders(), 2);
    // It is served a moment before it is counted.
    bed::eventually("it is counted", async || {
        edge.metric(r#"renewals_total{result="renewed"}"#).await == 1.0
    })
    .await;
    assert_eq!(edge.metric("orders_pending").await, 0.0);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_renewed_is_served_to_its_end() {
    let House { mut ca, endpoint, edge, origin: _origin } = house(short_lived()).await;
    endpoint.says("kept.test", Behaviour::Yes);
    let first = edge.handshake("kept.test").await.unwrap().serial();
    ca.stop();
    bed::eventually("a renewal fails", async || {
        edge.metric(r#"renewals_total{result="failed"}"#).await == 1.0
    })
    .await;
    assert_eq!(edge.handshake("kept.test").await.unwrap().serial(), first);
    assert!(edge.log().contains("could not be reached"), "{}", edge.log());
    bed::eventually("it ends", async || match edge.handshake("kept.test").await {
        Ok(served) => {
            assert_eq!(served.serial(), first);
            false
        }
        Err(Refused::Alert(112)) => true,
        // In its last second, which OpenSSL takes for the first one after it.
        Err(Refused::Otherwise(why)) if why.contains("certificate verify failed") => false,
        Err(refused) => panic!("{refused:?}"),
    })
    .await;
}

#[tokio::test]
async fn a_name_no_longer_approved_is_served_to_its_end_but_not_renewed() {
    let House { ca, endpoint, edge, origin: _origin } = house(short_lived()).await;
    endpoint.says("left.test", Behaviour::Yes);
    let first = edge.handshake("left.test").await.unwrap().serial();
    endpoint.says("left.test", Behaviour::No);
    bed::eventually("the renewal is denied", async || {
        edge.metric(r#"renewals_total{result="denied"}"#).await == 1.0
    })
    .await;
    assert_eq!(edge.handshake("left.test").await.unwrap().serial(), first);
    assert_eq!(ca.orders_for("left.test"), 1);
}

#[tokio::test]
async fn an_approval_endpoint_that_is_down_stops_no_renewal() {
    let House { ca, mut endpoint, edge, origin: _origin } = house(short_lived()).await;
    endpoint.says("on.test", Behaviour::Yes);
    edge.handshake("on.test").await.unwrap();
    endpoint.stop().await;
    bed::eventually("it is renewed", async || {
        edge.metric(r#"renewals_total{result="renewed"}"#).await == 1.0
    })
    .await;
    assert_eq!(ca.orders(), 2);
}

#[tokio::test]
async fn one_that_has_ended_gets_no_order_while_nobody_can_be_asked() {
    let House { ca, mut endpoint, edge, origin: _origin } = house(Plan::default()).await;
    let client = edge.client.clone();
    let folder = edge.stop().await;
    endpoint.stop().await;
    file_ended(&folder.path().join("data"), "gone.test").await;
    let edge = again(folder, client).await;
    bed::eventually("its renewal is looked at", async || {
        edge.metric(r#"renewals_total{result="hindered"}"#).await == 1.0
    })
    .await;
    assert_eq!(ca.orders(), 0);
}

#[tokio::test]
async fn a_name_that_left_is_parked_after_its_end_and_revived_by_a_visit() {
    let plan = Plan { approval_cache: "1s", ..Plan::default() };
    let House { ca, endpoint, edge, origin: _origin } = house(plan).await;
    endpoint.says("left.test", Behaviour::No);
    let client = edge.client.clone();
    let folder = edge.stop().await;
    file_ended(&folder.path().join("data"), "left.test").await;
    let edge = again(folder, client).await;
    bed::eventually("it is parked", async || edge.metric(r#"renewals_total{result="parked"}"#).await == 1.0)
        .await;
    assert!(edge.log().contains("no other one is ordered until it comes back"), "{}", edge.log());
    assert!(matches!(edge.handshake("left.test").await, Err(Refused::Alert(112))));
    assert_eq!(ca.orders(), 0);
    let client = edge.client.clone();
    let edge = again(edge.stop().await, client).await;
    bed::eventually("parked names are counted", async || edge.metric("names_parked").await == 1.0).await;
    endpoint.says("left.test", Behaviour::Yes);
    bed::eventually("a visit revives it", async || edge.handshake("left.test").await.is_ok()).await;
    assert_eq!(ca.orders(), 1);
}

/// Files a certificate whose time is over.
async fn file_ended(data_dir: &Path, name: &str) {
    file(data_dir, &[name.to_owned()], Source::Authority("pebble".into()), (-1000, -10)).await;
}

/// Files certificates that are valid from so many seconds from now to so many; the store looks into
/// neither chain nor key.
async fn file(data_dir: &Path, names: &[String], source: Source, (begin, end): (i64, i64)) {
    let key = key_file::load_or_make(&data_dir.join("store.key")).unwrap();
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new("test")));
    let now = clock.now();
    let store = SqliteStore::open(data_dir, key, clock, metrics).await.unwrap();
    let certificate = |name: &String| Certificate {
        name: name.parse().unwrap(),
        chain: vec![b"a leaf".to_vec()],
        key: PrivateKey::from_der(b"a key".to_vec()),
        key_type: KeyType::P256,
        validity: Validity { not_before: UnixTime(now.0 + begin), not_after: UnixTime(now.0 + end) },
        source: source.clone(),
    };
    let certificates: Vec<Certificate> = names.iter().map(certificate).collect();
    assert_eq!(store.import(&certificates).await.unwrap().filed, names.len() as u64);
    store.close().await;
}

#[tokio::test]
async fn a_thousand_that_were_filed_together_are_renewed_one_after_the_other() {
    const COUNT: usize = 1_000;
    let origin = Origin::start().await;
    let config = format!(
        "[[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n\
         [[site]]\nname = \"default\"\nhostnames = [\"known.test\", \"*.many.test\"]\norigins = [\"{}\"]\n",
        origin.address
    );
    let edge = Edge::start(&config).await;
    edge.handshake("known.test").await.unwrap();
    let folder = edge.stop().await;
    let names: Vec<String> = (0..COUNT).map(|number| format!("n{number}.many.test")).collect();
    // Imported ones are due in their last tenth, brought forward by up to a twentieth: from 10 to 60
    // seconds from now.
    file(&folder.path().join("data"), &names, Source::Imported, (-840, 160)).await;
    let edge = Edge::again(folder).await;
    let mut counts = vec![0.0];
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    while counts.last().is_none_or(|renewed| *renewed < COUNT as f64) {
        pace.tick().await;
        edge.handshake("known.test").await.expect("served all the time");
        counts.push(edge.metric(r#"renewals_total{result="renewed"}"#).await);
        assert!(counts.len() < 150, "{counts:?}");
    }
    let most = counts.windows(2).map(|two| two[1] - two[0]).fold(0.0, f64::max);
    println!("{COUNT} renewals in {} s, {most} in one second at most", counts.len());
    assert!(most <= COUNT as f64 / 4.0, "they come together: {counts:?}");
    assert_eq!(edge.metric("orders_total").await, COUNT as f64, "one order each");
}

#[tokio::test]
async fn certificates_near_their_end_are_counted() {
    let plan = Plan { lifetime: Some(10 * 24 * 60 * 60), ..Plan::default() };
    let House { ca: _ca, endpoint, edge, origin: _origin } = house(plan).await;
    endpoint.says("counted.test", Behaviour::Yes);
    edge.handshake("counted.test").await.unwrap();
    let client = edge.client.clone();
    let edge = again(edge.stop().await, client).await;
    let within = |days: &str| format!(r#"certificates_expiring{{within="{days}"}}"#);
    bed::eventually("they are counted", async || edge.metric(&within("30d")).await == 1.0).await;
    assert_eq!((edge.metric(&within("14d")).await, edge.metric(&within("7d")).await), (1.0, 0.0));
}

#[tokio::test]
async fn while_the_limits_are_spent_renewals_wait_untried_and_a_new_name_is_served() {
    // Three orders for renewals, and one for new names.
    let plan = Plan { authority: r#"limits = { orders = "4/30s" }"#, ..Plan::default() };
    let House { ca, endpoint, edge, origin: _origin } = house(plan).await;
    let names: Vec<String> = (0..6).map(|number| format!("n{number}.test")).collect();
    names.iter().for_each(|name| endpoint.says(name, Behaviour::Yes));
    endpoint.says("new.test", Behaviour::Yes);
    let client = edge.client.clone();
    let folder = edge.stop().await;
    let data_dir = folder.path().join("data");
    // Due for long, and not late for long.
    file(&data_dir, &names, Source::Imported, (-100_000, 10_000)).await;
    let edge = again(folder, client).await;
    let renewed = async || edge.metric(r#"renewals_total{result="renewed"}"#).await;
    bed::eventually("what the limits allow is renewed", async || renewed().await == 3.0).await;
    bed::eventually("the others are put back", async || {
        edge.log().contains("renewals wait, as no authority has room for them")
            && rows(&data_dir, "certificates WHERE claimed_until IS NOT NULL").await == 0
    })
    .await;
    edge.handshake("new.test").await.unwrap();
    assert_eq!((renewed().await, ca.orders()), (3.0, 4));
    assert_eq!(edge.metric(r#"authority_orders_left{authority="pebble"}"#).await, 0.0);
    assert_eq!(rows(&data_dir, "attempts").await, 4, "no attempt where nothing was tried");
    bed::eventually("they go on", async || renewed().await == 6.0).await;
    assert_eq!(ca.orders(), 7);
    assert_eq!(edge.metric("renewals_total").await, 6.0, "nothing else became of any");
    assert_eq!(edge.metric("orders_total").await, 7.0);
}

/// Rows of a table, with a condition where it is to have one.
async fn rows(data_dir: &Path, rows: &str) -> i64 {
    let url = format!("sqlite:{}?mode=ro", data_dir.join("store.sqlite").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {rows}"));
    let count = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    count
}
