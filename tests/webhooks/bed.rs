//! A store on a clock that stands still, hostnames in it, and whoever delivers what happens to them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nameplate::api::webhooks::address::Addresses;
use nameplate::api::webhooks::client::Client;
use nameplate::api::webhooks::create::{Wanted, create};
use nameplate::api::webhooks::deliver::Deliveries;
use nameplate::config::{KeySource, Network, Webhooks as Settings};
use nameplate::domain::access::Reach;
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::hostname::CertificateName;
use nameplate::domain::label::Label;
use nameplate::domain::registration::{Registration, Settings as Set, Standing, State, Via};
use nameplate::store::key_file;
use nameplate::store::records::{Hostnames, Look, NewHostname, Registered, SharedRecords};
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::{DATABASE_FILE, SqliteStore};
use nameplate::store::webhooks::{Delivery, DeliveryFilter, Webhook, Webhooks};
use nameplate::telemetry::metrics::Metrics;
use sqlx::Connection;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Longest that anything in a test may take; a machine under load is slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// An open store with its clock and its key.
pub struct Bed {
    pub store: Arc<SqliteStore>,
    pub clock: Arc<TestClock>,
    pub metrics: Arc<Metrics>,
    pub key: SealingKey,
    pub folder: TempDir,
}

/// Somebody who delivers, until it is dropped.
pub struct Worker {
    pub deliveries: Arc<Deliveries>,
    task: JoinHandle<()>,
}

impl Worker {
    pub async fn crash(mut self) {
        self.task.abort();
        let _aborted = (&mut self.task).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bed {
    pub async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let key = key_file::open(&KeySource::File(folder.path().join("store.key"))).unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(1_800_000_000)));
        let metrics = Arc::new(Metrics::new("test"));
        Self::open(clock, metrics, key, folder).await
    }

    async fn open(clock: Arc<TestClock>, metrics: Arc<Metrics>, key: SealingKey, folder: TempDir) -> Self {
        let data = folder.path().join("data");
        let store = SqliteStore::open(&data, key.clone(), clock.clone(), metrics.clone()).await;
        Self { store: Arc::new(store.unwrap()), clock, metrics, key, folder }
    }

    pub async fn reopen(self) -> Self {
        let Self { store, clock, metrics, key, folder } = self;
        store.close().await;
        drop(store);
        Self::open(clock, metrics, key, folder).await
    }

    /// Whoever delivers to this machine too.
    pub fn worker(&self) -> Worker {
        self.worker_allowing(&["127.0.0.0/8"])
    }

    pub fn worker_allowing(&self, networks: &[&str]) -> Worker {
        worker(self.store.clone(), self.clock.clone(), self.metrics.clone(), networks)
    }

    /// A webhook of `cats`.
    pub async fn webhook(&self, url: &str, events: &[&str]) -> Webhook {
        self.webhook_of("cats", url, events).await
    }

    pub async fn webhook_of(&self, organization: &str, url: &str, events: &[&str]) -> Webhook {
        let events: Vec<String> = events.iter().map(|word| (*word).to_owned()).collect();
        // What a URL leads to later is the worker's to judge.
        let wanted = Wanted { url: "https://hooks.test/", events: &events, secret: None };
        let made = create(&label(organization), &wanted, &Addresses::default(), self.clock.now()).unwrap();
        let webhook = Webhook { url: url.parse().unwrap(), ..made };
        assert!(self.store.add_webhook(&webhook, Some("token")).await.unwrap());
        webhook
    }

    /// A hostname of `cats`.
    pub async fn hostname(&self, raw: &str) -> Registration {
        self.hostname_of("cats", raw).await
    }

    pub async fn hostname_of(&self, organization: &str, raw: &str) -> Registration {
        let new = NewHostname {
            name: name(raw),
            organization: label(organization),
            site: label("shop"),
            via: Via::Api,
            settings: Set { metadata: Some(r#"{"customer":7}"#.into()), ..Set::default() },
            preview: format!("p-{organization}-{}", raw.replace('.', "-")),
            proof: "proof".to_owned(),
            quota: 1_000,
        };
        match self.store.register(&new, None).await.unwrap() {
            Registered::Created(registration) => *registration,
            other => panic!("{other:?}"),
        }
    }

    /// Notes where a hostname stands, which is an event where it stood elsewhere.
    pub async fn stands(&self, hostname: &Registration, state: State, reason: &str) {
        let standing = Standing {
            state,
            reason: reason.to_owned(),
            diagnosis: None,
            looks: 1,
            looked_at: None,
            look_at: self.clock.now().plus(Duration::from_secs(1_000_000)),
        };
        let before = self.store.registration(&hostname.organization, &hostname.name).await.unwrap().unwrap();
        let look = Look { standing, events: Vec::new(), turn: before.turn, holder: before.holder };
        self.store.note_look(hostname.id, &look).await.unwrap();
    }

    /// Takes a hostname of `cats` away.
    pub async fn deletes(&self, raw: &str) {
        assert!(self.store.unregister(&label("cats"), &name(raw), None).await.unwrap().is_some());
    }

    /// All deliveries, the oldest first.
    pub async fn deliveries(&self) -> Vec<Delivery> {
        let filter = DeliveryFilter { reach: Reach::All, webhook: None, before: None, limit: 10_000 };
        let mut all = self.store.deliveries(&filter).await.unwrap();
        all.reverse();
        all
    }

    pub async fn advance(&self, seconds: u64, worker: &Worker) {
        self.clock.advance(Duration::from_secs(seconds));
        worker.deliveries.wake();
    }

    /// Changes rows behind the store's back.
    pub async fn change(&self, statement: &str) {
        let url = format!("sqlite:{}", self.folder.path().join("data").join(DATABASE_FILE).display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub fn counted(&self, result: &str) -> u64 {
        self.metrics.webhook_deliveries.with_label_values(&[result]).get()
    }
}

pub fn worker(
    store: SharedRecords,
    clock: Arc<TestClock>,
    metrics: Arc<Metrics>,
    networks: &[&str],
) -> Worker {
    let network = |text: &&str| {
        let (address, prefix) = text.split_once('/').unwrap();
        Network { address: address.parse::<IpAddr>().unwrap(), prefix: prefix.parse().unwrap() }
    };
    let settings =
        Settings { allow_private: networks.iter().map(network).collect(), timeout: Duration::from_secs(10) };
    let deliveries = Arc::new(Deliveries::new(store, Client::new(&settings).unwrap(), clock, metrics));
    let running = deliveries.clone();
    Worker { deliveries, task: tokio::spawn(async move { running.run().await }) }
}

/// A clock that stands still until it is told.
pub struct TestClock(pub AtomicI64);

impl TestClock {
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_secs() as i64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

pub fn label(raw: &str) -> Label {
    raw.parse().unwrap()
}

pub fn name(raw: &str) -> CertificateName {
    raw.parse().unwrap()
}

/// Waits until `holds`; panics with `what` after [`DEADLINE`].
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looks = async {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while !holds().await {
            pace.tick().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, looks).await.is_ok(), "{what}: not within {DEADLINE:?}");
}
