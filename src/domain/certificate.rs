//! A certificate with its key, as it is obtained, sealed, stored and served.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::clock::UnixTime;
use super::hostname::CertificateName;

/// What kind of key a certificate has.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyType {
    /// ECDSA on P-256 (`p256`).
    #[default]
    P256,
    /// ECDSA on P-384 (`p384`).
    P384,
    /// RSA with 2048 bits (`rsa2048`).
    Rsa2048,
    /// RSA of another size; only of those that somebody brings.
    Rsa,
    /// Ed25519; only of those that somebody brings.
    Ed25519,
}

impl KeyType {
    /// Which clients such a key serves.
    pub fn family(self) -> KeyFamily {
        match self {
            Self::P256 | Self::P384 => KeyFamily::Ecdsa,
            Self::Rsa2048 | Self::Rsa => KeyFamily::Rsa,
            Self::Ed25519 => KeyFamily::Ed25519,
        }
    }
}

/// Key types that the same clients take: a name may have a certificate of each at the same time.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyFamily {
    /// What nearly every client takes.
    Ecdsa,
    /// What all of them take, at a higher price.
    Rsa,
    /// What few of them take.
    Ed25519,
}

impl KeyFamily {
    /// All of them, that which is shown first in the first place.
    pub const ALL: [Self; 3] = [Self::Ecdsa, Self::Rsa, Self::Ed25519];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ecdsa => "ecdsa",
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Where a certificate came from.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Obtained from the authority of this name.
    Authority(String),
    /// Brought by `nameplate import`.
    Imported,
    /// Read from files that the configuration names.
    File,
    /// Brought by the organization of this name, for its hostname.
    Own(String),
}

/// From when to when a certificate is valid; both ends inclusive (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    /// First second.
    pub not_before: UnixTime,
    /// Last second.
    pub not_after: UnixTime,
}

impl Validity {
    /// From when to when both hold.
    pub fn within(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// Whether `now` lies within.
    pub fn holds(&self, now: UnixTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// A private key as DER: PKCS#8, or PKCS#1 or SEC1 where it was imported so.
///
/// It is wiped when dropped, and `Debug` shows no octet of it.
#[derive(Clone, Eq, PartialEq)]
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Takes DER octets as they are.
    pub fn from_der(der: Vec<u8>) -> Self {
        Self(Zeroizing::new(der))
    }

    /// The DER octets.
    pub fn der(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A certificate, its chain and its private key: one atomic record everywhere.
///
/// Invariant, kept by whoever makes one: the key belongs to the first certificate of `chain`,
/// and that certificate covers `name`.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The name it is filed under.
    pub name: CertificateName,
    /// DER, leaf first, each followed by its issuer; the root is left out.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's private key.
    pub key: PrivateKey,
    /// The leaf's key type.
    pub key_type: KeyType,
    /// The leaf's validity.
    pub validity: Validity,
    /// Where it came from.
    pub source: Source,
}
