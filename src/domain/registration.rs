//! A customer's hostname as data: where it belongs, how it stands, what was set for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::clock::UnixTime;
use super::hostname::{CertificateName, Hostname};
use super::label::Label;
use super::site::Origin;

/// Longest metadata, in octets of its JSON text.
pub const MAX_METADATA: usize = 4096;

/// Where a hostname stands, in one word.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is wrong: its DNS is still to be set, or its certificate is under way.
    Waiting,
    /// It has a valid certificate.
    Serving,
    /// Somebody has to change something; the reason says what.
    Stuck,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Serving, Self::Stuck];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Serving => "serving",
            Self::Stuck => "stuck",
        }
    }

    /// The state of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// How a hostname came here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// By a call of the API.
    Api,
    /// By a handshake, or by an import: nobody registered it.
    OnDemand,
}

impl Via {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::OnDemand => "on_demand",
        }
    }

    /// The way of this word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Api, Self::OnDemand].into_iter().find(|via| via.word() == word)
    }
}

/// What shows that a hostname is an organization's, the weakest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Its DNS leads to this edge, as anybody's here does.
    Dns,
    /// Its DNS leads to its own preview hostname, or its TXT record stands: nobody else's would.
    Own,
}

impl Proof {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Own => "own",
        }
    }

    /// The proof of this word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Dns, Self::Own].into_iter().find(|proof| proof.word() == word)
    }
}

/// Which organization's a hostname is. Stays when the hostname is deleted, so that DNS that still
/// leads here lets nobody else have it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// Whose it is.
    pub organization: Label,
    /// What showed it.
    pub proof: Proof,
    /// Since when.
    pub since: UnixTime,
}

/// Where a hostname's visitors are sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// The other hostname; path and query are kept.
    pub to: Hostname,
    /// 301 or 308.
    pub status: u16,
}

/// What was set for one hostname, over its site's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// Its own origin.
    pub origin: Option<Origin>,
    /// Sends its visitors elsewhere; no origin is asked then.
    pub redirect: Option<Redirect>,
    /// A JSON object of at most [`MAX_METADATA`] octets, as text.
    pub metadata: Option<Arc<str>>,
}

/// A hostname of an organization.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registration {
    /// Unique in the store.
    pub id: i64,
    /// A hostname, or a wildcard.
    pub name: CertificateName,
    /// Whose it is, or is said to be.
    pub organization: Label,
    /// The site whose pages it shows.
    pub site: Label,
    /// How it came here.
    pub via: Via,
    /// Whether requests for the name go to this one; of all that have the name, one at most.
    pub holder: bool,
    /// The first label of its preview hostname; the same for this organization and name for ever.
    pub preview: String,
    /// The value of its TXT record; the same for this organization and name for ever.
    pub proof: String,
    /// What was set for it.
    pub settings: Settings,
    /// Where it stands.
    pub standing: Standing,
    /// Which look is its next one.
    pub turn: Turn,
    /// Grows with each change of the settings.
    pub version: i64,
    /// When it came here.
    pub created_at: UnixTime,
    /// When its settings were changed.
    pub updated_at: UnixTime,
}

/// Which look at a hostname is the next one: a look that began from another turn than the hostname's is told
/// by that.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Turn {
    /// Looks asked for, ever: where one was asked for during a look, that stays due.
    pub asked: i64,
    /// Looks kept, ever: where one was kept during a look, what the other found is older.
    pub kept: i64,
}

/// Where a hostname stands, as the last look at it found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// In one word.
    pub state: State,
    /// In a sentence, with what to do.
    pub reason: String,
    /// What DNS said, as JSON; `None`: it has not been looked at.
    pub diagnosis: Option<String>,
    /// Looks in a row that found the same.
    pub looks: u32,
    /// When it was looked at.
    pub looked_at: Option<UnixTime>,
    /// When it is looked at again.
    pub look_at: UnixTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written_in_json_too() {
        for state in State::ALL {
            assert_eq!(State::of(state.word()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        }
        assert_eq!(Via::of("on_demand").map(Via::word), Some("on_demand"));
        assert_eq!(Proof::of("own").map(Proof::word), Some("own"));
        assert!(Proof::Dns < Proof::Own);
    }
}
