//! Renewal: what is due by the store's index is obtained again, by the same road as anything else,
//! while the certificate of before stays in service.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::sleep;

use super::find::Certificates;
use super::flight::Outcome;
use super::{Prepare, Refusal, in_full};
use crate::domain::approval::Verdict;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::telemetry::seldom::Seldom;

/// How often the index is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How often the certificates near their end are counted.
const COUNT: Duration = Duration::from_secs(60);
/// Due names taken from the index at a time.
const BATCH: u32 = 1000;
/// One order in so many may be a renewal: new names go first.
const SHARE: usize = 4;
/// When a name that is no longer approved is asked about again.
const DENIED: Duration = Duration::from_secs(60 * 60);
/// When a renewal that something of our own stood in the way of is tried again.
const HINDERED: Duration = Duration::from_secs(60);
/// How near an end is counted, in days.
const WITHIN: [(&str, u64); 5] = [("1d", 1), ("3d", 3), ("7d", 7), ("14d", 14), ("30d", 30)];
const DAY: u64 = 24 * 60 * 60;

/// How a renewal ended.
enum Ended {
    Renewed,
    /// Not before this moment again.
    Failed(UnixTime),
    Denied,
    Hindered,
}

impl<P: Prepare> Certificates<P> {
    /// Renews what is due, for ever.
    ///
    /// - `orders`: orders under way at most; renewals take a part of them.
    pub async fn renew_due(self: &Arc<Self>, orders: usize) {
        let at_once = (orders / SHARE).max(1);
        loop {
            match self.store.due_for_renewal(self.clock.now(), BATCH).await {
                Ok(due) => {
                    futures::stream::iter(due)
                        .for_each_concurrent(at_once, |name| async move { self.renew(&name).await })
                        .await;
                }
                Err(error) => complain(&error, "what is due for renewal could not be read"),
            }
            sleep(LOOK).await;
        }
    }

    async fn renew(self: &Arc<Self>, name: &CertificateName) {
        // The index has no others: a wildcard is renewed where its platform is.
        let Some(hostname) = name.hostname() else { return };
        let now = self.clock.now();
        let (result, again) = match self.renew_one(&hostname).await {
            Ended::Renewed => ("renewed", None),
            Ended::Failed(next) => ("failed", Some(next.max(now.plus(HINDERED)))),
            Ended::Denied => ("denied", Some(now.plus(DENIED))),
            Ended::Hindered => ("hindered", Some(now.plus(HINDERED))),
        };
        self.metrics.renewals.with_label_values(&[result]).inc();
        let Some(again) = again else { return };
        if let Err(error) = self.store.postpone_renewal(name, again).await {
            complain(&error, "a renewal could not be put off");
        }
    }

    async fn renew_one(self: &Arc<Self>, hostname: &Hostname) -> Ended {
        match self.approvals.decide(hostname, None).await {
            Verdict::Approved { .. } => {}
            Verdict::Denied(reason) => {
                tracing::info!(%hostname, %reason, "not renewed, as it is no longer approved");
                return Ended::Denied;
            }
            // A fault is no denial: what is served goes on being served. What is not gets no order.
            Verdict::Unknown(why) => {
                if !self.obtain.has_valid(hostname).await {
                    tracing::warn!(%hostname, %why, "not renewed, as nobody could say whether it is approved");
                    return Ended::Hindered;
                }
            }
        }
        match self.order_again(hostname).await {
            Ok(_) => Ended::Renewed,
            Err(Refusal::Failed(attempt)) => Ended::Failed(attempt.next.unwrap_or(attempt.at)),
            Err(refusal) => {
                tracing::warn!(%hostname, %refusal, "not renewed now; it is tried again");
                Ended::Hindered
            }
        }
    }

    /// The order, which ends and is put in service also where the process stops renewing meanwhile.
    async fn order_again(self: &Arc<Self>, hostname: &Hostname) -> Outcome<()> {
        let (this, name) = (self.clone(), hostname.clone());
        let work = move || async move {
            this.renewed(this.obtain.renew(&name).await?);
            Ok(Arc::new(()))
        };
        self.renewals.join(hostname, work)?.wait().await
    }

    /// Counts the certificates near their end, for ever; apart from renewing, which may take long
    /// just when the count matters.
    pub async fn count_ends(&self) {
        loop {
            self.count_ends_once().await;
            sleep(COUNT).await;
        }
    }

    async fn count_ends_once(&self) {
        let now = self.clock.now();
        for (within, days) in WITHIN {
            match self.store.ending_between(now, now.plus(Duration::from_secs(days * DAY))).await {
                Ok(count) => {
                    let count = i64::try_from(count).unwrap_or(i64::MAX);
                    self.metrics.certificates_expiring.with_label_values(&[within]).set(count);
                }
                Err(error) => {
                    return complain(&error, "the certificates near their end could not be counted");
                }
            }
        }
    }
}

fn complain(error: &crate::store::Error, what: &str) {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
    if let Some(unsaid) = COMPLAINTS.permit() {
        tracing::warn!(error = in_full(error), unsaid, "{what}; trying again");
    }
}
