//! The durable state: traits and their laws. The embedded store and the local tier implement them.
//!
//! Private keys and account keys are sealed before they reach a disk or a database.

pub mod answers;
pub mod changes;
pub mod columns;
pub mod files;
pub mod fleet;
pub mod key_file;
pub mod local;
pub mod mark;
pub mod opened;
pub mod operation;
pub mod own;
pub mod postgres;
pub mod read;
pub mod record;
pub mod records;
pub mod rekey;
pub mod seal;
pub mod sqlite;
pub mod steady;
pub mod ticket_copy;
pub mod tickets;
pub mod told;
pub mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::domain::certificate::{Certificate, KeyType, PrivateKey};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::renewal::Window;
use crate::domain::revocation::Fingerprint;

pub use crate::domain::attempt::{Attempt, SKEW};
pub use crate::domain::challenge::{Challenge, ChallengeKind, WrittenRecord, ZoneLease};
pub use crate::domain::orders::{Bound, Placed, Scope};
pub use crate::domain::revocation::Revocation;

/// How long a lease lasts unless it is renewed.
pub const LEASE_TTL: Duration = Duration::from_secs(30);
/// How often its holder renews it.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(10);

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database did not answer or answered with an error.
    #[error("the store at {place} failed to {operation}")]
    Database {
        /// What was tried, as a verb phrase.
        operation: &'static str,
        /// Path or URL without secrets.
        place: Arc<str>,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the store at {place} could not be migrated to this version's schema")]
    Migration {
        /// Path or URL without secrets.
        place: Arc<str>,
        /// What the driver said.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A file of the store could not be read or written.
    #[error("could not {operation} {path}")]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        path: Arc<str>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another process serves from the embedded store.
    #[error(
        "another process already serves from the store in {place}; stop it first, or give this one a data_dir of its own"
    )]
    InUse {
        /// Its folder.
        place: Arc<str>,
    },
    /// A store that is to take another one in holds something already.
    #[error(
        "the store at {place} holds {table} already; name an empty database, so that nothing of it is written over"
    )]
    NotEmpty {
        /// Path or URL without secrets.
        place: Arc<str>,
        /// What it holds.
        table: &'static str,
    },
    /// Machines do not have the key that everything is to be sealed with.
    #[error(
        "everything cannot be sealed with key {key} yet: {}; {cure}", .machines.join(", "),
        cure = "put that key first into the key file of every machine, the one before it behind it, and reload them"
    )]
    KeyNotEverywhere {
        /// Its short name.
        key: String,
        /// What is in the way, machine by machine.
        machines: Vec<String>,
    },
    /// The store is not open now; it is tried again and again.
    #[error("the store is not open: {why}")]
    Absent {
        /// Why not.
        why: Arc<str>,
    },
    /// The lease is not the newest for its name: another holder may be at work. Nothing was saved.
    #[error("the lease on {name} was lost to a newer one; nothing was saved")]
    StaleLease {
        /// The name that was leased.
        name: CertificateName,
    },
    /// One record is damaged. It alone fails.
    #[error("the stored {what} of {of} is unusable: {why}")]
    Record {
        /// Kind of record: certificate, account, …
        what: &'static str,
        /// Whose it is.
        of: Arc<str>,
        /// What is wrong.
        why: String,
    },
    /// A sealed value cannot be opened.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl Error {
    /// Whether one record is damaged for good, while the store is well. A record that another key
    /// sealed is not: with that key it is good.
    pub fn is_of_the_record(&self) -> bool {
        matches!(self, Self::Record { .. } | Self::Seal(SealError::Damaged { .. }))
    }
}

/// The right to work on one name in the whole fleet, for [`LEASE_TTL`] from its last renewal.
///
/// Holding one does not mean to be the only one at work, as a paused holder may not know that
/// its time is over; that is why each save shows `token` and fails where a newer one exists.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The leased name.
    pub name: CertificateName,
    /// Grows with each lease on this name.
    pub token: i64,
}

/// What became of certificates that were brought.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Imported {
    /// How many were filed.
    pub filed: u64,
    /// Names of those that stayed out, as the store has the same one or one that lasts longer.
    pub kept: Vec<CertificateName>,
    /// Names of those that were revoked.
    pub revoked: Vec<CertificateName>,
}

