//! What authorities are answered: published answers, and TXT records at somebody's name servers.

use super::clock::UnixTime;
use super::hostname::{CertificateName, Hostname};

/// Which challenge an answer belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ChallengeKind {
    /// HTTP-01 (RFC 8555 §8.3): the key is the token, the answer the key authorization.
    Http01,
    /// TLS-ALPN-01 (RFC 8737): the key is the hostname, the answer the key authorization.
    TlsAlpn01,
    /// DNS-01 (RFC 8555 §8.4) in the zone that we answer for ourselves: the key is the owner name,
    /// lower-case and without a trailing dot, the answer the value of a TXT record. A key may have
    /// several answers.
    Dns01,
}

impl ChallengeKind {
    /// The registered name of the challenge type (RFC 8555 §9.7.8, RFC 8737 §6.3).
    pub fn word(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }

    /// The kind of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Http01, Self::TlsAlpn01, Self::Dns01].into_iter().find(|kind| kind.word() == word)
    }
}

/// What an authority is to be answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge {
    /// Its kind.
    pub kind: ChallengeKind,
    /// Token, hostname or owner name, as [`ChallengeKind`] says.
    pub key: String,
    /// The key authorization (RFC 8555 §8.1), or what a TXT record is made of it.
    pub answer: String,
    /// After this moment it counts as absent.
    pub expires: UnixTime,
}

/// A TXT record that was written, or is about to be, at somebody's name servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrittenRecord {
    /// The certificate it is for. Without a lease on this name nobody needs the record any more.
    pub name: CertificateName,
    /// The zone of the configuration by whose access it was written.
    pub zone: String,
    /// Where it stands, without a trailing dot.
    pub owner: String,
    /// Its value.
    pub value: String,
}

/// The right to change the records of one zone in the whole fleet.
#[derive(Clone, Debug)]
pub struct ZoneLease {
    /// The zone of the configuration.
    pub zone: Hostname,
    /// Grows with each lease on this zone.
    pub token: i64,
}

impl ZoneLease {
    /// What the lease on `zone` is kept as beside those on names, none of which has a blank.
    pub fn key(zone: &Hostname) -> String {
        format!("zone {zone}")
    }
}
