//! Renewal: what is due by the store's index is obtained again, by the same road as anything else,
//! while the certificate of before stays in service.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};

use super::find::Certificates;
use super::flight::Outcome;
use super::round::Round;
use super::{Prepare, Refusal, in_full};
use crate::domain::approval::Verdict;
use crate::domain::budget::{Due, Purpose};
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::Error;
use crate::telemetry::seldom::Seldom;

/// How often the certificates near their end are counted.
const COUNT: Duration = Duration::from_secs(60);
/// How long names are this machine's that it was handed: longer than it takes to order them.
const HOLD: Duration = Duration::from_secs(10 * 60);
/// Due names are counted up to so many.
const MOST_COUNTED: u32 = 100_000;
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
    /// No authority has room for any renewal before this moment; nothing was tried.
    NoRoom(UnixTime),
    /// No order for so long, for this reason, unless the name comes back before.
    Parked(Duration, String),
}

/// How a certificate that is due stands.
struct Stands {
    /// The one to be replaced; `None` where it cannot be read.
    certificate: Option<Certificate>,
    /// It is not valid any more.
    ended: bool,
    /// Why it was parked, where it is.
    parked: Option<String>,
    /// What an order for it is.
    purpose: Purpose,
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
    /// Renews what is due, for ever: about as many at once as `Round` says, and none while no authority
    /// has room.
    pub async fn renew_due(self: &Arc<Self>) {
        let mut under_way = FuturesUnordered::new();
        let mut waiting: VecDeque<CertificateName> = VecDeque::new();
        let mut round = Round::begin(Instant::now());
        loop {
            let at_once = round.at_once((self.rules().orders / SHARE).max(1));
            let room = at_once.saturating_sub(under_way.len());
            if room > 0 && waiting.is_empty() && round.is_due(Instant::now()) {
                let claimed = self.claim(at_once * 2 - under_way.len()).await;
                round.looked(Instant::now(), claimed.len());
                waiting.extend(claimed);
            }
            let some = waiting.drain(..room.min(waiting.len())).collect::<Vec<_>>();
            under_way.extend(some.into_iter().map(|name| self.renew(name)));
            let idle = waiting.is_empty() && under_way.len() < at_once;
            tokio::select! {
                Some(ended) = under_way.next(), if !under_way.is_empty() => match ended {
                    None => round.went_on(),
                    Some((name, until)) => {
                        waiting.push_front(name);
                        self.give_up(waiting.drain(..).collect()).await;
                        let rest = round.rest(Instant::now(), self.clock.now().until(until), rand::random());
                        tell_no_room(until, rest);
                    }
                },
                () = sleep_until(round.due()), if idle => {}
            }
        }
    }

    /// Names that are due and now this machine's; none where the store fails.
    async fn claim(&self, count: usize) -> Vec<CertificateName> {
        let limit = u32::try_from(count).unwrap_or(u32::MAX);
        match self.store.claim_due(self.clock.now(), limit, HOLD).await {
            Ok(names) => names,
            Err(error) => {
                complain(&error, "what is due for renewal could not be read");
                Vec::new()
            }
        }
    }

    /// Puts names back that were not tried. Where that fails they come back by themselves.
    async fn give_up(&self, names: Vec<CertificateName>) {
        if let Err(error) = self.store.give_up_claims(&names).await {
            complain(&error, "renewals that were not tried could not be put back; they come back later");
        }
    }

    /// The name itself, and when there is room again, where nothing was tried as there is none.
    async fn renew(self: &Arc<Self>, name: CertificateName) -> Option<(CertificateName, UnixTime)> {
        let now = self.clock.now();
        let ended = match self.stands(&name).await {
            Ok(Some(stands)) => self.renew_one(&name, &stands).await,
            // A visit, or whoever had it before this machine, has obtained another one meanwhile.
            Ok(None) => return None,
            Err(error) => {
                complain(&error, "a certificate that is due could not be read");
                Ended::Hindered
            }
        };
        let (result, again) = match &ended {
            Ended::NoRoom(until) => return Some((name, *until)),
            Ended::Renewed => ("renewed", None),
            Ended::Failed(next) => ("failed", Some((*next).max(now.plus(HINDERED)))),
            Ended::Denied => ("denied", Some(now.plus(DENIED))),
            Ended::Misled => ("misled", Some(now.plus(MISLED))),
            Ended::Hindered => ("hindered", Some(now.plus(HINDERED))),
            Ended::Parked(pause, _) => ("parked", Some(now.plus(*pause))),
        };
        self.metrics.renewals.with_label_values(&[result]).inc();
        let again = again?;
        let noted = match &ended {
            Ended::Parked(_, reason) => self.store.park_renewal(&name, reason, again).await,
            _ => self.store.postpone_renewal(&name, again).await,
        };
        if let Err(error) = noted {
            complain(&error, "a renewal could not be put off");
        }
        None
    }

