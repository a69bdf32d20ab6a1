//! Which database the store is in.

use std::time::Duration;

use super::secret::Secret;

/// What keeps the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Engine {
    /// SQLite, in this machine's data folder.
    Embedded,
    /// A PostgreSQL server, which machines of a fleet share.
    Postgres(Postgres),
}

/// How a PostgreSQL database is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Postgres {
    /// Its URL, with password and parameters.
    pub url: Secret,
    /// The same without password and parameters, for messages.
    pub place: String,
    /// Connections at most.
    pub connections: u32,
    /// How long a statement may take, and to connect.
    pub timeout: Duration,
}
