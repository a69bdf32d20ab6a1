//! The embedded store: one SQLite file in `data_dir`, for one serving process.

mod accounts;
mod answers;
mod attempts;
mod certificates;
mod database;
mod deliveries;
mod due;
mod events;
mod facts;
mod fleet;
mod hostnames;
mod leases;
mod ledger;
mod lists;
mod looks;
mod news;
mod outbox;
mod own;
mod proofs;
mod registry;
mod renewals;
mod restore;
mod revocations;
mod sealed;
mod tickets;
mod webhooks;

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::database::{Database, Operation, lock_file};
use super::files::{failed, make_folder, shown};
use super::seal::SealingKey;
use super::{
    AccountCredentials, Attempt, Bound, Challenge, ChallengeKind, Error, Health, Imported, Lease, Ledger,
    Placed, Proofs, RenewalState, Resealed, Revocation, Revocations, Sealed, Store, UnfinishedOrder,
    WrittenRecord, ZoneLease,
};
use crate::domain::certificate::Certificate;
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::renewal::Window;
use crate::domain::revocation::Fingerprint;
use crate::telemetry::metrics::Metrics;

/// The database's name in `data_dir`.
pub const DATABASE_FILE: &str = "store.sqlite";
/// The lock's name in `data_dir`. The process that serves holds it (flock), so it ends with it.
pub const LOCK_FILE: &str = "store.lock";

/// A [`Store`] in a SQLite file.
///
/// Certificates and accounts are on the disk before a call returns. Time is the handed-in clock's.
pub struct SqliteStore {
    database: Database,
    /// Held while it lives; `None` beside a serving process.
    lock: Option<File>,
}

impl SqliteStore {
    /// Opens the store in the folder `data_dir` as the process that serves. What is missing is
    /// made. Leases and claims of a process before this one are void. Takes the same time for any number
    /// of certificates.
    ///
    /// Fails with [`Error::InUse`] while another process serves from it, and with
    /// [`super::SealError::OtherKey`] where it is sealed with another key than `key`.
    pub async fn open(
        data_dir: &Path,
        key: SealingKey,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        make_folder(data_dir)?;
        let lock = take_lock(data_dir)?;
        let database = Database::open(&data_dir.join(DATABASE_FILE), key, clock, metrics).await?;
        let operation = Operation { label: "open", doing: "void the leases of the last process" };
        database.timed(operation, leases::void_all(&database)).await?;
        let operation = Operation { label: "open", doing: "give up the renewals of the last process" };
        database.timed(operation, due::give_up_all(&database)).await?;
        Ok(Self { database, lock: Some(lock) })
    }

    /// Opens the store as the process that follows the one whose `lock` it was given, and that
    /// still works with it: its leases stay.
    ///
    /// Fails as [`SqliteStore::open`] does, except [`Error::InUse`].
    pub async fn follow(
        data_dir: &Path,
        key: SealingKey,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        lock: File,
    ) -> Result<Self, Error> {
        let database = Database::open(&data_dir.join(DATABASE_FILE), key, clock, metrics).await?;
        Ok(Self { database, lock: Some(lock) })
    }

    /// Its lock once more, for the process that follows this one; `None` where it has none.
    pub fn lock(&self) -> io::Result<Option<File>> {
        self.lock.as_ref().map(File::try_clone).transpose()
    }

    /// Opens the store for a command, whether a process serves from it or not; leases stay.
    /// A serving process finds what the command files at its next look into the store.
    ///
    /// Fails as [`SqliteStore::open`] does, except [`Error::InUse`].
    pub async fn open_beside(
        data_dir: &Path,
        key: SealingKey,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        make_folder(data_dir)?;
        let database = Database::open(&data_dir.join(DATABASE_FILE), key, clock, metrics).await?;
        Ok(Self { database, lock: None })
    }

    /// Waits for running operations and closes the file; further calls fail.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

fn take_lock(data_dir: &Path) -> Result<File, Error> {
    let path = data_dir.join(LOCK_FILE);
    let lock = lock_file(&path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { place: shown(data_dir) }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path, source)),
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn certificate(&self, name: &CertificateName) -> Result<Option<Certificate>, Error> {
        let operation = Operation { label: "certificate", doing: "look a certificate up" };
        self.database.timed(operation, certificates::find(&self.database, name)).await
    }

    async fn has_certificate(&self, name: &CertificateName) -> Result<bool, Error> {
        let operation = Operation { label: "has_certificate", doing: "look for a certificate" };
        self.database.timed(operation, certificates::exists(&self.database, name)).await
    }

