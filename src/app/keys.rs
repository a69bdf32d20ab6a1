//! The sealing keys of a running process, which may change.

use super::StartError;
use super::engine::Engine;
use crate::certs::in_full;
use crate::config::KeySource;
use crate::store::rekey::{Rekeyed, rekey};
use crate::store::seal::SealingKey;
use crate::store::{Error, key_file};

impl Engine {
    /// The sealing keys that are at hand now, which must be able to go on from those in use.
    pub(super) fn read_key(&self, source: &KeySource) -> Result<SealingKey, StartError> {
        let key = match source {
            // One that is missing is not made now: everything is sealed already.
            KeySource::File(path) => key_file::load(path)?,
            KeySource::Environment { .. } => key_file::open(source)?,
        };
        let (now, next) = (self.key.id(), key.ids());
        if next.contains(&now) { Ok(key) } else { Err(StartError::KeyGone { now }) }
    }

    /// Seals with `key` from now on; this machine's own copies are sealed anew beside serving.
    pub(super) fn take_key(&self, key: SealingKey) {
        let before = self.key.ids();
        self.key.replace_by(&key);
        if before == key.ids() {
            return;
        }
        let seals_anew = before.first() != key.ids().first();
        let (local, machine) = (self.local.clone(), self.machine.clone());
        tokio::spawn(async move {
            // Whoever changes the fleet's key waits for that.
            machine.check_in_once().await;
            if !seals_anew {
                return;
            }
            tracing::info!(id = key.id(), "another sealing key seals from now on");
            if let Err(error) = local.reseal().await {
                tracing::error!(
                    error = in_full(&error),
                    "this machine's copies could not be sealed anew; keep the key of before until they are"
                );
            }
        });
    }

    /// Changes the sealing key, as [`rekey`] says; the work goes on without this value.
    pub(super) fn rekey(
        &self,
        source: &KeySource,
        shared: bool,
    ) -> impl Future<Output = Result<Rekeyed, Error>> + use<> {
        let (key, store, local) = (self.key.clone(), self.store.clone(), self.local.clone());
        let source = source.clone();
        async move { rekey(&key, &source, (&*store, shared), &local).await }
    }
}
