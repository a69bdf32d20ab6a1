//! Certificates of ours for the servers that ours take over from, so that going back to them costs
//! nothing. Beside serving: nobody waits for it, and what fails is tried again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::in_full;
use crate::acme::bridge::{Bridge, Lock};
use crate::domain::hostname::CertificateName;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// Names that wait at most; only names are held, so these are some megabytes.
const MOST: usize = 100_000;
/// Pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Names whose certificate is to be put into the Redis of the bridge.
pub struct WriteBack {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    bridge: ArcSwapOption<Bridge>,
    /// With the lock that keeps the others from ordering until they can find the certificate.
    pending: Mutex<HashMap<CertificateName, Option<Lock>>>,
    wake: Notify,
}

impl WriteBack {
    /// Nothing is to be written yet.
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (bridge, pending) = (ArcSwapOption::empty(), Mutex::default());
        Arc::new(Self { store, metrics, bridge, pending, wake: Notify::new() })
    }

    /// Lets `bridge` be crossed from now on; `None`: there is none.
    pub fn set_bridge(&self, bridge: Option<Arc<Bridge>>) {
        self.bridge.store(bridge);
        self.wake.notify_one();
    }

    /// Takes note that a certificate for `name` was saved; where nothing is to be written back, `lock`
    /// is given back at once.
    pub fn note(&self, name: &CertificateName, lock: Option<Lock>) {
        if self.target().is_none() || name.is_wildcard() {
            return;
        }
        let mut pending = self.pending.lock();
        if pending.len() >= MOST && !pending.contains_key(name) {
            tracing::warn!(hostname = %name, "too many certificates wait to be put into the Redis of the bridge; \
                this one follows when it is renewed");
            return;
        }
        pending.insert(name.clone(), lock);
        self.count(pending.len());
        self.wake.notify_one();
    }

    /// Writes what is pending, for ever.
    pub async fn run(&self) {
        loop {
            if self.write_pending().await {
                self.wake.notified().await;
            } else {
                // Another one that is noted does not hurry those that failed.
                sleep(AGAIN).await;
            }
        }
    }

    /// Whether all of it could be written.
    async fn write_pending(&self) -> bool {
        let names: Vec<CertificateName> = self.pending.lock().keys().cloned().collect();
        let mut all = true;
        for name in names {
            let Some(bridge) = self.target() else {
                self.pending.lock().clear();
                self.count(0);
                return true;
            };
            // The lock is given back behind this, whatever becomes of it.
            let _lock = self.pending.lock().remove(&name);
            if let Err(why) = self.write(&bridge, &name).await {
                self.pending.lock().entry(name.clone()).or_default();
                all = false;
                complain(&name, &why);
                break;
            }
            let left = self.pending.lock().len();
            self.count(left);
        }
        all
    }

    async fn write(&self, bridge: &Bridge, name: &CertificateName) -> Result<(), String> {
        match self.store.certificate(name).await {
            Ok(Some(certificate)) => {
                bridge.write(name, &certificate).await.map_err(|error| in_full(&error))?;
                tracing::debug!(hostname = %name, "its certificate is in the Redis of the bridge");
                Ok(())
            }
            // It left meanwhile, or its record is of no use to anybody.
            Ok(None) => Ok(()),
            Err(error) if error.is_of_the_record() => Ok(()),
            Err(error) => Err(in_full(&error)),
        }
    }

    fn target(&self) -> Option<Arc<Bridge>> {
        self.bridge.load_full().filter(|bridge| bridge.writes_back())
    }

    fn count(&self, pending: usize) {
        self.metrics.bridge_writes_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
    }
}

fn complain(name: &CertificateName, why: &str) {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
    if let Some(unsaid) = COMPLAINTS.permit() {
        tracing::warn!(hostname = %name, why, unsaid, "a certificate could not be put into the Redis of the bridge; \
            it is tried again");
    }
}
