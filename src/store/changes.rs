//! The part of a store by which machines learn what others did: a sequence of changes that outlives
//! whoever was away, and a word as soon as it grows.

use std::time::Duration;

use async_trait::async_trait;

use super::{ChallengeKind, Error};
use crate::domain::hostname::CertificateName;

/// How long a change may wait to be looked at, where no word came of it.
pub const LOOK: Duration = Duration::from_millis(500);

/// What another machine, or a command, has changed. It says where to look, not what is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// The certificate that was obtained or imported for this name.
    Certificate(CertificateName),
    /// What an authority is to be answered, under this key.
    Challenge(ChallengeKind, String),
    /// How the authority of this name does.
    Authority(String),
    /// A certificate was revoked.
    Revocation,
    /// The keys of session tickets.
    TicketKeys,
}

/// What there is behind a change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// These, in their order, each with its number.
    Next(Vec<(i64, Change)>),
    /// More than are kept.
    Forgotten,
    /// Nobody can say: the store is another one than the change is of, or was restored from a backup.
    Elsewhere,
}

/// The sequence of changes.
#[async_trait]
pub trait Changes: Send + Sync + 'static {
    /// The number of the last [`Change`]; 0: there has never been one.
    async fn last_news(&self) -> Result<i64, Error>;

    /// Up to `limit` changes behind `after`, each after whatever it tells of is in the store.
    async fn news_after(&self, after: i64, limit: u32) -> Result<News, Error>;

    /// Waits until there may be changes of any kind that were not there at the return before, whose
    /// value `seen` is; 0: at first. Never longer than [`LOOK`] where nobody brings word.
    async fn stirred(&self, seen: i64) -> i64;
}

/// A change as it is stored: its kind and what it is about; `None` where this version knows no such.
pub(super) fn read(kind: &str, name: &str) -> Option<Change> {
    match kind {
        "certificate" => name.parse().ok().map(Change::Certificate),
        "challenge" => {
            let (word, key) = name.split_once(' ')?;
            Some(Change::Challenge(ChallengeKind::of_word(word)?, key.to_owned()))
        }
        "authority" => Some(Change::Authority(name.to_owned())),
        "revocation" => Some(Change::Revocation),
        "ticket_keys" => Some(Change::TicketKeys),
        _ => None,
    }
}

/// The kinds that [`read`] knows.
pub(super) const KINDS: [&str; 5] = ["certificate", "challenge", "authority", "revocation", "ticket_keys"];
