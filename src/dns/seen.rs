//! All that was seen of a hostname, before anything is said about it.

use super::diagnosis::{Leads, RecordStatus};
use super::place::{Place, Sighting};
use super::resolver::{Alias, Answer, Unanswered};
use super::{LookupFailed, Misled};
use crate::domain::hostname::CertificateName;

/// What a look came to.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whose DNS was looked at.
    pub name: CertificateName,
    /// Where it should lead.
    pub place: Place,
    /// Where it leads.
    pub sighting: Sighting,
    /// Whether its answers validate by DNSSEC, as far as the resolver looks.
    pub validates: bool,
    /// Seconds that resolvers keep an old answer, where the zone's own servers have a right one.
    pub old_for: Option<u32>,
    /// The proof of whose it is, where one is wanted.
    pub ownership: Option<Ownership>,
    /// The way to its answers of dns-01, where one is wanted.
    pub delegation: Option<Delegation>,
    /// What CAA records forbid.
    pub caa: Result<Option<Misled>, LookupFailed>,
    /// The same name with `www.`, or without it, where that one does not lead here.
    pub twin: Option<String>,
}

/// The TXT record that proves whose a hostname is.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// Its name.
    pub name: String,
    /// Its value.
    pub wanted: String,
    /// What stands there.
    pub found: Result<Answer, Unanswered>,
    /// As [`Seen::old_for`].
    pub old_for: Option<u32>,
}

/// The CNAME record of `_acme-challenge` that leads to where the answers of dns-01 stand.
#[derive(Clone, Debug)]
pub struct Delegation {
    /// Its name.
    pub name: String,
    /// What it leads to.
    pub wanted: String,
    /// The aliases that stand there, as far as they are followed.
    pub found: Result<Vec<Alias>, Unanswered>,
}

impl Seen {
    /// Whether it is the apex of somebody's domain, where no CNAME record can stand.
    pub fn is_apex(&self) -> bool {
        self.name.hostname().is_some_and(|name| name.registrable_domain() == name.as_str())
    }

    /// Where it leads. Authorities validate answers: one that does not leads nowhere.
    pub fn leads(&self) -> Leads {
        if self.validates { self.place.leads(&self.sighting) } else { Leads::Elsewhere }
    }
}

impl Delegation {
    /// Whether it is there, or other aliases lead to the same place: authorities follow them all.
    pub fn status(&self) -> RecordStatus {
        match self.found.as_deref() {
            Err(_) => RecordStatus::Unknown,
            Ok([]) => RecordStatus::Missing,
            Ok([.., last]) if last.target == self.wanted => RecordStatus::Right,
            Ok(_) => RecordStatus::Wrong,
        }
    }
}

impl Ownership {
    /// Whether it is there. Others may stand beside it.
    pub fn status(&self) -> RecordStatus {
        match &self.found {
            Err(_) => RecordStatus::Unknown,
            Ok(found) if found.texts.iter().any(|(text, _)| *text == self.wanted) => RecordStatus::Right,
            Ok(found) if found.texts.is_empty() => RecordStatus::Missing,
            Ok(_) => RecordStatus::Wrong,
        }
    }

    /// Seconds until another answer may be had.
    pub fn lasts(&self) -> Option<u32> {
        let found = self.found.as_ref().ok()?;
        found.texts.iter().map(|&(_, ttl)| ttl).max().or(found.absent_for)
    }
}
