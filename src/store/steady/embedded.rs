//! Opening the embedded store. A database that is damaged is moved aside, never deleted, and a new one is
//! begun with what this machine's local tier has.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::REFILL_FILE;
use crate::domain::clock::Clock;
use crate::store::files::{failed, shown, sync_folder, write_new};
use crate::store::local::LocalTier;
use crate::store::seal::SealingKey;
use crate::store::sqlite::{DATABASE_FILE, SqliteStore};
use crate::store::{Error, Store};
use crate::telemetry::metrics::Metrics;

/// Certificates taken over from the local tier at a time.
const BATCH: usize = 500;
/// SQLite's result codes (primary ones) for a file that is damaged or no database.
const DAMAGED: [i32; 2] = [11, 26];

/// What opening it needs.
pub(super) struct Embedded {
    data_dir: PathBuf,
    key: SealingKey,
    local: LocalTier,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// The lock of the process before this one, until it is used.
    handed_over: Mutex<Option<File>>,
}

impl Embedded {
    /// - `handed_over`: see [`SqliteStore::follow`].
    pub(super) fn new(
        data_dir: &Path,
        key: SealingKey,
        local: LocalTier,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        handed_over: Option<File>,
    ) -> Self {
        let handed_over = Mutex::new(handed_over);
        Self { data_dir: data_dir.to_owned(), key, local, clock, metrics, handed_over }
    }

    pub(super) fn place(&self) -> Arc<str> {
        shown(&self.data_dir)
    }

    pub(super) async fn open(&self) -> Result<SqliteStore, Error> {
        // One that somebody removed is begun anew with what this machine has.
        if self.data_dir.is_dir() && !self.data_dir.join(DATABASE_FILE).exists() {
            self.mark_for_refill()?;
        }
        let opened = match self.open_once().await {
            Err(error) if is_damaged(&error) => {
                self.move_aside(&error)?;
                self.open_once().await?
            }
            other => other?,
        };
        if self.data_dir.join(REFILL_FILE).exists() {
            self.refill(&opened).await?;
        }
        Ok(opened)
    }

    async fn open_once(&self) -> Result<SqliteStore, Error> {
        let (key, clock, metrics) = (self.key.clone(), self.clock.clone(), self.metrics.clone());
        let handed_over = self.handed_over.lock().take();
        match handed_over {
            Some(lock) => SqliteStore::follow(&self.data_dir, key, clock, metrics, lock).await,
            None => SqliteStore::open(&self.data_dir, key, clock, metrics).await,
        }
    }

    fn mark_for_refill(&self) -> Result<(), Error> {
        let mark = self.data_dir.join(REFILL_FILE);
        match write_new(&mark, b"") {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(failed("write", &mark, source))
            }
            _ => Ok(()),
        }
    }

    /// Moves the database and its companions to names that say when.
    fn move_aside(&self, error: &Error) -> Result<(), Error> {
        self.mark_for_refill()?;
        // One that was kept aside in the same second stays too.
        let at = self.clock.now().0;
        let free = |at: &i64| !self.data_dir.join(format!("{DATABASE_FILE}.damaged-{at}")).exists();
        let at = (at..).find(free).unwrap_or(at);
        let moved = |suffix: &str| {
            let from = format!("{DATABASE_FILE}{suffix}");
            let to = format!("{DATABASE_FILE}.damaged-{at}{suffix}");
            (self.data_dir.join(from), self.data_dir.join(to))
        };
        for (from, to) in ["-wal", "-shm", ""].map(moved) {
            match fs::rename(&from, &to) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("move the damaged database aside,", &from, source));
                }
                _ => {}
            }
        }
        sync_folder(&self.data_dir).map_err(|source| failed("sync", &self.data_dir, source))?;
        let kept = shown(&moved("").1);
        tracing::error!(error = %error, %kept, "the database is damaged; it is kept aside and a new one is \
            begun with the certificates of this machine's local tier; accounts are made anew");
        Ok(())
    }

    /// Files what the local tier has.
    async fn refill(&self, store: &SqliteStore) -> Result<(), Error> {
        let mut filed = 0;
        let mut rest = self.local.all().await?;
        while !rest.is_empty() {
            let more = rest.split_off(rest.len().min(BATCH));
            filed += store.import(&rest).await?.filed;
            rest = more;
        }
        let mark = self.data_dir.join(REFILL_FILE);
        fs::remove_file(&mark).map_err(|source| failed("remove", &mark, source))?;
        if filed > 0 {
            tracing::info!(filed, "the new store holds the certificates of this machine's local tier");
        }
        Ok(())
    }
}

/// Whether the database file is damaged, or is none.
pub(super) fn is_damaged(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(sqlx::Error::Database(error)) = error.downcast_ref::<sqlx::Error>() {
            let code = error.code().and_then(|code| code.parse::<i32>().ok());
            return code.is_some_and(|code| DAMAGED.contains(&(code & 0xff)));
        }
        cause = error.source();
    }
    false
}