    async fn names_after(
        &self,
        after: Option<&CertificateName>,
        limit: u32,
    ) -> Result<Vec<CertificateName>, Error> {
        let operation = Operation { label: "names_after", doing: "list the certificates' names" };
        self.database.timed(operation, certificates::names_after(&self.database, after, limit)).await
    }

    async fn claim_due(
        &self,
        now: UnixTime,
        limit: u32,
        hold: Duration,
    ) -> Result<Vec<CertificateName>, Error> {
        let operation = Operation { label: "claim_due", doing: "hand out what is due for renewal" };
        self.database.timed(operation, due::claim(&self.database, now, limit, hold)).await
    }

    async fn give_up_claims(&self, names: &[CertificateName]) -> Result<(), Error> {
        let operation = Operation { label: "give_up_claims", doing: "give renewals up" };
        self.database.timed(operation, due::give_up(&self.database, names)).await
    }

    async fn count_due(&self, now: UnixTime, most: u32) -> Result<u64, Error> {
        let operation = Operation { label: "count_due", doing: "count what is due for renewal" };
        self.database.timed(operation, due::count(&self.database, now, most)).await
    }

    async fn postpone_renewal(&self, name: &CertificateName, until: UnixTime) -> Result<(), Error> {
        let operation = Operation { label: "postpone_renewal", doing: "put a renewal off" };
        self.database.timed(operation, renewals::postpone(&self.database, name, until)).await
    }

    async fn renewal_state(&self, name: &CertificateName) -> Result<Option<RenewalState>, Error> {
        let operation = Operation { label: "renewal_state", doing: "look the state of a renewal up" };
        self.database.timed(operation, renewals::state(&self.database, name)).await
    }

    async fn park_renewal(&self, name: &CertificateName, reason: &str, again: UnixTime) -> Result<(), Error> {
        let operation = Operation { label: "park_renewal", doing: "park a name" };
        self.database.timed(operation, renewals::park(&self.database, name, reason, again)).await
    }

    async fn due_for_asking(&self, now: UnixTime, limit: u32) -> Result<Vec<CertificateName>, Error> {
        let operation = Operation { label: "due_for_asking", doing: "list whose renewal to ask about" };
        self.database.timed(operation, renewals::due_for_asking(&self.database, now, limit)).await
    }

    async fn note_window(
        &self,
        name: &CertificateName,
        window: Option<Window>,
        ask: UnixTime,
        due: Option<UnixTime>,
    ) -> Result<(), Error> {
        let operation = Operation { label: "note_window", doing: "keep a suggestion to renew" };
        self.database.timed(operation, renewals::note_window(&self.database, name, window, ask, due)).await
    }

    async fn late(&self, now: UnixTime) -> Result<(u64, Option<CertificateName>), Error> {
        let operation = Operation { label: "late", doing: "count the late renewals" };
        self.database.timed(operation, renewals::late(&self.database, now)).await
    }

    async fn parked(&self) -> Result<u64, Error> {
        let operation = Operation { label: "parked", doing: "count the parked names" };
        self.database.timed(operation, renewals::parked(&self.database)).await
    }

    async fn ending_between(&self, begin: UnixTime, end: UnixTime) -> Result<u64, Error> {
        let operation = Operation { label: "ending_between", doing: "count certificates near their end" };
        self.database.timed(operation, renewals::ending_between(&self.database, begin, end)).await
    }

    async fn save(&self, lease: &Lease, certificate: &Certificate) -> Result<(), Error> {
        let operation = Operation { label: "save", doing: "save a certificate" };
        self.database.timed(operation, certificates::save(&self.database, lease, certificate)).await
    }

    async fn import(&self, certificates: &[Certificate]) -> Result<Imported, Error> {
        let operation = Operation { label: "import", doing: "import certificates" };
        self.database.timed(operation, certificates::import(&self.database, certificates)).await
    }

    async fn quarantine(&self, name: &CertificateName, why: &str) -> Result<bool, Error> {
        let operation = Operation { label: "quarantine", doing: "keep a damaged certificate aside" };
        self.database.timed(operation, certificates::quarantine(&self.database, name, why)).await
    }

    async fn withhold(&self, name: &CertificateName) -> Result<(), Error> {
        let operation = Operation { label: "withhold", doing: "withhold a certificate" };
        self.database.timed(operation, certificates::withhold(&self.database, name)).await
    }

