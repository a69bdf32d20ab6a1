//! Certificates of hostnames that are known before their first visit.

use std::sync::Arc;

use async_trait::async_trait;

use super::find::Certificates;
use super::{Prepare, Refusal, in_full};
use crate::domain::approval::{Approver, Verdict};
use crate::domain::certificate::{Certificate, Validity};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::store::Error;

/// Whoever keeps the certificates of known hostnames; the TLS library stays behind it.
#[async_trait]
pub trait Keeper: Send + Sync + 'static {
    /// Sees to it that `name` has a certificate, obtained where it must be, by the same road that a
    /// handshake takes. Waits for the end.
    async fn obtain_ahead(&self, name: &CertificateName) -> Result<(), Refusal>;

    /// Whether no certificate may be obtained for `name`; not where nobody can say.
    async fn is_denied(&self, name: &CertificateName) -> bool;

    /// Whether a stored certificate is not served again.
    fn is_revoked(&self, certificate: &Certificate) -> bool;

    /// Whether `name` can be proven by DNS now, wherever it leads itself. A platform's names are not asked
    /// about, as they have certificates of its own.
    async fn by_dns(&self, name: &CertificateName) -> bool;

    /// Lets the next attempt come before its time, and one that is parked come back. Returns when
    /// the authorities' limits allow it, unless that is now.
    async fn forgive(&self, name: &CertificateName) -> Result<Option<UnixTime>, Error>;

    /// When the certificate that `hostname` is served by now is valid, as far as memory has it.
    fn validity(&self, hostname: &Hostname) -> Option<Validity>;

    /// Whether the TLS library takes `certificate`; else what it does not like.
    fn check(&self, certificate: &Certificate) -> Result<(), String>;

    /// Has the own certificates that the store has for `name` served on this machine, from when it returns.
    async fn take_own(&self, name: &CertificateName) -> Result<(), Error>;

    /// Takes the certificate of a name that is nobody's any more out of service on this machine.
    async fn withdraw(&self, name: &CertificateName);
}

#[async_trait]
impl<P: Prepare> Keeper for Arc<Certificates<P>> {
    async fn obtain_ahead(&self, name: &CertificateName) -> Result<(), Refusal> {
        if name.hostname().is_some_and(|hostname| self.hot(&hostname).is_some()) {
            return Ok(());
        }
        self.take_off_for(name)?.wait().await.map(drop)
    }

    async fn is_denied(&self, name: &CertificateName) -> bool {
        matches!(self.rules().decide(name, None).await, Verdict::Denied(_))
    }

    fn is_revoked(&self, certificate: &Certificate) -> bool {
        self.revoked.has(certificate)
    }

    async fn by_dns(&self, name: &CertificateName) -> bool {
        self.rules().obtain.authorities.by_dns(name).await
    }

    async fn forgive(&self, name: &CertificateName) -> Result<Option<UnixTime>, Error> {
        self.failures.invalidate(name);
        let state = self.store.renewal_state(name).await?;
        if state.is_some_and(|state| state.parked.is_some()) {
            self.store.postpone_renewal(name, self.clock.now()).await?;
        }
        self.rules().obtain.forgive(name).await
    }

    fn validity(&self, hostname: &Hostname) -> Option<Validity> {
        self.index.validity(hostname, self.clock.now())
    }

    fn check(&self, certificate: &Certificate) -> Result<(), String> {
        self.prepare.prepare(&[certificate]).map(drop)
    }

    async fn take_own(&self, name: &CertificateName) -> Result<(), Error> {
        self.settle_own(name, true).await.map(drop)
    }

    async fn withdraw(&self, name: &CertificateName) {
        self.known.remove(name);
        self.owned.forget(name);
        self.index.remove(name);
        self.failures.invalidate(name);
        let forgotten = self.local.forget(name).await;
        if let Err(error) = forgotten.and(self.local.keep_own(name, &[]).await) {
            tracing::warn!(%name, error = in_full(&error), "the local copy could not be removed");
        }
    }
}

#[async_trait]
impl<P: Prepare> Approver for Arc<Certificates<P>> {
    async fn decide(&self, hostname: &Hostname) -> Verdict {
        self.rules().approvals.decide(hostname, None).await
    }

    async fn decide_as_a_stranger(&self, hostname: &Hostname) -> Verdict {
        self.rules().approvals.decide_as_a_stranger(hostname).await
    }
}
