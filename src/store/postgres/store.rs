//! The certificates' side of the store, operation by operation.

use std::time::Duration;

use async_trait::async_trait;

use super::database::Operation;
use super::{PostgresStore, accounts, attempts, certificates, claims, leases, renewals};
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::renewal::Window;
use crate::store::{AccountCredentials, Attempt, Error, Imported, Lease, RenewalState, Store};

#[async_trait]
impl Store for PostgresStore {
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
        self.database.timed(operation, claims::claim(&self.database, now, limit, hold)).await
    }

    async fn give_up_claims(&self, names: &[CertificateName]) -> Result<(), Error> {
        let operation = Operation { label: "give_up_claims", doing: "give up what is due for renewal" };
        self.database.timed(operation, claims::give_up(&self.database, names)).await
    }

    async fn count_due(&self, now: UnixTime, most: u32) -> Result<u64, Error> {
        let operation = Operation { label: "count_due", doing: "count what is due for renewal" };
        self.database.timed(operation, claims::count(&self.database, now, most)).await
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
