//! Certificates that other machines obtained, or commands brought: each machine has them in memory before
//! anybody asks for them there.

use futures::{StreamExt, TryStreamExt};

use super::find::Certificates;
use super::{Prepare, in_full};
use crate::domain::hostname::CertificateName;
use crate::store::Error;

/// Certificates read from the store at a time, so that others find a connection too.
const AT_ONCE: usize = 4;

impl<P: Prepare> Certificates<P> {
    /// Reads which names have a certificate, for as long as that takes; serving does not wait for it.
    pub async fn read_names(&self) {
        self.known.load(&*self.store, &self.metrics).await;
    }

    /// Takes over what the store has for `names` now, as somebody changed it.
    pub async fn look_again(&self, names: Vec<CertificateName>) -> Result<(), Error> {
        let looks = names.into_iter().map(|name| async move { self.look_again_at(&name).await });
        let looked: Result<(), Error> =
            futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await;
        self.metrics.certificates_known.set(i64::try_from(self.known.len()).unwrap_or(i64::MAX));
        looked
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
