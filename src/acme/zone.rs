//! A zone whose records are changed: by one machine of the fleet at a time, and there by one order.
//!
//! Many providers take whole sets of records, which are read, changed and written, or refuse two changes at
//! once. Two orders of one owner name, as for a domain and its wildcard, would undo each other's records.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use super::Cause;
use crate::dns::WriteFailed;
use crate::dns::write::{PATIENCE, TxtRecord, Writer};
use crate::store::{Store, ZoneLease};

/// How long a lease on a zone lasts: longer than any change takes.
const LEASE: Duration = PATIENCE.saturating_add(Duration::from_secs(10));
/// Longest wait for it: a machine that ended while it had it is waited for, and some changes.
const WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks whether it is to be had, at most.
const LOOK: Duration = Duration::from_millis(100);

/// A zone of the configuration, with its access.
pub struct Zone {
    /// What is known of its access. Records are changed by the zone itself, in turn.
    pub writer: Writer,
    /// Whether it is a platform's.
    pub of_a_platform: bool,
    store: Arc<dyn Store>,
    /// Taken for each change; when the lease was given back last.
    turn: Mutex<Option<Instant>>,
}

impl Zone {
    /// - `of_a_platform`: whether it is a platform's
    pub fn new(writer: Writer, of_a_platform: bool, store: Arc<dyn Store>) -> Self {
        Self { writer, of_a_platform, store, turn: Mutex::default() }
    }

    /// Writes `record` beside others of its name.
    pub async fn present(&self, record: &TxtRecord) -> Result<(), Cause> {
        self.in_turn(&record.owner, self.writer.present(record)).await
    }

    /// Removes exactly `record`; others of its name stay.
    pub async fn clean_up(&self, record: &TxtRecord) -> Result<(), Cause> {
        self.in_turn(&record.owner, self.writer.clean_up(record)).await
    }

    async fn in_turn(
        &self,
        owner: &str,
        change: impl Future<Output = Result<(), WriteFailed>>,
    ) -> Result<(), Cause> {
        let mut last = self.turn.lock().await;
        if !self.writer.in_steps() {
            return Ok(change.await?);
        }
        // Other machines have their chance between two changes of this one.
        if let Some(last) = *last {
            sleep_until(last + LOOK).await;
        }
        let held = self.lease(owner).await?;
        let outcome = change.await;
        held.give_back().await;
        *last = Some(Instant::now());
        Ok(outcome?)
    }

    async fn lease(&self, owner: &str) -> Result<Held, Cause> {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(lease) = self.store.lease_zone(self.writer.zone(), LEASE).await? {
                return Ok(Held { store: self.store.clone(), lease: Some(lease) });
            }
            if Instant::now() >= deadline {
                let (owner, zone) = (owner.to_owned(), self.writer.zone().clone());
                return Err(WriteFailed::NoTurn { owner, zone, after: WAIT }.into());
            }
            sleep(LOOK.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }
}

/// A lease that is given back when this is dropped, as where an order is given up.
struct Held {
    store: Arc<dyn Store>,
    lease: Option<ZoneLease>,
}

impl Held {
    async fn give_back(mut self) {
        if let Some(lease) = self.lease.take() {
            give_back(&*self.store, &lease).await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        // Outside a runtime the process is stopping; the lease runs out.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let store = self.store.clone();
        runtime.spawn(async move { give_back(&*store, &lease).await });
    }
}

async fn give_back(store: &dyn Store, lease: &ZoneLease) {
    if let Err(error) = store.release_zone(lease).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(zone = %lease.zone, error, "the lease on a zone could not be given back; it runs out");
    }
}
