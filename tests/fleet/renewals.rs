//! A thousand renewals that are due at once: an authority's limit is held by all machines together, and all
//! are renewed.

use nameplate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use nameplate::domain::clock::{Clock, SystemClock};
use nameplate::domain::secret::Secret;
use nameplate::store::postgres::PostgresStore;
use nameplate::store::{LEASE_TTL, Store, key_file};
use nameplate::telemetry::metrics::Metrics;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bed::approval::Behaviour;
use crate::bed::eventually;
use crate::bed::pem::{p256, pair};
use crate::fleet::{DATABASE, Fleet, Plan};

const COUNT: i64 = 1_000;
/// The limit of the test's authority: so many orders in so many seconds.
const ORDERS: i64 = 300;
const SECONDS: i64 = 20;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(400);

/// The fleet's store, as another machine has it.
async fn store_of(fleet: &Fleet) -> PostgresStore {
    let config = fleet.machine(0).folder();
    let key = key_file::load(&config.join("store.key")).unwrap();
    let url = fleet.database.url(DATABASE);
    let access = nameplate::config::Postgres {
        place: url.clone(),
        url: Secret(url.into()),
        connections: 2,
        timeout: Duration::from_secs(10),
    };
    let metrics = Arc::new(Metrics::new("test"));
    PostgresStore::open(&access, key, Arc::new(SystemClock), metrics).await.unwrap()
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 60 * 60)
}

/// So many certificates in the last tenth of their lives, as an import brings them.
fn due(count: i64) -> Vec<Certificate> {
    let (now, pair) = (SystemClock.now(), pair(&["any.test"], &p256(), 2099));
    let leaf = openssl::x509::X509::from_pem(pair.certificate.as_bytes()).unwrap().to_der().unwrap();
    let private = openssl::pkey::PKey::private_key_from_pem(pair.key.as_bytes()).unwrap();
    let private = private.private_key_to_pkcs8().unwrap();
    let brought = (0..count).map(|number| Certificate {
        name: format!("n{number}.test").parse().unwrap(),
        chain: vec![leaf.clone()],
        key: PrivateKey::from_der(private.clone()),
        key_type: KeyType::P256,
        // Due, and not late: of 90 days less than 9 are left, and more than half of what was left when it
        // became due.
        validity: Validity { not_before: now.minus(hours(1_980)), not_after: now.plus(hours(180)) },
        source: Source::Imported,
    });
    brought.collect()
}

async fn bring(fleet: &Fleet) {
    let store = store_of(fleet).await;
    for some in due(COUNT).chunks(500) {
        store.import(some).await.unwrap();
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_saved_while_its_renewal_is_looked_into_is_not_replaced_once_more() {
    let fleet = Fleet::of(Plan { machines: 1, ..Plan::default() }).await;
    fleet.endpoint.says("n0.test", Behaviour::Gated(Box::new(Behaviour::Yes)));
    let (store, before) = (store_of(&fleet).await, due(1));
    store.import(&before).await.unwrap();
    eventually("it is asked about", async || fleet.endpoint.questions_about("n0.test") == 1).await;
    // A visit at another machine comes first.
    let validity =
        Validity { not_before: SystemClock.now(), not_after: SystemClock.now().plus(hours(2_160)) };
    let newer = Certificate { validity, source: Source::Authority("pebble".into()), ..before[0].clone() };
    let lease = store.lease(&newer.name, LEASE_TTL).await.unwrap().expect("nobody has it");
    store.save(&lease, &newer).await.unwrap();
    store.release(&lease).await.unwrap();
    store.close().await;
    fleet.endpoint.open_gate();
    let renewed = r#"renewals_total{result="renewed"}"#;
    eventually("it is through", async || fleet.metric(renewed).await == 1.0).await;
    assert_eq!(fleet.ca.orders(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_renewals_at_once_keep_to_the_limit_and_are_all_done() {
    let authority = "limits = { orders = \"300/20s\" }";
    // However slow the machine is beside other tests. A hundred orders at once can end in a deadlock of Pebble's
    // memory store: who looks for a valid authorization waits for who adds a certificate, and the other way round.
    let (store, before) = ("timeout = \"20s\"", "[limits]\norders = 8\n");
    let fleet = Fleet::of(Plan { authority, store, before: before.into(), ..Plan::default() }).await;
    fleet.endpoint.says_to_all_others(Behaviour::Yes);
    bring(&fleet).await;
    let begun = Instant::now();
    let obtained = format!("SELECT count(*) FROM certificates WHERE source <> '\"{}\"'", "imported");
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    let mut new = 0;
    while fleet.number(&obtained).await < COUNT {
        pace.tick().await;
        assert!(begun.elapsed() < PATIENCE, "{} are done", fleet.number(&obtained).await);
        // Meanwhile new names are served: renewals leave room for them.
        if begun.elapsed().as_secs() % 15 == 7 {
            new += 1;
            let machine = fleet.machine(new % 3);
            if let Err(refused) = machine.handshake(&format!("new{new}.test")).await {
                panic!("{refused:?}\n{}", machine.log());
            }
        }
    }
    let most = format!(
        "SELECT max(count) FROM (SELECT count(*) OVER (ORDER BY placed_at RANGE BETWEEN {} PRECEDING
             AND CURRENT ROW) FROM orders) AS windows",
        SECONDS - 1
    );
    let most = fleet.number(&most).await;
    assert!(most <= ORDERS, "{most} orders within {SECONDS} s");
    // One that failed is tried again after a minute.
    let twice = "SELECT count(*) FROM orders AS one JOIN orders AS other USING (hostname)
         WHERE one.ctid < other.ctid AND abs(one.placed_at - other.placed_at) < 50";
    assert_eq!(fleet.number(twice).await, 0, "one order a name");
    assert!(new > 0, "somebody came meanwhile");
}
