//! Certificates that other machines obtained, or commands brought: each machine has them in memory before
//! anybody asks for them there.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};

use super::find::Certificates;
use super::known::Others;
use super::{Prepare, in_full};
use crate::domain::hostname::CertificateName;
use crate::store::Error;

/// Certificates read from the store at a time, so that others find a connection too.
const AT_ONCE: usize = 4;

impl<P: Prepare> Certificates<P> {
    /// Reads which names have a certificate, for as long as that takes; serving does not wait for it.
    pub async fn read_names(&self, others: Others) {
        self.known.load(&*self.store, others, &self.metrics).await;
    }

    /// Serves what this machine has copies of, whatever the store has: it may have lost it. Whether there
    /// may be any.
    pub async fn know_copies(&self) -> bool {
        let Some(names) = self.copies().await else { return true };
        names.iter().for_each(|name| self.known.insert(name));
        self.count_known();
        !names.is_empty()
    }

    /// Looks again at the names that are in memory or copied and that the store does not have, as it was not
    /// heard what became of them.
    pub async fn look_at_strays(&self) -> Result<(), Error> {
        let mut names: HashSet<CertificateName> = self.copies().await.into_iter().flatten().collect();
        names.extend(self.index.names());
        names.retain(|name| !self.known.maybe(name));
        self.look_again(names.into_iter().collect()).await
    }

    /// The names that this machine has copies of; `None` where it cannot read them.
    async fn copies(&self) -> Option<Vec<CertificateName>> {
        let unreadable =
            |error: &Error| tracing::warn!(error = in_full(error), "the local copies could not be read");
        self.local.names().await.inspect_err(unreadable).ok()
    }

    /// Takes over what the store has for `names` now, as somebody changed it.
    pub async fn look_again(&self, names: Vec<CertificateName>) -> Result<(), Error> {
        let looks = names.into_iter().map(|name| async move { self.look_again_at(&name).await });
        let looked: Result<(), Error> =
            futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await;
        self.count_known();
        looked
    }

    fn count_known(&self) {
        self.metrics.certificates_known.set(i64::try_from(self.known.len()).unwrap_or(i64::MAX));
    }

    async fn look_again_at(&self, name: &CertificateName) -> Result<(), Error> {
        self.failures.invalidate(name);
        let certificate = match self.store.certificate(name).await {
            Err(error) if !error.is_of_the_record() => return Err(error),
            // A damaged one is taken out of use by the handshake that needs it.
            found => found.ok().flatten(),
        };
        let Some(certificate) = certificate else { return self.take_out(name).await };
        self.known.insert(name);
        if !self.serves(&certificate) {
            return Ok(());
        }
        if (self.index.holds(name) || self.index.has_room())
            && let Err(refusal) = self.keep_hot(&certificate)
        {
            tracing::error!(%name, %refusal, "a certificate that another machine saved is not in service");
            return Ok(());
        }
        self.keep_local(certificate);
        Ok(())
    }

    /// Takes the certificate that was obtained for `name` out of service; its own ones stay.
    async fn take_out(&self, name: &CertificateName) -> Result<(), Error> {
        if !self.owned.has(name) {
            self.known.remove(name);
        }
        if self.index.holds_own(name) == Some(false) {
            self.index.remove(name);
        }
        if let Err(error) = self.local.forget(name).await {
            tracing::warn!(%name, error = in_full(&error), "the local copy could not be removed");
        }
        Ok(())
    }
}
