//! A store on a clock that stands still, and what is put into it.

use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nameplate::config::Postgres;
use nameplate::config::Secret;
use nameplate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::hostname::CertificateName;
use nameplate::store::postgres::PostgresStore;
use nameplate::store::records::Records;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::{DATABASE_FILE, SqliteStore};
use nameplate::store::{AccountCredentials, Challenge, ChallengeKind, Error, LEASE_TTL, Lease};
use nameplate::telemetry::metrics::Metrics;
use sqlx::Connection;
use tempfile::TempDir;

use crate::test_bed::postgres::PostgresServer;

/// A law is a function of a bed; each implementation gives it one of its own.
macro_rules! laws { ($($law:ident),+ $(,)?) => {
    mod embedded { $(#[tokio::test] async fn $law() { super::$law(crate::Bed::embedded().await).await })+ }
    mod postgres { $(#[tokio::test] async fn $law() { super::$law(crate::Bed::postgres().await).await })+ }
} }
pub(crate) use laws;

/// An open store with its clock and its key.
pub struct Bed {
    pub store: Opened,
    pub ground: Ground,
}

/// A store of either kind.
#[derive(Clone)]
pub enum Opened {
    Embedded(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl Deref for Opened {
    type Target = dyn Records;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Embedded(store) => &**store,
            Self::Postgres(store) => &**store,
        }
    }
}

/// What is left of a bed while its store is closed.
pub struct Ground {
    pub clock: Arc<TestClock>,
    pub key: SealingKey,
    pub metrics: Arc<Metrics>,
    pub folder: TempDir,
    /// The database of the shared server; `None`: the embedded store.
    pub database: Option<String>,
}

impl Deref for Bed {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

/// One server for all tests of this process. Its keeper's thread lives as long as the process, and the
/// server ends with it.
pub fn server() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let server = runtime.block_on(PostgresServer::start());
            // Nothing that a static holds is dropped: whoever outlives this process clears up behind it.
            let behind = std::process::Command::new("sh")
                .args(["-c", "while kill -0 $0; do sleep 1; done; rm -rf \"$1\""])
                .arg(std::process::id().to_string())
                .arg(server.folder())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            send.send(server).unwrap();
            // Never, as it waits for the end of this process.
            drop(behind.wait_with_output());
        });
        receive.recv().unwrap()
    })
}

impl Bed {
    pub async fn embedded() -> Self {
        Ground::new(None).open().await
    }

    /// A database of its own, whose time is the test's.
    pub async fn postgres() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let database = format!("law{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        tokio::task::spawn_blocking(server).await.unwrap().database(&database).await;
        let ground = Ground::new(Some(database.clone()));
        // Once for the schema, before its clock is the test's.
        ground.try_open(ground.key.clone()).await.unwrap().close().await;
        let clock = ground.clock.file.as_deref().unwrap();
        let time = format!("SELECT pg_read_file('{}')::bigint", clock.display());
        let function =
            "CREATE OR REPLACE FUNCTION unix_now() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE";
        server().execute(&database, &format!("{function} AS $$ {time} $$")).await;
        ground.open().await
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

    /// What is due for renewal; it stays nobody's.
    pub async fn renewals(&self, now: UnixTime, limit: u32) -> Vec<CertificateName> {
        let claimed = self.store.claim_due(now, limit, Duration::from_secs(60)).await.unwrap();
        self.store.give_up_claims(&claimed).await.unwrap();
        claimed
    }

    pub fn challenge(&self, kind: ChallengeKind, key: &str, seconds: u64) -> Challenge {
        let expires = self.clock.now().plus(Duration::from_secs(seconds));
        Challenge { kind, key: key.into(), answer: format!("{key}.thumbprint"), expires }
    }

    /// Rows of a table, with a condition where it is to have one.
    pub async fn rows(&self, rows: &str) -> i64 {
        let count = format!("SELECT count(*) FROM {rows}");
        match &self.database {
            Some(database) => server().number(database, &count).await,
            None => {
                let mut connection = self.connection().await;
                sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    /// Changes rows behind the store's back.
    pub async fn change(&self, statement: &str) {
        let changed = match &self.database {
            // Octets are written in another way.
            Some(database) => server().execute(database, &statement.replace("x'", r"'\x")).await,
            None => {
                let mut connection = self.connection().await;
                let statement = sqlx::AssertSqlSafe(statement.to_owned());
                let changed = sqlx::query(statement).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
                changed.rows_affected()
            }
        };
        assert!(changed > 0);
    }

    async fn connection(&self) -> sqlx::SqliteConnection {
        let url = format!("sqlite:{}", self.data_dir().join(DATABASE_FILE).display());
        sqlx::SqliteConnection::connect(&url).await.unwrap()
    }
}

impl Opened {
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

impl Ground {
    fn new(database: Option<String>) -> Self {
        let folder = TempDir::new().unwrap();
        let file = database.as_ref().map(|database| server().folder().join(format!("{database}.clock")));
        let clock = Arc::new(TestClock { at: AtomicI64::new(1_800_000_000), file });
        clock.write();
        Self { clock, key: SealingKey::random(), metrics: metrics(), folder, database }
    }

    /// Not there at first, so that the store makes it.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub async fn try_open(&self, key: SealingKey) -> Result<Opened, Error> {
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        match &self.database {
            None => {
                let store = SqliteStore::open(&self.data_dir(), key, clock, metrics).await?;
                Ok(Opened::Embedded(Arc::new(store)))
            }
            Some(database) => {
                let url = server().url(database);
                let access = Postgres {
                    place: url.clone(),
                    url: Secret(url.into()),
                    connections: 4,
                    timeout: Duration::from_secs(10),
                };
                let store = PostgresStore::open(&access, key, clock, metrics).await?;
                Ok(Opened::Postgres(Arc::new(store)))
            }
        }
    }

    pub async fn open(self) -> Bed {
        let store = self.try_open(self.key.clone()).await.unwrap();
        Bed { store, ground: self }
    }
}

/// A clock that stands still until it is told.
pub struct TestClock {
    at: AtomicI64,
    /// Where a database server reads it.
    file: Option<PathBuf>,
}

impl TestClock {
    pub fn advance(&self, time: Duration) {
        self.at.fetch_add(time.as_secs() as i64, Ordering::SeqCst);
        self.write();
    }

    pub fn set_back(&self, time: Duration) {
        self.at.fetch_sub(time.as_secs() as i64, Ordering::SeqCst);
        self.write();
    }

    fn write(&self) {
        if let Some(file) = &self.file {
            fs::write(file, self.at.load(Ordering::SeqCst).to_string()).unwrap();
        }
    }
}

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.at.load(Ordering::SeqCst))
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
