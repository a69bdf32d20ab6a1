//! Which names have a certificate somewhere: a set of fingerprints in memory, so that a flood of
//! unknown names touches neither disk nor store.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::sleep;

use crate::domain::hostname::CertificateName;
use crate::store::{Error, Store};
use crate::telemetry::metrics::Metrics;

/// Names read from the store at a time.
const PAGE: u32 = 10_000;
/// First and longest pause between two tries to read a store that fails.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// The names that have a certificate, by fingerprints of 8 octets under a random key: a stranger
/// cannot make two names collide, and a chance collision costs one look-up more.
#[derive(Default)]
pub struct Known {
    hasher: ahash::RandomState,
    names: RwLock<Names>,
}

#[derive(Default)]
struct Names {
    fingerprints: HashSet<u64>,
    complete: bool,
    /// Where they are read anew: what the store has, or took in meanwhile.
    anew: Option<HashSet<u64>>,
}

/// What becomes of names that are known and that the store does not have.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Others {
    /// It may have lost them.
    Stay,
    /// They were taken out of it.
    Go,
}

impl Names {
    fn extend(&mut self, fingerprints: impl IntoIterator<Item = u64>) {
        for fingerprint in fingerprints {
            self.fingerprints.insert(fingerprint);
            if let Some(anew) = &mut self.anew {
                anew.insert(fingerprint);
            }
        }
    }
}

impl Known {
    /// Whether `name` may have a certificate. Until the first reading of
    /// [`Known::load`] is through this is `true` for every name.
    pub fn maybe(&self, name: &CertificateName) -> bool {
        let fingerprint = self.hasher.hash_one(name);
        let names = self.names.read();
        !names.complete || names.fingerprints.contains(&fingerprint)
    }

    /// How many there are, as far as is known.
    pub fn len(&self) -> usize {
        self.names.read().fingerprints.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a name in.
    pub fn insert(&self, name: &CertificateName) {
        self.names.write().extend([self.hasher.hash_one(name)]);
    }

    /// Forgets a name.
    pub fn remove(&self, name: &CertificateName) {
        let fingerprint = self.hasher.hash_one(name);
        let mut names = self.names.write();
        names.fingerprints.remove(&fingerprint);
        if let Some(anew) = &mut names.anew {
            anew.remove(&fingerprint);
        }
    }

    /// Reads all names from `store`, page by page, and tries again for as long as it fails.
    ///
    /// - `others`: whether those that are known and that the store does not have stay
    pub async fn load(&self, store: &dyn Store, others: Others, metrics: &Metrics) {
        self.names.write().anew = (others == Others::Go).then(HashSet::new);
        let mut after = None;
        let mut pause = RETRY.0;
        loop {
            match self.load_page(store, after.as_ref()).await {
                Ok(Some(last)) => after = Some(last),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the names in the store could not be read; trying again"
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
        let mut names = self.names.write();
        if let Some(anew) = names.anew.take() {
            names.fingerprints = anew;
        }
        names.complete = true;
        metrics.certificates_known.set(i64::try_from(names.fingerprints.len()).unwrap_or(i64::MAX));
    }

    /// Reads one page; its last name, or `None` at the end.
    async fn load_page(
        &self,
        store: &dyn Store,
        after: Option<&CertificateName>,
    ) -> Result<Option<CertificateName>, Error> {
        let page = store.names_after(after, PAGE).await?;
        let fingerprints: Vec<u64> = page.iter().map(|name| self.hasher.hash_one(name)).collect();
        self.names.write().extend(fingerprints);
        Ok(page.into_iter().last())
    }
}