/// What is known about the renewal of a certificate, beside the certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RenewalState {
    /// When it was filed.
    pub saved_at: UnixTime,
    /// When it is due.
    pub due: UnixTime,
    /// From when on its renewal is late.
    pub late_at: UnixTime,
    /// What the authority suggested last (RFC 9773 §4.2).
    pub window: Option<Window>,
    /// How often in a row a certificate of this name was replaced in the first third of its life.
    pub early: u32,
    /// Why nothing more is ordered for it, where that is so.
    pub parked: Option<String>,
}

/// An ACME account as it is kept: opaque credentials, sealed at rest.
pub type AccountCredentials = Zeroizing<Vec<u8>>;

/// How an authority does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    /// Failures of its own in a row.
    pub failures: u32,
    /// It is not asked before this moment.
    pub closed_until: UnixTime,
    /// Why not, in its own words where it gave some.
    pub reason: String,
}

/// An order whose certificate was asked for and has not been saved.
#[derive(Clone, Debug)]
pub struct UnfinishedOrder {
    /// The authority's name.
    pub authority: String,
    /// Which of our accounts there placed it, counted from 0.
    pub account: u32,
    /// The order's URL (RFC 8555 §7.4).
    pub url: String,
    /// The key that the certificate is for.
    pub key: PrivateKey,
    /// Its type.
    pub key_type: KeyType,
    /// When it was kept.
    pub placed_at: UnixTime,
}

/// The part of a store that remembers authorities and orders.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// How the authority of this name does, where that was ever kept.
    async fn health(&self, authority: &str) -> Result<Option<Health>, Error>;

    /// Keeps how the authority of this name does; a longer pause that it asked for stays.
    async fn save_health(&self, authority: &str, health: &Health) -> Result<(), Error>;

    /// Notes an order for `name` by an account, unless that exceeds one of `bounds`: then nothing is noted.
    /// Without bounds it is always noted.
    ///
    /// - `account`: which of our accounts at the authority, counted from 0. [`Scope::Authority`] counts
    ///   each account's orders; the other scopes count those of all of them.
    async fn place_order(
        &self,
        authority: &str,
        account: u32,
        name: &CertificateName,
        bounds: &[Bound],
    ) -> Result<Placed, Error>;

    /// Keeps an order that is about to be finalized, over an older one of this name.
    async fn keep_order(&self, name: &CertificateName, order: &UnfinishedOrder) -> Result<(), Error>;

    /// The order kept for this name.
    async fn kept_order(&self, name: &CertificateName) -> Result<Option<UnfinishedOrder>, Error>;

    /// Forgets the order kept for this name, if there is one.
    async fn forget_order(&self, name: &CertificateName) -> Result<(), Error>;
}

/// The part of a store that remembers what was revoked.
#[async_trait]
pub trait Revocations: Send + Sync + 'static {
    /// Keeps `revocation`, over an older state of the same certificate.
    async fn save_revocation(&self, revocation: &Revocation) -> Result<(), Error>;

    /// Up to `limit` of those whose authority is to be told at `now`, the longest due first; handed to one
    /// machine for some minutes.
    async fn revocations_to_tell(&self, now: UnixTime, limit: u32) -> Result<Vec<Revocation>, Error>;

    /// How many authorities' answers are waited for.
    async fn revocations_pending(&self) -> Result<u64, Error>;

    /// Certificates that have not ended at `now` and were revoked at `since` or later.
    async fn revoked(
        &self,
        since: UnixTime,
        now: UnixTime,
    ) -> Result<Vec<(Fingerprint, CertificateName, UnixTime)>, Error>;
}

/// What a step of sealing anew came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resealed {
    /// Records sealed anew.
    pub resealed: u64,
    /// Records that no key opens.
    pub unusable: u64,
    /// The last name that was looked at; `None`: there is no further one.
    pub last: Option<String>,
}

/// The part of a store that changes its sealing key.
#[async_trait]
pub trait Sealed: Send + Sync + 'static {
    /// Makes the key that seals now one of the store's keys.
    async fn adopt_key(&self) -> Result<(), Error>;

    /// Seals anew, with the key that seals now, up to `limit` certificates behind the name `after`;
    /// with the first ones (behind an empty name) all else, own certificates too.
    async fn reseal(&self, after: &str, limit: u32) -> Result<Resealed, Error>;

    /// Lets no key be the store's but the one that seals now.
    async fn retire_keys(&self) -> Result<(), Error>;
}

