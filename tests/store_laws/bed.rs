//! A store on a clock that stands still, and what is put into it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nameplate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::hostname::CertificateName;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::{DATABASE_FILE, SqliteStore};
use nameplate::store::{AccountCredentials, Challenge, ChallengeKind, Error, LEASE_TTL, Lease, Store};
use nameplate::telemetry::metrics::Metrics;
use sqlx::Connection;
use tempfile::TempDir;

/// A law is a function of a bed; each implementation gives it one of its own.
macro_rules! laws { ($($law:ident),+ $(,)?) => {
    mod embedded { $(#[tokio::test] async fn $law() { super::$law(crate::Bed::embedded().await).await })+ }
} }
pub(crate) use laws;

/// An open store with its clock and its key.
pub struct Bed {
    pub store: Arc<SqliteStore>,
    pub ground: Ground,
}

/// What is left of a bed while its store is closed.
pub struct Ground {
    pub clock: Arc<TestClock>,
    pub key: SealingKey,
    pub metrics: Arc<Metrics>,
    pub folder: TempDir,
}

impl std::ops::Deref for Bed {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

impl Bed {
    pub async fn embedded() -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_800_000_000)));
        let folder = TempDir::new().unwrap();
        Ground { clock, key: SealingKey::random(), metrics: metrics(), folder }.open().await
    }

    pub async fn reopen(self) -> Self {
        self.close().await.open().await
    }

    pub async fn close(self) -> Ground {
        self.store.close().await;
        self.ground
    }

    pub async fn find(&self, raw: &str) -> Option<Certificate> {
        self.store.certificate(&name(raw)).await.unwrap()
    }

    pub async fn lease(&self, raw: &str) -> Option<Lease> {
        self.store.lease(&name(raw), LEASE_TTL).await.unwrap()
    }

    pub async fn save(&self, certificate: &Certificate) {
        let lease = self.store.lease(&certificate.name, LEASE_TTL).await.unwrap().unwrap();
        self.store.save(&lease, certificate).await.unwrap();
        self.store.release(&lease).await.unwrap();
    }

    pub fn challenge(&self, kind: ChallengeKind, key: &str, seconds: u64) -> Challenge {
        let expires = self.clock.now().plus(Duration::from_secs(seconds));
        Challenge { kind, key: key.into(), answer: format!("{key}.thumbprint"), expires }
    }

    /// Rows of a table, with a condition where it is to have one.
    pub async fn rows(&self, rows: &str) -> i64 {
        let url = format!("sqlite:{}", self.data_dir().join(DATABASE_FILE).display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {rows}"));
        sqlx::query_scalar(statement).fetch_one(&mut connection).await.unwrap()
    }

    /// Changes rows behind the store's back.
    pub async fn change(&self, statement: &str) {
        let url = format!("sqlite:{}", self.data_dir().join(DATABASE_FILE).display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        let changed = sqlx::query(statement).execute(&mut connection).await.unwrap();
        assert!(changed.rows_affected() > 0);
        connection.close().await.unwrap();
    }
}

impl Ground {
    /// Not there at first, so that the store makes it.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub async fn try_open(&self, key: SealingKey) -> Result<SqliteStore, Error> {
        SqliteStore::open(&self.data_dir(), key, self.clock.clone(), self.metrics.clone()).await
    }

    pub async fn open(self) -> Bed {
        let store = Arc::new(self.try_open(self.key.clone()).await.unwrap());
        Bed { store, ground: self }
    }
}

/// A clock that stands still until it is told.
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_secs() as i64, Ordering::SeqCst);
    }

    pub fn set_back(&self, time: Duration) {
        self.0.fetch_sub(time.as_secs() as i64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

pub fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("test"))
}

pub fn name(raw: &str) -> CertificateName {
    raw.parse().unwrap()
}

pub fn credentials(number: u8) -> AccountCredentials {
    AccountCredentials::new(vec![number; 100])
}

/// The store looks into neither chain nor key, so any octets will do.
pub fn certificate(raw: &str, not_after: i64) -> Certificate {
    Certificate {
        name: name(raw),
        chain: vec![format!("leaf of {raw} until {not_after}").into_bytes(), vec![9; 1_000]],
        key: PrivateKey::from_der(format!("private key of {raw}").repeat(5).into_bytes()),
        key_type: KeyType::P256,
        validity: Validity { not_before: UnixTime(0), not_after: UnixTime(not_after) },
        source: Source::Authority("pebble".into()),
    }
}

pub fn assert_same(one: &Certificate, other: &Certificate) {
    assert_eq!((&one.name, &one.chain, &one.key), (&other.name, &other.chain, &other.key));
    assert_eq!((one.key_type, one.validity), (other.key_type, other.validity));
    assert_eq!(one.source, other.source);
}
