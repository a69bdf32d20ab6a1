//! The database server: its connections, how long anything may take, and what is counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use super::{roots, sealed};
use crate::config::Postgres;
use crate::domain::clock::{Clock, UnixTime};
use crate::store::Error;
use crate::store::operation::Book;
pub use crate::store::operation::{Fault, Operation};
use crate::store::seal::SealingKey;
use crate::telemetry::metrics::Metrics;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a machine waits for others that bring the schema up to date at the same time.
const MIGRATING: Duration = Duration::from_secs(10 * 60);
/// A connection on which a transaction stands still is closed by the server: its locks are in the way of
/// others.
const IDLE_TRANSACTION: Duration = Duration::from_secs(15);
/// How much longer than the server's own limit an answer is waited for.
const BEYOND: Duration = Duration::from_secs(1);
/// Connections live so long at most, so that the server's memory for each does not grow without end.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// A database on a server.
pub struct Database {
    /// Connections, opened as they are needed.
    pub pool: PgPool,
    /// Seals and opens what is secret.
    pub key: SealingKey,
    /// What this machine holds rows by, for as long as it runs.
    pub machine: i64,
    /// How a connection is made beside those of the pool.
    options: PgConnectOptions,
    /// The turn to place an order: those who wait for the authority's lock would else keep all connections.
    pub(super) placing: Mutex<()>,
    /// Rung after each change that other machines are to look at.
    pub(super) bell: Arc<Notify>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
    book: Book,
}

impl Database {
    /// Connects to the database and brings its schema up to date.
    ///
    /// Fails with [`SealError::OtherKey`](crate::store::SealError::OtherKey) where it is sealed with
    /// another key than `key`.
    pub async fn open(
        access: &Postgres,
        key: SealingKey,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let place: Arc<str> = access.place.as_str().into();
        let cannot_open = |source| Error::Database { operation: "open", place: place.clone(), source };
        let options: PgConnectOptions = access.url.0.parse().map_err(cannot_open)?;
        let options = roots::with_the_systems(options, &access.url.0).await.map_err(cannot_open)?;
        let options = options.application_name(concat!("nameplate/", env!("CARGO_PKG_VERSION")));
        migrate(&options, access.timeout, &place).await?;
        let milliseconds = |time: Duration| time.as_millis().to_string();
        let limited = options.options([
            ("statement_timeout", milliseconds(access.timeout)),
            ("lock_timeout", milliseconds(access.timeout)),
            ("idle_in_transaction_session_timeout", milliseconds(IDLE_TRANSACTION)),
        ]);
        // The round trip before each use of a connection is spared: one that broke is found by its use.
        let pool = PgPoolOptions::new()
            .max_connections(access.connections)
            .acquire_timeout(access.timeout)
            .max_lifetime(LIFETIME)
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(refuse_a_standby(connection)))
            .connect_with(limited.clone())
            .await
            .map_err(cannot_open)?;
        let book = Book { place: place.clone(), metrics };
        let database = Self {
            pool,
            key,
            machine: rand::random(),
            options: limited,
            placing: Mutex::default(),
            bell: Arc::default(),
            deadline: access.timeout + BEYOND,
            clock,
            book,
        };
        let operation = Operation { label: "open", doing: "compare the sealing key" };
        database.timed(operation, sealed::adopt(&database)).await?;
        Ok(database)
    }

    /// Whether the server answers a connection of its own within `patience`, however busy the others are.
    pub async fn answers(&self, patience: Duration) -> bool {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(patience);
        let answered = timeout(patience, async {
            let pool = pool.connect_with(self.options.clone()).await?;
            sqlx::query("SELECT 1").execute(&pool).await?;
            pool.close().await;
            Ok::<(), sqlx::Error>(())
        });
        answered.await.is_ok_and(|answer| answer.is_ok())
    }

    /// Where it is, for messages; without secrets.
    pub fn place(&self) -> &str {
        &self.book.place
    }

    /// The present moment by this machine's clock. What machines agree on goes by the database's, which is
    /// `unix_now()` in a statement.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Lets other machines know at once that there are changes; call it after their commit.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Does `work` within the longest time that it may take, counts and times it, and names it in its
    /// error. A server that has gone without a word costs that time once.
    pub async fn timed<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Error> {
        let bounded = async {
            timeout(self.deadline, work).await.unwrap_or_else(|_| Err(Fault::Sql(too_late(self.deadline))))
        };
        self.book.timed(operation, bounded).await
    }

    /// As [`Database::timed`], for what takes as long as there is much of it.
    pub async fn timed_without_end<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Error> {
        self.book.timed(operation, work).await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn too_late(after: Duration) -> sqlx::Error {
    let why = format!("no answer within {after:?}");
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}

/// Brings the schema up to date: one machine does, the others wait for it. A newer schema than this
/// version's is left as it is, so that machines of two versions next to each other work on one database.
async fn migrate(options: &PgConnectOptions, connecting: Duration, place: &Arc<str>) -> Result<(), Error> {
    let cannot_open = |source| Error::Database { operation: "open", place: place.clone(), source };
    let cannot_migrate = |source| Error::Migration { place: place.clone(), source };
    // Without the limits of the others: to bring a large table up to date takes its time.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(connecting)
        .after_connect(|connection, _| Box::pin(refuse_a_standby(connection)));
    let pool = pool.connect_with(options.clone()).await.map_err(cannot_open)?;
    let mut migrations = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrations.set_ignore_missing(true);
    let migrated = timeout(MIGRATING, migrations.run(&pool)).await;
    let migrated = migrated.map_err(|_| MigrateError::Execute(too_late(MIGRATING))).flatten();
    pool.close().await;
    migrated.map_err(cannot_migrate)
}

/// One that only follows another server takes no change.
async fn refuse_a_standby(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut *connection).await?;
    if standby {
        let why = "it is a standby, which takes no changes; give the address of the primary";
        return Err(sqlx::Error::Configuration(why.into()));
    }
    Ok(())
}