    async fn bring_back(&self, name: &CertificateName) -> Result<bool, Error> {
        let operation = Operation { label: "bring_back", doing: "bring a withheld certificate back" };
        self.database.timed(operation, certificates::bring_back(&self.database, name)).await
    }

    async fn remove(&self, name: &CertificateName) -> Result<bool, Error> {
        let operation = Operation { label: "remove", doing: "remove a certificate" };
        self.database.timed(operation, certificates::remove(&self.database, name)).await
    }

    async fn lease(&self, name: &CertificateName, ttl: Duration) -> Result<Option<Lease>, Error> {
        let operation = Operation { label: "lease", doing: "take a lease" };
        let token = self.database.timed(operation, leases::take(&self.database, name.as_str(), ttl)).await?;
        Ok(token.map(|token| Lease { name: name.clone(), token }))
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<(), Error> {
        let operation = Operation { label: "renew_lease", doing: "renew a lease" };
        self.database.timed(operation, leases::renew(&self.database, lease, ttl)).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), Error> {
        let operation = Operation { label: "release", doing: "give a lease back" };
        let released = leases::release(&self.database, lease.name.as_str(), lease.token);
        self.database.timed(operation, released).await
    }

    async fn record_attempt(&self, name: &CertificateName, attempt: &Attempt) -> Result<(), Error> {
        let operation = Operation { label: "record_attempt", doing: "keep how an attempt ended" };
        self.database.timed(operation, attempts::record(&self.database, name, attempt)).await
    }

    async fn attempt(&self, name: &CertificateName) -> Result<Option<Attempt>, Error> {
        let operation = Operation { label: "attempt", doing: "look the last attempt up" };
        self.database.timed(operation, attempts::find(&self.database, name)).await
    }

    async fn allow_attempt(&self, name: &CertificateName, next: UnixTime) -> Result<(), Error> {
        let operation = Operation { label: "allow_attempt", doing: "let an attempt come before its time" };
        self.database.timed(operation, attempts::allow(&self.database, name, next)).await
    }

    async fn account(&self, key: &str) -> Result<Option<AccountCredentials>, Error> {
        let operation = Operation { label: "account", doing: "look an account up" };
        self.database.timed(operation, accounts::find(&self.database, key)).await
    }

    async fn save_account(
        &self,
        key: &str,
        credentials: &AccountCredentials,
    ) -> Result<AccountCredentials, Error> {
        let operation = Operation { label: "save_account", doing: "keep an account" };
        self.database.timed(operation, accounts::save(&self.database, key, credentials)).await
    }
}

#[async_trait]
impl Proofs for SqliteStore {
    async fn publish_challenge(&self, challenge: &Challenge) -> Result<(), Error> {
        let operation = Operation { label: "publish_challenge", doing: "publish a challenge's answer" };
        self.database.timed(operation, proofs::publish(&self.database, challenge)).await
    }

    async fn challenge(&self, kind: ChallengeKind, key: &str) -> Result<Option<Challenge>, Error> {
        let operation = Operation { label: "challenge", doing: "look a challenge's answer up" };
        self.database.timed(operation, proofs::find(&self.database, kind, key)).await
    }

    async fn dns_answers(&self, owner: &str) -> Result<Vec<String>, Error> {
        let operation = Operation { label: "dns_answers", doing: "look the answers of dns-01 up" };
        self.database.timed(operation, proofs::dns_answers(&self.database, owner)).await
    }

    async fn withdraw_challenge(&self, challenge: &Challenge) -> Result<(), Error> {
        let operation = Operation { label: "withdraw_challenge", doing: "withdraw a challenge's answer" };
        self.database.timed(operation, proofs::withdraw(&self.database, challenge)).await
    }

    async fn keep_record(&self, record: &WrittenRecord) -> Result<(), Error> {
        let operation = Operation { label: "keep_record", doing: "keep that a TXT record is written" };
        self.database.timed(operation, proofs::keep(&self.database, record)).await
    }

    async fn forget_record(&self, record: &WrittenRecord) -> Result<(), Error> {
        let operation = Operation { label: "forget_record", doing: "forget a TXT record that was removed" };
        self.database.timed(operation, proofs::forget(&self.database, record)).await
    }

    async fn abandoned_records(&self, limit: u32) -> Result<Vec<WrittenRecord>, Error> {
        let operation = Operation { label: "abandoned_records", doing: "list TXT records left behind" };
        self.database.timed(operation, proofs::abandoned(&self.database, limit)).await
    }

