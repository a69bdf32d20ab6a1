//! Why a certificate is revoked, and which one.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::clock::UnixTime;
use super::hostname::CertificateName;

/// A reason that the owner of a name may give (RFC 5280 §5.3.1); the other ones are an authority's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// None in particular.
    Unspecified,
    /// Somebody else has, or may have, the private key.
    KeyCompromise,
    /// The organization has changed its name.
    AffiliationChanged,
    /// Another certificate takes its place.
    Superseded,
    /// The name is no longer used.
    CessationOfOperation,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// Its number (RFC 5280 §5.3.1).
    pub fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    /// Its name (RFC 5280 §5.3.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// SHA-256 of a certificate's DER, by which it is told from all others.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        let mut octets = [0; 32];
        octets.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(octets)
    }
}
/// A certificate that must not be served again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revocation {
    /// What it was filed under.
    pub name: CertificateName,
    /// The certificate in DER, without its chain.
    pub leaf: Vec<u8>,
    /// The authority that gave it, which is to be told; `None`: nobody can be.
    pub authority: Option<String>,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub asked_at: UnixTime,
    /// The certificate's end.
    pub not_after: UnixTime,
    /// When the authority is to be told; `None`: it has been.
    pub next: Option<UnixTime>,
    /// How often that failed.
    pub failures: u32,
    /// What came of the last try.
    pub report: String,
}
