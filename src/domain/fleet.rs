//! The machines that share a store.

use super::clock::UnixTime;

/// What a machine says of itself.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Machine {
    /// Drawn once for its data folder.
    pub id: String,
    /// Its host name.
    pub name: String,
    /// The version that runs.
    pub version: String,
    /// When its process began, by its own clock.
    pub started_at: UnixTime,
    /// Its own clock's moment.
    pub clock: UnixTime,
    /// The sealing keys that it opens, by their short names; the first one seals.
    pub keys: Vec<String>,
    /// The last change that it has looked at.
    pub seen_change: i64,
    /// Certificates that are ready in its memory.
    pub hot: u64,
    /// Hostnames that it knows.
    pub hostnames: u64,
    /// Whether it takes no new connections, as it stops.
    pub leaving: bool,
}
