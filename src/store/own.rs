//! The part of a store that holds certificates which organizations bring for their hostnames.

use std::collections::HashMap;

use async_trait::async_trait;

use super::changes::Changes;
use super::record::chain_octets;
use super::records::{Actor, CertificateFacts};
use super::{Error, Store};
use crate::domain::certificate::{Certificate, KeyFamily};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::revocation::Fingerprint;

/// What came of bringing a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Brought {
    /// It is kept, in the place of one of the same family of keys.
    Kept,
    /// The organization has no such hostname.
    Absent,
    /// Another organization holds the name.
    NotHeld,
    /// It was revoked, and is never served again.
    Revoked,
}

/// Tells one set of certificates of a name from another, as far as their leafs and the lengths of their
/// chains tell; in no order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stamp(u64);

impl Stamp {
    /// Of certificates at hand.
    pub fn of(certificates: &[Certificate]) -> Self {
        let mut stamp = Self::default();
        for certificate in certificates {
            let Some(leaf) = certificate.chain.first() else { continue };
            stamp.add(&Fingerprint::of(leaf).0, chain_octets(&certificate.chain).len() as u64);
        }
        stamp
    }

    /// Takes the certificate of this fingerprint in, whose chain has so many octets where it is stored:
    /// the same leaf may come again with a longer chain.
    pub fn add(&mut self, fingerprint: &[u8], chain: u64) {
        let first = fingerprint.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        self.0 = self.0.wrapping_add(first.rotate_left(1) ^ chain);
    }
}

/// Certificates that organizations bring for their hostnames: of each [`KeyFamily`] one. Those of
/// whoever holds the name are found.
#[async_trait]
pub trait OwnCertificates: Send + Sync + 'static {
    /// The own certificates of this name, whole; none where it has none.
    ///
    /// Fails with [`Error::Record`] where one of them is damaged.
    async fn own_certificates(&self, name: &CertificateName) -> Result<Vec<Certificate>, Error>;

    /// The same without chains and keys.
    async fn own_facts(&self, name: &CertificateName) -> Result<Vec<CertificateFacts>, Error>;

    /// Keeps a certificate under its name for a hostname of this organization.
    async fn bring_own(
        &self,
        organization: &Label,
        certificate: &Certificate,
        actor: Actor<'_>,
    ) -> Result<Brought, Error>;

    /// Takes a hostname's own certificates away, or the one of this family; how many that were.
    async fn remove_own(
        &self,
        organization: &Label,
        name: &CertificateName,
        family: Option<KeyFamily>,
        actor: Actor<'_>,
    ) -> Result<u64, Error>;

    /// Takes those of this name that are damaged out of use and keeps them aside; how many there were.
    async fn quarantine_own(&self, name: &CertificateName, why: &str) -> Result<u64, Error>;

    /// Every name that has own certificates.
    async fn own_names(&self) -> Result<HashMap<CertificateName, Stamp>, Error>;

    /// The number of the last change of own certificates; 0: there has never been one.
    async fn last_own_change(&self) -> Result<i64, Error>;

    /// Up to `limit` changes behind `after`; `None` where some have been forgotten.
    async fn own_changes(&self, after: i64, limit: u32)
    -> Result<Option<Vec<(i64, CertificateName)>>, Error>;

    /// Up to `limit` hostnames whose own certificates end soon, so that another one is to be there at
    /// `now`, and for which there is none; the longest due first.
    async fn due_for_fall_back(&self, now: UnixTime, limit: u32) -> Result<Vec<CertificateName>, Error>;

    /// Makes that due at `until`.
    async fn postpone_fall_back(&self, name: &CertificateName, until: UnixTime) -> Result<(), Error>;
}

/// What certificates are found in: those that were obtained or imported, and own ones.
pub trait AllCertificates: Store + OwnCertificates + Changes {}

impl<T: Store + OwnCertificates + Changes> AllCertificates for T {}
