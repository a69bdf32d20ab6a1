//! The store of a fleet: a database on a PostgreSQL server, for any number of machines at once.
//!
//! What machines must agree on (leases, limits, challenges) is decided by single statements or under row
//! locks, and by the database's time. A call is one round trip wherever that can be.

mod changes;
mod database;
mod sealed;
mod stubs_a;
mod stubs_b;

use std::sync::Arc;

use self::database::Database;
use super::Error;
use super::seal::SealingKey;
use crate::config::Postgres;
use crate::domain::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// A [`Store`](super::Store) in a PostgreSQL database.
pub struct PostgresStore {
    database: Database,
}

impl PostgresStore {
    /// Connects to the database, whose schema is brought up to date; machines may do so at the same time.
    /// Takes the same time for any number of certificates.
    ///
    /// Fails with [`super::SealError::OtherKey`] where it is sealed with another key than `key`.
    pub async fn open(
        access: &Postgres,
        key: SealingKey,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        Ok(Self { database: Database::open(access, key, clock, metrics).await? })
    }

    /// Waits for running operations and closes every connection; further calls fail.
    pub async fn close(&self) {
        self.database.close().await;
    }
}