    async fn lease_zone(&self, zone: &Hostname, ttl: Duration) -> Result<Option<ZoneLease>, Error> {
        let operation = Operation { label: "lease_zone", doing: "take the lease on a zone" };
        let key = ZoneLease::key(zone);
        let token = self.database.timed(operation, leases::take(&self.database, &key, ttl)).await?;
        Ok(token.map(|token| ZoneLease { zone: zone.clone(), token }))
    }

    async fn release_zone(&self, lease: &ZoneLease) -> Result<(), Error> {
        let operation = Operation { label: "release_zone", doing: "give the lease on a zone back" };
        let key = ZoneLease::key(&lease.zone);
        self.database.timed(operation, leases::release(&self.database, &key, lease.token)).await
    }
}

#[async_trait]
impl Sealed for SqliteStore {
    async fn adopt_key(&self) -> Result<(), Error> {
        let operation = Operation { label: "adopt_key", doing: "make the sealing key its own" };
        self.database.timed(operation, sealed::adopt(&self.database)).await
    }

    async fn reseal(&self, after: &str, limit: u32) -> Result<Resealed, Error> {
        let operation = Operation { label: "reseal", doing: "seal records anew" };
        self.database.timed(operation, sealed::reseal(&self.database, after, limit)).await
    }

    async fn retire_keys(&self) -> Result<(), Error> {
        let operation = Operation { label: "retire_keys", doing: "retire sealing keys" };
        self.database.timed(operation, sealed::retire(&self.database)).await
    }
}

#[async_trait]
impl Revocations for SqliteStore {
    async fn save_revocation(&self, revocation: &Revocation) -> Result<(), Error> {
        let operation = Operation { label: "save_revocation", doing: "keep a revocation" };
        self.database.timed(operation, revocations::save(&self.database, revocation)).await
    }

    async fn revocations_to_tell(&self, now: UnixTime, limit: u32) -> Result<Vec<Revocation>, Error> {
        let operation =
            Operation { label: "revocations_to_tell", doing: "list whose authority is to be told" };
        self.database.timed(operation, revocations::to_tell(&self.database, now, limit)).await
    }

    async fn revocations_pending(&self) -> Result<u64, Error> {
        let operation = Operation { label: "revocations_pending", doing: "count the revocations under way" };
        self.database.timed(operation, revocations::pending(&self.database)).await
    }

    async fn revoked(
        &self,
        since: UnixTime,
        now: UnixTime,
    ) -> Result<Vec<(Fingerprint, CertificateName, UnixTime)>, Error> {
        let operation = Operation { label: "revoked", doing: "list what was revoked" };
        self.database.timed(operation, revocations::since(&self.database, since, now)).await
    }
}

#[async_trait]
impl Ledger for SqliteStore {
    async fn health(&self, authority: &str) -> Result<Option<Health>, Error> {
        let operation = Operation { label: "health", doing: "look an authority's health up" };
        self.database.timed(operation, ledger::health(&self.database, authority)).await
    }

    async fn save_health(&self, authority: &str, health: &Health) -> Result<(), Error> {
        let operation = Operation { label: "save_health", doing: "keep an authority's health" };
        self.database.timed(operation, ledger::save_health(&self.database, authority, health)).await
    }

    async fn place_order(
        &self,
        authority: &str,
        account: u32,
        name: &CertificateName,
        bounds: &[Bound],
    ) -> Result<Placed, Error> {
        let operation = Operation { label: "place_order", doing: "note an order" };
        let placed = ledger::place(&self.database, (authority, account), name, bounds);
        self.database.timed(operation, placed).await
    }

    async fn keep_order(&self, name: &CertificateName, order: &UnfinishedOrder) -> Result<(), Error> {
        let operation = Operation { label: "keep_order", doing: "keep an unfinished order" };
        self.database.timed(operation, ledger::keep(&self.database, name, order)).await
    }

    async fn kept_order(&self, name: &CertificateName) -> Result<Option<UnfinishedOrder>, Error> {
        let operation = Operation { label: "kept_order", doing: "look for an unfinished order" };
        self.database.timed(operation, ledger::kept(&self.database, name)).await
    }

    async fn forget_order(&self, name: &CertificateName) -> Result<(), Error> {
        let operation = Operation { label: "forget_order", doing: "forget an unfinished order" };
        self.database.timed(operation, ledger::forget(&self.database, name)).await
    }
}
