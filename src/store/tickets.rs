//! Keys of session tickets that the fleet shares, so that a session of one machine is resumed by another.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use super::seal::{Record, SealingKey, hexadecimal};
use crate::domain::ticket::{KeyName, TicketKey};
use crate::telemetry::seldom::Seldom;

/// The keys that are kept.
#[derive(Clone, Debug, Default)]
pub struct FleetKeys {
    /// Those that have not ended.
    pub keys: Vec<TicketKey>,
    /// Number of the key that was added last; 0: none ever was.
    pub serial: i64,
}

/// The part of a store that holds the fleet's keys of session tickets, sealed.
///
/// Laws, kept by every implementation:
/// - of all that are added with one serial exactly one is kept;
/// - a key that is damaged, or that another sealing key sealed, is left out; it alone.
#[async_trait]
pub trait TicketKeys: Send + Sync + 'static {
    /// Those that have not ended.
    async fn ticket_keys(&self) -> Result<FleetKeys, Error>;

    /// Adds `key`, unless another one was added since `serial`; whether it was. Ended ones are forgotten
    /// with that, and where `key` stands alone all others.
    async fn add_ticket_key(&self, key: &TicketKey, serial: i64) -> Result<bool, Error>;
}

/// What a key is filed under: its name in hexadecimal.
pub(super) fn filed_as(name: &KeyName) -> String {
    hexadecimal(name)
}

/// The record a key is sealed for.
///
/// - `name`: as [`filed_as`] gives it
pub(super) fn sealed_as(name: &str) -> Record<'_> {
    Record { kind: "session ticket key", of: name, beside: b"" }
}

/// Those of the rows, by name and sealed value, that open.
pub(super) fn opened(key: &SealingKey, rows: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<TicketKey> {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(600));
    let rows = rows.into_iter().map(|(name, sealed)| open(key, &name, &sealed));
    let told = rows.filter_map(|opened| {
        opened
            .inspect_err(|error| {
                if COMPLAINTS.permit().is_some() {
                    tracing::warn!(%error, "a key of session tickets cannot be read; it is left out");
                }
            })
            .ok()
    });
    told.collect()
}

/// Opens a key that is filed as `name`.
fn open(key: &SealingKey, name: &str, sealed: &[u8]) -> Result<TicketKey, Error> {
    let opened = key.open(sealed_as(name), sealed)?;
    TicketKey::read(&opened).ok_or_else(|| Error::Record {
        what: "session ticket key",
        of: name.into(),
        why: "it is not in the form of one".to_owned(),
    })
}
