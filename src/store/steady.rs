//! The store as a process that serves needs it: it may be absent at any time, at the start too, and comes
//! back by itself. Meanwhile every call fails at once and nothing waits for it.

mod embedded;
mod passed_on;

use std::error::Error as _;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use self::embedded::Embedded;
use super::local::LocalTier;
use super::opened::Opened;
use super::postgres::{self, PostgresStore};
use super::seal::SealingKey;
use super::{Error, SealError};
use crate::config::{Engine, Postgres};
use crate::domain::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// Marks in `data_dir` that the embedded store was begun anew and lacks what the local tier has.
pub const REFILL_FILE: &str = "store.refill";

/// First and longest pause between two tries to open it.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The longest one where machines share it: many wait for it, and each draws its moment.
const RETRY_SHARED: Duration = Duration::from_secs(5);

/// A [`Store`](super::Store) that may be absent.
pub struct SteadyStore {
    opener: Opener,
    metrics: Arc<Metrics>,
    current: ArcSwapOption<Opened>,
    why_not: Mutex<Arc<str>>,
    troubled: Notify,
}

/// How it is opened.
enum Opener {
    Embedded(Embedded),
    Postgres { access: Postgres, key: SealingKey, clock: Arc<dyn Clock> },
}

/// Whether an error says that the store is open no longer.
fn is_lost(opened: &Opened, error: &Error) -> bool {
    match opened {
        Opened::Embedded(_) => embedded::is_damaged(error),
        Opened::Postgres(_) => postgres::is_unreachable(error),
    }
}

/// Whether it answers all the same: a single connection may have been cut.
async fn is_well(opened: &Opened) -> bool {
    match opened {
        Opened::Embedded(_) => false,
        Opened::Postgres(store) => store.answers().boxed().await,
    }
}

impl SteadyStore {
    /// Opens the store, or begins without it; [`SteadyStore::keep_open`] then goes on trying.
    ///
    /// Fails only where an operator must decide: another process serves from it
    /// ([`Error::InUse`]), or it is sealed with another key ([`SealError::OtherKey`]).
    ///
    /// - `handed_over`: see [`SqliteStore::follow`](super::sqlite::SqliteStore::follow).
    pub async fn open(
        (engine, data_dir): (&Engine, &Path),
        key: SealingKey,
        local: LocalTier,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        handed_over: Option<File>,
    ) -> Result<Self, Error> {
        let opener = match engine {
            Engine::Embedded => {
                let embedded = Embedded::new(data_dir, key, local, clock, metrics.clone(), handed_over);
                Opener::Embedded(embedded)
            }
            Engine::Postgres(access) => Opener::Postgres { access: access.clone(), key, clock },
        };
        let store = Self {
            opener,
            metrics,
            current: ArcSwapOption::empty(),
            why_not: Mutex::new("it is not open yet".into()),
            troubled: Notify::new(),
        };
        match store.try_open().await {
            Ok(opened) => store.take(opened),
            Err(error @ (Error::InUse { .. } | Error::Seal(SealError::OtherKey { .. }))) => {
                return Err(error);
            }
            Err(error) => store.lack(&error),
        }
        Ok(store)
    }

    /// Opens it again whenever it is absent, damaged or out of reach. Never ends.
    pub async fn keep_open(&self) {
        let mut pause = RETRY.0;
        loop {
            if let Some(current) = self.current.load_full() {
                self.troubled.notified().await;
                if is_well(&current).await {
                    continue;
                }
                drop(current);
                self.let_go().await;
                pause = RETRY.0;
            }
            match self.try_open().await {
                Ok(opened) => {
                    self.take(opened);
                    tracing::info!(place = %self.place(), "the store is open again");
                }
                Err(error) => {
                    self.lack(&error);
                    sleep(self.drawn(pause)).await;
                    pause = (pause * 2).min(self.longest_pause());
                }
            }
        }
    }

    /// A pause, which differs from machine to machine where they share the store.
    fn drawn(&self, pause: Duration) -> Duration {
        match self.opener {
            Opener::Embedded(_) => pause,
            Opener::Postgres { .. } => pause.mul_f64(rand::random_range(0.5..1.0)),
        }
    }

    fn longest_pause(&self) -> Duration {
        match self.opener {
            Opener::Embedded(_) => RETRY.1,
            Opener::Postgres { .. } => RETRY_SHARED,
        }
    }

    /// Where it is, for messages; without secrets.
    fn place(&self) -> Arc<str> {
        match &self.opener {
            Opener::Embedded(embedded) => embedded.place(),
            Opener::Postgres { access, .. } => access.place.as_str().into(),
        }
    }

    /// Its lock once more, for the process that follows this one; `None` while it is absent, and where
    /// machines share the store.
    pub fn lock(&self) -> io::Result<Option<File>> {
        match self.current.load().as_deref() {
            Some(Opened::Embedded(store)) => store.lock(),
            _ => Ok(None),
        }
    }

    /// Closes it for good; every further call fails.
    pub async fn close(&self) {
        self.let_go().await;
    }

    fn take(&self, opened: Opened) {
        self.current.store(Some(Arc::new(opened)));
        self.metrics.store_open.set(1);
    }

    fn lack(&self, error: &Error) {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            why.push_str(": ");
            why.push_str(&error.to_string());
            cause = error.source();
        }
        tracing::error!(
            error = why,
            "the store cannot be opened; what this machine keeps itself is served, \
            nothing is ordered, and it is tried again"
        );
        *self.why_not.lock() = why.into();
        self.metrics.store_open.set(0);
    }

    /// Lets it go: the embedded one once nobody uses it any more, so that its lock is free.
    async fn let_go(&self) {
        let Some(mut held) = self.current.swap(None) else { return };
        *self.why_not.lock() = "it is out of reach".into();
        self.metrics.store_open.set(0);
        let Opened::Embedded(store) = &*held else {
            // Closing waits for calls that a silent server keeps; they end by their own time.
            tokio::spawn(async move { held.close().await });
            return;
        };
        store.close().await;
        while let Err(still) = Arc::try_unwrap(held) {
            held = still;
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn try_open(&self) -> Result<Opened, Error> {
        match &self.opener {
            Opener::Embedded(embedded) => Ok(Opened::Embedded(embedded.open().await?)),
            Opener::Postgres { access, key, clock } => {
                let (key, clock, metrics) = (key.clone(), clock.clone(), self.metrics.clone());
                Ok(Opened::Postgres(Box::new(
                    PostgresStore::open(access, key, clock, metrics).boxed().await?,
                )))
            }
        }
    }

    /// The store, where it is open.
    fn get(&self) -> Result<Arc<Opened>, Error> {
        self.current.load_full().ok_or_else(|| Error::Absent { why: self.why_not.lock().clone() })
    }

    /// `result`, which may tell that the store is open no longer.
    fn seen<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && self.current.load().as_ref().is_some_and(|current| is_lost(current, error))
        {
            self.troubled.notify_one();
        }
        result
    }
}