/// The part of a store that answers challenges.
#[async_trait]
pub trait Proofs: Send + Sync + 'static {
    /// Publishes what an authority is to be answered, on every machine. Beside DNS-01, over an older
    /// answer of its key.
    async fn publish_challenge(&self, challenge: &Challenge) -> Result<(), Error>;

    /// The published answer, unless it expired; of several, any.
    async fn challenge(&self, kind: ChallengeKind, key: &str) -> Result<Option<Challenge>, Error>;

    /// All values of TXT records that are published for this owner name.
    async fn dns_answers(&self, owner: &str) -> Result<Vec<String>, Error>;

    /// Takes exactly this answer back; another one of its key stays.
    async fn withdraw_challenge(&self, challenge: &Challenge) -> Result<(), Error>;

    /// Keeps that `record` is about to be written.
    async fn keep_record(&self, record: &WrittenRecord) -> Result<(), Error>;

    /// Forgets it, as it was removed.
    async fn forget_record(&self, record: &WrittenRecord) -> Result<(), Error>;

    /// Up to `limit` records on whose name nobody holds a lease: whoever wrote them is gone. No other
    /// machine is told of them for some minutes.
    async fn abandoned_records(&self, limit: u32) -> Result<Vec<WrittenRecord>, Error>;

    /// Takes the lease on `zone` for `ttl`; `None` while another holder's lives.
    async fn lease_zone(&self, zone: &Hostname, ttl: Duration) -> Result<Option<ZoneLease>, Error>;

    /// Gives `lease` back; nothing happens where it is not the newest.
    async fn release_zone(&self, lease: &ZoneLease) -> Result<(), Error>;
}

/// The durable, shared state of a fleet.
///
/// Laws, kept by every implementation and tested on each:
/// - a saved certificate is found again, whole, by any process that has the sealing key;
/// - at most one live lease a name; a stale lease saves nothing;
/// - an error is never "not there".
#[async_trait]
pub trait Store: Ledger + Proofs + Revocations + Sealed {
    /// The certificate filed under exactly this name.
    async fn certificate(&self, name: &CertificateName) -> Result<Option<Certificate>, Error>;

    /// Whether a certificate is filed under exactly this name; cheaper than to read it. Own ones do not
    /// count.
    async fn has_certificate(&self, name: &CertificateName) -> Result<bool, Error>;

    /// Up to `limit` names that have a certificate, own ones too, in order, beginning after `after`.
    async fn names_after(
        &self,
        after: Option<&CertificateName>,
        limit: u32,
    ) -> Result<Vec<CertificateName>, Error>;

    /// Up to `limit` names whose certificate is due at `now` to be renewed, in the order of
    /// [`Due::place`](crate::domain::budget::Due::place); parked ones count as not late. They are the
    /// caller's: for `hold`, by the store's clock, nobody else is handed them, unless it gives them up, puts
    /// them off, parks them or saves a certificate. That keeps machines out of each other's way; only a
    /// lease keeps them from ordering the same name.
    async fn claim_due(
        &self,
        now: UnixTime,
        limit: u32,
        hold: Duration,
    ) -> Result<Vec<CertificateName>, Error>;

    /// Gives names up that were claimed: they are due as before, for anybody.
    async fn give_up_claims(&self, names: &[CertificateName]) -> Result<(), Error>;

    /// How many certificates are due at `now` to be renewed and nobody's, counted up to `most`.
    async fn count_due(&self, now: UnixTime, most: u32) -> Result<u64, Error>;

    /// Makes the certificate of `name` due at `until`, and nobody's; nothing happens where there is none.
    async fn postpone_renewal(&self, name: &CertificateName, until: UnixTime) -> Result<(), Error>;

    /// What is known about the renewal of the certificate of `name`.
    async fn renewal_state(&self, name: &CertificateName) -> Result<Option<RenewalState>, Error>;

    /// Stops the renewal of `name` for `reason`, until it is looked at again at `again`. It is nobody's
    /// then. To save a certificate for the name ends that.
    async fn park_renewal(&self, name: &CertificateName, reason: &str, again: UnixTime) -> Result<(), Error>;

    /// Up to `limit` names about whose certificate the authority is to be asked for renewal
    /// information (RFC 9773), the longest due first; handed to one machine for some minutes.
    async fn due_for_asking(&self, now: UnixTime, limit: u32) -> Result<Vec<CertificateName>, Error>;

