//! The database file: its connections, who may write when, and what is counted.

use std::fs::OpenOptions;
use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqlitePool};
use tokio::sync::{Mutex, MutexGuard};

use super::sealed;
use crate::domain::clock::{Clock, UnixTime};
use crate::store::Error;
use crate::store::files::{FILE_MODE, failed, shown};
use crate::store::operation::Book;
pub use crate::store::operation::{Fault, Operation};
use crate::store::seal::SealingKey;
use crate::telemetry::metrics::Metrics;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a statement waits while another process writes, such as an import.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that only read; each has a thread of its own.
const READERS: u32 = 4;

/// Whether a write must survive a power cut before it is answered.
#[derive(Clone, Copy)]
pub enum Durability {
    /// Yes: certificates, accounts. Costs an fsync.
    PowerCut,
    /// No, only the end of the process: leases, challenges, attempts, which mean nothing after
    /// a machine has started again.
    Process,
}

/// A connection to write with, and the turn to do so.
pub struct Writer<'a> {
    /// The connection; no other one of this process writes meanwhile.
    pub connection: PoolConnection<Sqlite>,
    _turn: MutexGuard<'a, ()>,
}

/// An open database.
pub struct Database {
    /// Connections for reading.
    pub readers: SqlitePool,
    /// Seals and opens what is secret.
    pub key: SealingKey,
    durable: SqlitePool,
    quick: SqlitePool,
    /// SQLite has one writer at a time and lets the others poll; here they queue instead.
    turn: Mutex<()>,
    book: Book,
    clock: Arc<dyn Clock>,
}

impl Database {
    /// Opens the database file at `path` and brings its schema up to date; a missing one is made.
    ///
    /// Fails with [`SealError::OtherKey`] where it is sealed with another key than `key`.
    pub async fn open(
        path: &Path,
        key: SealingKey,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        // SQLite would make it readable by others. Its WAL files take over the mode. A file that
        // exists is not opened here: closing it would drop SQLite's own locks on it (fcntl).
        match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                return Err(failed("make the database", path, source));
            }
            _ => {}
        }
        let place = shown(path);
        let cannot_open = |source| Error::Database { operation: "open", place: place.clone(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let durable = options.clone().synchronous(SqliteSynchronous::Full);
        let quick = options.synchronous(SqliteSynchronous::Normal);
        let database = Self {
            durable: pool(1).connect_with(durable).await.map_err(cannot_open)?,
            readers: pool(READERS).connect_with(quick.clone()).await.map_err(cannot_open)?,
            quick: pool(1).connect_with(quick).await.map_err(cannot_open)?,
            key,
            turn: Mutex::new(()),
            book: Book { place, metrics },
            clock,
        };
        database.migrate(path).await?;
        let operation = Operation { label: "open", doing: "compare the sealing key" };
        database.timed(operation, sealed::adopt(&database)).await?;
        Ok(database)
    }

    /// One process at a time: the driver takes no lock for SQLite's migrations.
    async fn migrate(&self, path: &Path) -> Result<(), Error> {
        let lock_path = path.with_extension("schema.lock");
        let lock = lock_file(&lock_path)?;
        let waiting = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock));
        let _held = waiting
            .await
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| failed("lock", &lock_path, source))?;
        MIGRATIONS
            .run(&self.durable)
            .await
            .map_err(|source| Error::Migration { place: self.book.place.clone(), source })
    }

    /// Where it is, for messages.
    pub fn place(&self) -> &str {
        &self.book.place
    }

    /// The present moment, by the clock that was handed in.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Waits for the turn to write.
    pub async fn writer(&self, durability: Durability) -> Result<Writer<'_>, sqlx::Error> {
        let turn = self.turn.lock().await;
        let pool = match durability {
            Durability::PowerCut => &self.durable,
            Durability::Process => &self.quick,
        };
        Ok(Writer { connection: pool.acquire().await?, _turn: turn })
    }

    /// Does `work`, counts and times it, and names it in its error.
    pub async fn timed<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Error> {
        self.book.timed(operation, work).await
    }

    /// Closes every connection; what was written is in the database file afterwards.
    pub async fn close(&self) {
        self.readers.close().await;
        self.quick.close().await;
        self.durable.close().await;
    }
}

/// Opens a lock file, which is made where it is missing.
pub fn lock_file(path: &Path) -> Result<std::fs::File, Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(|source| failed("open", path, source))
}

/// Connections live as long as the store: opening one again costs more than keeping it. One on which
/// neither a commit nor its rollback went through, as on a failing disk, is opened again: the driver
/// begins no transaction on it any more.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .before_acquire(|connection, _| {
            let well = !connection.is_in_transaction();
            Box::pin(async move { Ok(well) })
        })
}
