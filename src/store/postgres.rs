//! The store of a fleet: a database on a PostgreSQL server, for any number of machines at once.
//!
//! What machines must agree on (leases, limits, challenges) is decided by single statements or under row
//! locks, and by the database's time. A call is one round trip wherever that can be.

mod accounts;
mod answers;
mod attempts;
mod certificates;
mod changes;
mod claims;
mod database;
mod deliveries;
mod due;
mod events;
mod facts;
mod fleet;
mod hostnames;
mod leases;
mod ledger;
mod lists;
mod looks;
mod outbox;
mod own;
mod proofs;
mod registry;
mod renewals;
mod reseal;
mod restore;
mod revocations;
mod roots;
mod sealed;
mod store;
pub mod take_in;
mod text;
mod tickets;
mod tries;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use self::changes::Watch;
use self::database::Database;
use super::Error;
use super::seal::SealingKey;
use crate::config::Postgres;
use crate::domain::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// How long a server that answers takes for nothing, at most.
const ANSWER: Duration = Duration::from_secs(2);

/// A [`Store`](super::Store) in a PostgreSQL database.
pub struct PostgresStore {
    database: Database,
    watch: Watch,
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
        let database = Database::open(access, key, clock, metrics).await?;
        let watch = Watch::begin(database.pool.clone(), database.bell.clone());
        Ok(Self { database, watch })
    }

    /// Whether the server answers now.
    pub async fn answers(&self) -> bool {
        self.database.answers(ANSWER).await
    }

    /// Waits for running operations and closes every connection; further calls fail.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// Whether the server cannot be reached, or takes no changes any more: what stands in the way is not of one
/// statement.
pub fn is_unreachable(error: &Error) -> bool {
    let Error::Database { source, .. } = error else { return false };
    match source {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Classes 08 (connection), 53 (resources), 57P0x (shut down, starting); 25006: it became a standby.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08") || code.starts_with("53") || code.starts_with("57P0") || code == "25006"
        }),
        _ => false,
    }
}