    /// How the certificate of `name` stands; `None` where it is not due any more.
    async fn stands(&self, name: &CertificateName) -> Result<Option<Stands>, Error> {
        let (state, now) = (self.store.renewal_state(name).await?, self.clock.now());
        if state.as_ref().is_some_and(|state| state.due > now && state.late_at > now) {
            return Ok(None);
        }
        let certificate = match self.store.certificate(name).await {
            Ok(certificate) => certificate,
            // A damaged one is replaced as one that has ended is.
            Err(Error::Record { .. } | Error::Seal(_)) => None,
            Err(error) => return Err(error),
        };
        let due = state.as_ref().map(|state| Due { at: state.due, late_at: state.late_at });
        Ok(Some(Stands {
            ended: !certificate.as_ref().is_some_and(|certificate| certificate.validity.holds(now)),
            purpose: due.map_or(Purpose::LateRenewal, |due| due.purpose(now)),
            parked: state.and_then(|state| state.parked),
            certificate,
        }))
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
            Verdict::Unknown(why) if stands.ended || self.rules().approvals.is_registered(name) => {
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
        match self.order_again(name, stands.purpose, stands.certificate.clone()).await {
            Ok(_) => {
                if let Some(reason) = &stands.parked {
                    tracing::info!(hostname = %name, reason, "it is back, and has a certificate again");
                }
                Ended::Renewed
            }
            Err(Refusal::NoRoom(until)) => Ended::NoRoom(until),
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
    pub(super) async fn order_again(
        self: &Arc<Self>,
        name: &CertificateName,
        purpose: Purpose,
        replaced: Option<Certificate>,
    ) -> Outcome<()> {
        let (this, joined) = (self.clone(), name);
        let name = name.clone();
        let work = move || async move {
            let registered = this.rules().approvals.is_registered(&name);
            let certificate = this.rules().obtain.renew(&name, purpose, replaced).await?;
            if registered {
                this.still_wanted(&certificate, None).await?;
            }
            this.renewed(certificate);
            Ok(Arc::new(()))
        };
        self.renewals.join(joined, work)?.wait().await
    }

    /// Takes in what the store has of how an authority does, as another machine changed that.
    pub async fn look_at_authority(&self, name: &str) -> Result<(), Error> {
        self.rules().obtain.authorities.look_again(name).await
    }

    /// Counts the certificates near their end, for ever; apart from renewing, which may take long
    /// just when the count matters.
    pub async fn count_ends(&self) {
        loop {
            self.count_ends_once().await;
            sleep(COUNT).await;
        }
    }

    /// Counts what is due, late and parked; tells of what is late in the log, once an hour.
    async fn count_late(&self, now: UnixTime) -> Result<(), Error> {
        static TOLD: Seldom = Seldom::new(TELL);
        let (late, first) = self.store.late(now).await?;
        let parked = self.store.parked().await?;
        let due = self.store.count_due(now, MOST_COUNTED).await?;
        self.metrics.renewals_due.set(i64::try_from(due).unwrap_or(i64::MAX));
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

/// Says now and then that renewals wait.
fn tell_no_room(until: UnixTime, rest: Duration) {
    static TOLD: Seldom = Seldom::new(Duration::from_secs(10 * 60));
    if let Some(unsaid) = TOLD.permit() {
        let rest = rest.as_secs();
        tracing::info!(%until, rest, unsaid, "renewals wait, as no authority has room for them; new names go on");
    }
}

pub(super) fn complain(error: &Error, what: &str) {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
    if let Some(unsaid) = COMPLAINTS.permit() {
        tracing::warn!(error = in_full(error), unsaid, "{what}; trying again");
    }
}
