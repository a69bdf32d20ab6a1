//! A store that is open, of whichever engine.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;

use super::Error;
use super::postgres::PostgresStore;
use super::records::Records;
use super::seal::SealingKey;
use super::sqlite::SqliteStore;
use super::tickets::{FleetKeys, TicketKeys};
use crate::config::Engine;
use crate::domain::clock::Clock;
use crate::domain::ticket::TicketKey;
use crate::telemetry::metrics::Metrics;

/// An open store.
pub enum Opened {
    /// The embedded one.
    Embedded(SqliteStore),
    /// A database that machines share.
    Postgres(Box<PostgresStore>),
}

impl Opened {
    /// Opens the store for a command, whether a process serves from it or not.
    ///
    /// - `place`: the engine, and the folder of the embedded store
    pub async fn beside(
        (engine, data_dir): (&Engine, &Path),
        key: SealingKey,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        match engine {
            Engine::Embedded => {
                Ok(Self::Embedded(SqliteStore::open_beside(data_dir, key, clock, metrics).await?))
            }
            Engine::Postgres(access) => {
                Ok(Self::Postgres(Box::new(PostgresStore::open(access, key, clock, metrics).boxed().await?)))
            }
        }
    }

    /// The same where nobody else of this machine may work with it meanwhile.
    ///
    /// Fails with [`Error::InUse`] while a process serves from the embedded store.
    pub async fn alone(
        place: (&Engine, &Path),
        key: SealingKey,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        match place {
            (Engine::Embedded, data_dir) => {
                Ok(Self::Embedded(SqliteStore::open(data_dir, key, clock, metrics).await?))
            }
            shared => Self::beside(shared, key, clock, metrics).await,
        }
    }

    /// What it holds.
    pub fn records(&self) -> &dyn Records {
        match self {
            Self::Embedded(store) => store,
            Self::Postgres(store) => &**store,
        }
    }

    /// Closes it; further calls fail.
    pub async fn close(&self) {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Postgres(store) => store.close().boxed().await,
        }
    }
}

#[async_trait]
impl TicketKeys for Opened {
    async fn ticket_keys(&self) -> Result<FleetKeys, Error> {
        self.records().ticket_keys().await
    }

    async fn add_ticket_key(&self, key: &TicketKey, serial: i64) -> Result<bool, Error> {
        self.records().add_ticket_key(key, serial).await
    }
}