    /// Keeps what the authority suggested for the certificate of `name`, and when to ask again.
    ///
    /// - `due`: when it is to be renewed from now on; `None`: as before
    async fn note_window(
        &self,
        name: &CertificateName,
        window: Option<Window>,
        ask: UnixTime,
        due: Option<UnixTime>,
    ) -> Result<(), Error>;

    /// How many certificates are late to be renewed at `now`, and the name of the one that has been
    /// for longest; parked ones are none of them.
    async fn late(&self, now: UnixTime) -> Result<(u64, Option<CertificateName>), Error>;

    /// How many names are parked.
    async fn parked(&self) -> Result<u64, Error>;

    /// How many certificates end after `begin` and not after `end`.
    async fn ending_between(&self, begin: UnixTime, end: UnixTime) -> Result<u64, Error>;

    /// Files `certificate` under its name in one step, over an older one. An unfinished order of the
    /// name is forgotten with it.
    ///
    /// Fails with [`Error::StaleLease`] unless `lease` carries the newest token of that name.
    async fn save(&self, lease: &Lease, certificate: &Certificate) -> Result<(), Error>;

    /// Files certificates that an operator brings, all or none; needs no lease. A stored one
    /// that is valid for longer stays, so that an import done twice brings nothing old back, and
    /// so does the same one; one that was revoked is left out.
    async fn import(&self, certificates: &[Certificate]) -> Result<Imported, Error>;

    /// Takes the certificate of this name out of use, as it is damaged, and keeps it aside as it is;
    /// whether there was one.
    async fn quarantine(&self, name: &CertificateName, why: &str) -> Result<bool, Error>;

    /// Lets the certificate of this name be neither found nor renewed; it stays.
    async fn withhold(&self, name: &CertificateName) -> Result<(), Error>;

    /// Lets a certificate that was withheld be found again; whether there was one that is still valid.
    async fn bring_back(&self, name: &CertificateName) -> Result<bool, Error>;

    /// Removes the certificate of this name; whether there was one.
    async fn remove(&self, name: &CertificateName) -> Result<bool, Error>;

    /// Takes the lease on `name` for `ttl`; `None` while another holder's lives.
    async fn lease(&self, name: &CertificateName, ttl: Duration) -> Result<Option<Lease>, Error>;

    /// Prolongs `lease` to `ttl` from now; [`Error::StaleLease`] where it is not the newest.
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<(), Error>;

    /// Gives `lease` back; nothing happens where it is not the newest.
    async fn release(&self, lease: &Lease) -> Result<(), Error>;

    /// Keeps how the last attempt for `name` ended.
    async fn record_attempt(&self, name: &CertificateName, attempt: &Attempt) -> Result<(), Error>;

    /// How the last attempt for `name` ended.
    async fn attempt(&self, name: &CertificateName) -> Result<Option<Attempt>, Error>;

    /// Lets the next attempt for `name` be at `next`.
    async fn allow_attempt(&self, name: &CertificateName, next: UnixTime) -> Result<(), Error>;

    /// The account kept for `key` (an authority's directory URL and contact).
    async fn account(&self, key: &str) -> Result<Option<AccountCredentials>, Error>;

    /// Keeps an account; the first one kept wins, and is returned.
    async fn save_account(
        &self,
        key: &str,
        credentials: &AccountCredentials,
    ) -> Result<AccountCredentials, Error>;
}

/// Why a sealed value cannot be opened, or the sealing key not be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It was sealed with another key.
    #[error(
        "{what} was sealed with key {sealed_with}, but the configured key is {configured}; set store.key_file to the key it was sealed with"
    )]
    OtherKey {
        /// Whose value it is.
        what: Arc<str>,
        /// Identifier of the key it was sealed with.
        sealed_with: String,
        /// Identifier of the key at hand.
        configured: String,
    },
    /// The octets were changed, cut short, or belong to another record.
    #[error("{what} is damaged: its seal does not hold")]
    Damaged {
        /// Whose value it is.
        what: Arc<str>,
    },
    /// The key file does not hold 32 octets in base64.
    #[error(
        "{path} holds no sealing key: 32 octets in base64 are wanted, as `openssl rand -base64 32` prints them; during a change of keys those of before behind it"
    )]
    KeyFile {
        /// The file.
        path: Arc<str>,
    },
    /// Others may read the key file.
    #[error("{path} can be read by others (mode {mode:03o}); run: chmod 600 {path}")]
    KeyFileReadable {
        /// The file.
        path: Arc<str>,
        /// Its permission bits.
        mode: u32,
    },
}
