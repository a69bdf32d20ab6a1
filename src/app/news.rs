//! What other machines changed, brought to whoever looks at it again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::acme::challenge::Challenges;
use crate::certs::find::Certificates;
use crate::certs::in_full;
use crate::certs::tickets::Tickets;
use crate::domain::clock::Clock;
use crate::edge::tls::ready::Preparer;
use crate::store::Error;
use crate::store::changes::{Change, Changes, LOOK};
use crate::store::steady::SteadyStore;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// Changes read at a time.
const PAGE: u32 = 1_000;

/// Who looks again.
pub(super) struct News {
    pub(super) store: Arc<SteadyStore>,
    pub(super) certificates: Arc<Certificates<Preparer>>,
    pub(super) challenges: Arc<Challenges>,
    pub(super) tickets: Arc<Tickets>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// The last change that was looked at.
    pub(super) seen: Arc<AtomicI64>,
}

impl News {
    /// Follows the changes, for ever. What cannot be looked at now is looked at until it can.
    pub(super) async fn follow(self) {
        static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
        let (mut cursor, mut seen) = (None, 0);
        loop {
            match self.step(&mut cursor).await {
                Ok(true) => {}
                Ok(false) => {
                    self.metrics.changes_seen_timestamp_seconds.set(self.clock.now().0);
                    seen = self.store.stirred(seen).await;
                }
                Err(error) => {
                    if let Some(unsaid) = COMPLAINTS.permit() {
                        let error = in_full(&error);
                        tracing::warn!(
                            error,
                            unsaid,
                            "what other machines changed could not be read; trying again"
                        );
                    }
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// One step; whether another one is due at once.
    async fn step(&self, cursor: &mut Option<i64>) -> Result<bool, Error> {
        let Some(after) = *cursor else {
            // Changes from here on may be looked at twice, never missed.
            let begin = self.store.last_news().await?;
            self.certificates.read_names().await;
            self.seen.store(begin, Ordering::Relaxed);
            *cursor = Some(begin);
            return Ok(true);
        };
        let Some(changes) = self.store.news_after(after, PAGE).await? else {
            *cursor = None;
            return Ok(true);
        };
        let Some((last, _)) = changes.last() else { return Ok(false) };
        let last = *last;
        let mut certificates = HashSet::new();
        for (_, change) in changes {
            match change {
                Change::Certificate(name) => drop(certificates.insert(name)),
                Change::Challenge(kind, key) => self.challenges.look_again(kind, key).await?,
                Change::Revocation => self.certificates.recall_revoked().await,
                Change::TicketKeys => self.tickets.look_again().await,
                Change::Authority(name) => self.certificates.look_at_authority(&name).await?,
            }
        }
        self.certificates.look_again(certificates.into_iter().collect()).await?;
        self.seen.store(last, Ordering::Relaxed);
        *cursor = Some(last);
        Ok(true)
    }
}
