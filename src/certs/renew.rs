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
use crate::domain::hostname::CertificateName;
use crate::store::Error;
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
/// When a name that was parked as it was not approved is asked about again.
const PARKED_DENIED: Duration = Duration::from_secs(24 * 60 * 60);
/// When a name whose DNS has gone is looked at again.
const MISLED: Duration = Duration::from_secs(60 * 60);
/// When one that was parked for that is looked at again.
const PARKED_MISLED: Duration = Duration::from_secs(6 * 60 * 60);
/// When a name that was parked as no certificate could be obtained is tried again.
const PARKED_FAILED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Attempts in a row that failed for reasons of the name's own before it is parked.
const FAILURES: u32 = 3;
/// How often late renewals are told of in the log.
const TELL: Duration = Duration::from_secs(60 * 60);
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
    /// By DNS it does not lead here.
    Misled,
    Hindered,
    /// No order for so long, for this reason, unless the name comes back before.
    Parked(Duration, String),
}

/// How a certificate that is due stands.
struct Stands {
    /// It is not valid any more.
    ended: bool,
    /// Why it was parked, where it is.
    parked: Option<String>,
}

/// Stops the renewal of a name; said once.
fn park(name: &CertificateName, stands: &Stands, pause: Duration, reason: String) -> Ended {
    if stands.parked.is_none() {
        tracing::warn!(hostname = %name, reason, "its certificate has ended and no other one is ordered until it \
            comes back; a visit or a later look revives it");
    }
    Ended::Parked(pause, reason)
}

impl<P: Prepare> Certificates<P> {
    /// Renews what is due, for ever.
    pub async fn renew_due(self: &Arc<Self>) {
        loop {
            let at_once = (self.rules().orders / SHARE).max(1);
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
        let now = self.clock.now();
        let ended = match self.stands(name).await {
            Ok(stands) => self.renew_one(name, &stands).await,
            Err(error) => {
                complain(&error, "a certificate that is due could not be read");
                Ended::Hindered
            }
        };
        let (result, again) = match &ended {
            Ended::Renewed => ("renewed", None),
            Ended::Failed(next) => ("failed", Some((*next).max(now.plus(HINDERED)))),
            Ended::Denied => ("denied", Some(now.plus(DENIED))),
            Ended::Misled => ("misled", Some(now.plus(MISLED))),
            Ended::Hindered => ("hindered", Some(now.plus(HINDERED))),
            Ended::Parked(pause, _) => ("parked", Some(now.plus(*pause))),
        };
        self.metrics.renewals.with_label_values(&[result]).inc();
        let Some(again) = again else { return };
        let noted = match &ended {
            Ended::Parked(_, reason) => self.store.park_renewal(name, reason, again).await,
            _ => self.store.postpone_renewal(name, again).await,
        };
        if let Err(error) = noted {
            complain(&error, "a renewal could not be put off");
        }
    }

    /// How the certificate of `name` stands.
    async fn stands(&self, name: &CertificateName) -> Result<Stands, Error> {
        let state = self.store.renewal_state(name).await?;
        let certificate = match self.store.certificate(name).await {
            Ok(certificate) => certificate,
            // A damaged one is replaced as one that has ended is.
            Err(Error::Record { .. } | Error::Seal(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(Stands {
            ended: !certificate.is_some_and(|certificate| certificate.validity.holds(self.clock.now())),
            parked: state.and_then(|state| state.parked),
        })
    }

    async fn renew_one(self: &Arc<Self>, name: &CertificateName, stands: &Stands) -> Ended {
        match self.rules().decide(name, None).await {
            Verdict::Approved { .. } => {}
            Verdict::Denied(reason) if stands.ended => {
                let reason = format!("it is no longer approved: {reason}");
                return park(name, stands, PARKED_DENIED, reason);
            }
            Verdict::Denied(reason) => {
                tracing::info!(hostname = %name, %reason, "not renewed, as it is no longer approved");
                return Ended::Denied;
            }
            // A fault is no denial: what is served goes on being served. What is not gets no order.
            Verdict::Unknown(why) if stands.ended => {
                tracing::warn!(hostname = %name, %why, "not renewed, as nobody could say whether it is approved");
                return Ended::Hindered;
            }
            Verdict::Unknown(_) => {}
        }
        if let Some(why) = self.rules().obtain.misled(name).await {
            if stands.ended {
                return park(name, stands, PARKED_MISLED, format!("it does not lead here: {why}"));
            }
            tracing::warn!(hostname = %name, %why, "not renewed, as it does not lead here any more");
            return Ended::Misled;
        }
        match self.order_again(name).await {
            Ok(_) => {
                if let Some(reason) = &stands.parked {
                    tracing::info!(hostname = %name, reason, "it is back, and has a certificate again");
                }
                Ended::Renewed
            }
            Err(Refusal::Failed(attempt)) if stands.ended && attempt.failures >= FAILURES => {
                let reason = format!("no certificate could be obtained: {}", attempt.report);
                park(name, stands, PARKED_FAILED, reason)
            }
            Err(Refusal::Failed(attempt)) => Ended::Failed(attempt.next.unwrap_or(attempt.at)),
            Err(refusal) => {
                tracing::warn!(hostname = %name, %refusal, "not renewed now; it is tried again");
                Ended::Hindered
            }
        }
    }

    /// The order, which ends and is put in service also where the process stops renewing meanwhile.
    pub(super) async fn order_again(self: &Arc<Self>, name: &CertificateName) -> Outcome<()> {
        let (this, joined) = (self.clone(), name);
        let name = name.clone();
        let work = move || async move {
            let registered = || this.rules().approvals.is_registered(&name);
            let before = registered();
            let certificate = this.rules().obtain.renew(&name).await?;
            if before && !registered() {
                this.still_wanted(&certificate, None).await?;
            }
            this.renewed(certificate);
            Ok(Arc::new(()))
        };
        self.renewals.join(joined, work)?.wait().await
    }

    /// Counts the certificates near their end, for ever; apart from renewing, which may take long
    /// just when the count matters.
    pub async fn count_ends(&self) {
        loop {
            self.count_ends_once().await;
            sleep(COUNT).await;
        }
    }

    /// Counts what is late and what is parked; tells of what is late in the log, once an hour.
    async fn count_late(&self, now: UnixTime) -> Result<(), Error> {
        static TOLD: Seldom = Seldom::new(TELL);
        let (late, first) = self.store.late(now).await?;
        let parked = self.store.parked().await?;
        self.metrics.certificates_late.set(i64::try_from(late).unwrap_or(i64::MAX));
        self.metrics.names_parked.set(i64::try_from(parked).unwrap_or(i64::MAX));
        let Some(first) = first else { return Ok(()) };
        if TOLD.permit().is_none() {
            return Ok(());
        }
        let ends = self.store.certificate(&first).await?.map(|certificate| certificate.validity.not_after);
        let attempt = self.store.attempt(&first).await?;
        let last_attempt = attempt.map_or_else(|| "none".to_owned(), |attempt| attempt.report);
        let ends = ends.map(tracing::field::display);
        tracing::error!(late, name = %first, ends, last_attempt, "certificates near their end are not renewed; \
            this is the one that is late for longest");
        Ok(())
    }

    async fn count_ends_once(&self) {
        let now = self.clock.now();
        if let Err(error) = self.count_late(now).await {
            return complain(&error, "the late renewals could not be counted");
        }
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

pub(super) fn complain(error: &Error, what: &str) {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
    if let Some(unsaid) = COMPLAINTS.permit() {
        tracing::warn!(error = in_full(error), unsaid, "{what}; trying again");
    }
}
