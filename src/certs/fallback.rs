//! What is obtained for the end of an own certificate, by the same road as anything else.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::time::sleep;

use super::find::Certificates;
use super::own::LOOK_FOR_ENDS;
use super::renew::complain;
use super::{Prepare, Refusal};
use crate::domain::approval::Verdict;
use crate::domain::budget::Purpose;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;

/// Fallbacks obtained between two looks.
const BATCH: u32 = 100;
/// One order in so many may be for a fallback: new names go first.
const SHARE: usize = 4;
/// When a fallback is tried again that was not approved, does not lead here, or met a fault of ours.
const AGAIN: Duration = Duration::from_secs(10 * 60);
const HINDERED: Duration = Duration::from_secs(60);

impl<P: Prepare> Certificates<P> {
    /// Sees to it, for ever, that another certificate is there before a hostname's own one ends.
    pub async fn keep_fallbacks(self: &Arc<Self>) {
        // Of those from files alone: the store remembers the others'.
        let mut later: HashMap<CertificateName, UnixTime> = HashMap::new();
        loop {
            let now = self.clock.now();
            later.retain(|_, next| *next > now);
            match self.store.due_for_fall_back(now, BATCH).await {
                Ok(due) => {
                    let from_files = self.index.pinned_that_end(now).into_iter();
                    let from_files = from_files.map(CertificateName::from);
                    let from_files = from_files.filter(|name| !later.contains_key(name));
                    let due: HashSet<CertificateName> = due.into_iter().chain(from_files).collect();
                    let at_once = (self.rules().orders / SHARE).max(1);
                    let tries = stream::iter(due).map(|name| async move { self.keep_fallback(name).await });
                    later.extend(tries.buffer_unordered(at_once).collect::<Vec<_>>().await);
                }
                Err(error) => complain(&error, "which own certificates end soon could not be read"),
            }
            sleep(LOOK_FOR_ENDS).await;
        }
    }

    /// One try; when the next one is due.
    async fn keep_fallback(self: &Arc<Self>, name: CertificateName) -> (CertificateName, UnixTime) {
        let now = self.clock.now();
        if self.rules().obtain.has_valid(&name).await {
            return (name, now.plus(AGAIN));
        }
        let next = match self.obtain_fallback(&name, now).await {
            Ok(()) => {
                tracing::info!(hostname = %name, "another certificate is there for when its own one ends");
                return (name, now.plus(AGAIN));
            }
            Err((next, why)) => {
                tracing::warn!(hostname = %name, why, %next, "its own certificate ends soon, and there is no other \
                    one for after it yet");
                next
            }
        };
        if let Err(error) = self.store.postpone_fall_back(&name, next).await {
            complain(&error, "a fallback could not be put off");
        }
        (name, next)
    }

    /// When it is tried again, and why there is none.
    async fn obtain_fallback(
        self: &Arc<Self>,
        name: &CertificateName,
        now: UnixTime,
    ) -> Result<(), (UnixTime, String)> {
        match self.rules().decide(name, None).await {
            Verdict::Approved { .. } => {}
            Verdict::Denied(reason) => {
                return Err((now.plus(AGAIN), format!("it is not approved: {reason}")));
            }
            Verdict::Unknown(why) => return Err((now.plus(HINDERED), why.to_string())),
        }
        if let Some(why) = self.rules().obtain.misled(name).await {
            return Err((now.plus(AGAIN), format!("it does not lead here: {why}")));
        }
        match self.order_again(name, Purpose::Renewal, None).await {
            Ok(_) => Ok(()),
            Err(Refusal::Failed(attempt)) => {
                let next = attempt.next.unwrap_or(attempt.at).max(now.plus(HINDERED));
                Err((next, attempt.report.clone()))
            }
            Err(refusal) => Err((now.plus(HINDERED), refusal.to_string())),
        }
    }
}
