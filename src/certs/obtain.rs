//! The one road to the authorities: no lease, no order; no save, no serve.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::back_off;
use super::bridge::Turn;
use super::find::fault;
use super::revoke::Revoked;
use super::write_back::WriteBack;
use super::{Refusal, in_full};
use crate::acme::Error as AcmeError;
use crate::acme::authority::Authorities;
use crate::acme::bridge::{Bridge, Lock};
use crate::acme::place::Occasion;
use crate::dns::check::Check;
use crate::dns::{Finding, Misled};
use crate::domain::budget::Purpose;
use crate::domain::certificate::{Certificate, Source, Validity};
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::hostname::CertificateName;
use crate::store::{Attempt, Error, LEASE_RENEWAL, LEASE_TTL, Lease, Store};
use crate::telemetry::metrics::Metrics;

/// How often to look whether another holder of the lease is through.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// When a name is looked at again whose DNS stands in the way.
const MISLED: Duration = Duration::from_secs(30);
/// How long another holder is waited for.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Obtains certificates, one order a name.
pub struct Obtain {
    /// The durable state, which leases names.
    pub store: Arc<dyn Store>,
    /// Who gives certificates.
    pub authorities: Arc<Authorities>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Orders under way at most.
    pub slots: Semaphore,
    /// What is not served again.
    pub revoked: Arc<Revoked>,
    /// Looks at a name before it is ordered, where that is configured.
    pub check: Option<Check>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// What an authority gave and the store did not take: saved by the next who asks, without
    /// another word to the authority.
    pub unsaved: Unsaved,
    /// To servers that ours take over from, whose certificates come before an order.
    pub bridge: Option<Arc<Bridge>>,
    /// Puts certificates there too, where that is configured.
    pub write_back: Arc<WriteBack>,
}

/// Certificates that could not be saved, a few of them, for a while. Clones share them.
#[derive(Clone)]
pub struct Unsaved(Cache<CertificateName, Arc<Certificate>>);

impl Default for Unsaved {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(1_000).time_to_live(Duration::from_secs(3600)).build())
    }
}

impl Obtain {
    /// Obtains a certificate for `name`, or takes the one that another holder of the lease
    /// saved meanwhile. Approval is the caller's business.
    ///
    /// Fails with [`Refusal::Failed`] where the authorities gave none or the last attempt was too
    /// short ago, and with [`Refusal::Fault`] where the store failed; then nothing was ordered,
    /// or what was ordered is not served.
    pub async fn obtain(&self, name: &CertificateName) -> Result<Certificate, Refusal> {
        // One that was withheld while the name was gone is found under the lease.
        let back = self.store.bring_back(name).await.map_err(|error| fault(name, &error))?;
        if back {
            tracing::info!(hostname = %name, "the certificate that it had before is in service again");
        }
        self.renew(name, Purpose::NewName, None).await
    }

    /// Lets the next attempt for `name` come before its time: as soon as the authorities' limits on
    /// failed validations allow it. Returns when that is, unless it is now.
    pub async fn forgive(&self, name: &CertificateName) -> Result<Option<UnixTime>, Error> {
        let Some(attempt) = self.store.attempt(name).await? else { return Ok(None) };
        let now = self.clock.now();
        if !attempt.forbids_another(now) {
            return Ok(None);
        }
        let limit = self.authorities.failed_validations();
        let next = back_off::within(now, &attempt.failed_validations, 1, limit);
        self.store.allow_attempt(name, next).await?;
        Ok((next > now).then_some(next))
    }

    /// Whether a certificate that is valid now is stored for `name`; not where the store fails.
    pub async fn has_valid(&self, name: &CertificateName) -> bool {
        matches!(self.saved(name, None).await, Ok(Some(_)))
    }

    /// Obtains a certificate for `name` in place of `replaced`, as [`Obtain::obtain`] does where there is
    /// none; one that another holder of the lease saved since `replaced` was read is taken, unless it ends
    /// when that does, or before it. Where no authority has room for a renewal, nothing is kept of the
    /// attempt ([`Refusal::NoRoom`]).
    pub async fn renew(
        &self,
        name: &CertificateName,
        purpose: Purpose,
        replaced: Option<Certificate>,
    ) -> Result<Certificate, Refusal> {
        let end = replaced.as_ref().map(|replaced| replaced.validity.not_after);
        let _slot = self.slots.acquire().await.map_err(|_closed| Refusal::Busy)?;
        self.earlier(name).await?;
        let Some(lease) = self.lease_or_certificate(name, end).await? else {
            return self.saved(name, end).await?.ok_or(Refusal::Pending);
        };
        let outcome = match self.saved(name, end).await {
            Ok(Some(certificate)) => Ok(certificate),
            // Who had the lease before may have failed.
            Ok(None) => match self.earlier(name).await {
                Ok(earlier) => {
                    let occasion = Occasion { purpose, replaced: replaced.as_ref(), lease: Some(&lease) };
                    self.order(name, &lease, earlier.as_ref(), occasion).await
                }
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        if let Err(error) = self.store.release(&lease).await {
            tracing::warn!(%name, error = in_full(&error), "the lease could not be given back; it runs out");
        }
        outcome
    }

    /// The last attempt for `name`; refuses where it failed and the next one is not due yet.
    async fn earlier(&self, name: &CertificateName) -> Result<Option<Attempt>, Refusal> {
        match self.store.attempt(name).await.map_err(|error| fault(name, &error))? {
            Some(attempt) if attempt.forbids_another(self.clock.now()) => {
                Err(Refusal::Failed(Arc::new(attempt)))
            }
            earlier => Ok(earlier),
        }
    }

    /// The lease on `name`; `None` once another holder saved a certificate.
    async fn lease_or_certificate(
        &self,
        name: &CertificateName,
        end: Option<UnixTime>,
    ) -> Result<Option<Lease>, Refusal> {
        let deadline = Instant::now() + PATIENCE;
        let mut tick = interval(LOOK_AGAIN);
        loop {
            tick.tick().await;
            match self.store.lease(name, LEASE_TTL).await {
                Ok(Some(lease)) => return Ok(Some(lease)),
                Ok(None) if self.saved(name, end).await?.is_some() => return Ok(None),
                Ok(None) if Instant::now() >= deadline => return Err(Refusal::Pending),
                Ok(None) => {}
                Err(error) => return Err(fault(name, &error)),
            }
        }
    }

    async fn saved(
        &self,
        name: &CertificateName,
        end: Option<UnixTime>,
    ) -> Result<Option<Certificate>, Refusal> {
        let saved = self.store.certificate(name).await.map_err(|error| fault(name, &error))?;
        let enough = |validity: Validity| {
            validity.holds(self.clock.now()) && end.is_none_or(|end| validity.not_after > end)
        };
        Ok(saved.filter(|certificate| enough(certificate.validity) && !self.revoked.has(certificate)))
    }

    async fn order(
        &self,
        name: &CertificateName,
        lease: &Lease,
        earlier: Option<&Attempt>,
        occasion: Occasion<'_>,
    ) -> Result<Certificate, Refusal> {
        let replaced = occasion.replaced;
        let end = replaced.map(|replaced| replaced.validity.not_after);
        if let Some(given) = self.unsaved.0.remove(&lease.name)
            && end.is_none_or(|end| given.validity.not_after > end)
        {
            return self.save(name, lease, earlier, given, None).await;
        }
        let lost = || Refusal::Fault("the lease was lost while the order was under way".into());
        let turn = tokio::select! {
            turn = self.turn(name, earlier, replaced).boxed() => turn?,
            () = self.lose(lease) => return Err(lost()),
        };
        let lock = match turn {
            Turn::Taken(certificate) => {
                return self.save(name, lease, earlier, Arc::new(certificate), None).await;
            }
            Turn::Ours(lock) => lock,
        };
        if let Some(why) = self.misled(name).await {
            return Err(self.note_misled(name, earlier, &why).await);
        }
        let ordered = tokio::select! {
            ordered = self.authorities.obtain_for(&lease.name, occasion).boxed() => Some(ordered),
            () = self.lose(lease) => None,
        };
        match ordered {
            Some(Ok(certificate)) => self.save(name, lease, earlier, Arc::new(certificate), lock).await,
            Some(Err(error)) if let Some(until) = no_room(&error, occasion.purpose) => {
                Err(Refusal::NoRoom(until))
            }
            Some(Err(error)) if error.is_of_a_lost_lease() => Err(lost()),
            Some(Err(error)) => Err(self.note_failure(name, earlier, &error).await),
            None => Err(lost()),
        }
    }

    /// - `lock`: what keeps other servers from ordering it until they can find it
    async fn save(
        &self,
        name: &CertificateName,
        lease: &Lease,
        earlier: Option<&Attempt>,
        certificate: Arc<Certificate>,
        lock: Option<Lock>,
    ) -> Result<Certificate, Refusal> {
        if let Err(error) = self.store.save(lease, &certificate).await {
            // Not where another holder of the lease has been quicker.
            if !matches!(error, Error::StaleLease { .. }) {
                self.unsaved.0.insert(lease.name.clone(), certificate);
            }
            return Err(fault(&lease.name, &error));
        }
        let how = match certificate.source {
            Source::Authority(_) => {
                self.write_back.note(name, lock);
                "obtained"
            }
            Source::Imported | Source::File | Source::Own(_) => "taken over from the Redis of the bridge",
        };
        let report = format!("{how}, valid until {}", certificate.validity.not_after);
        tracing::info!(hostname = %name, "certificate {report}");
        let (at, limit) = (self.clock.now(), self.authorities.failed_validations());
        let failed = earlier.map(|earlier| back_off::counted(&earlier.failed_validations, at, limit));
        let failed_validations = failed.unwrap_or_default();
        let attempt = Attempt { at, failures: 0, next: None, report, failed_validations };
        self.record(name, &attempt).await;
        Ok(Arc::unwrap_or_clone(certificate))
    }

    /// Why an order for `name` would be in vain, as far as DNS tells.
    pub(super) async fn misled(&self, name: &CertificateName) -> Option<Misled> {
        let check = self.check.as_ref()?;
        let by_dns = self.authorities.by_dns(name).await;
        let (result, misled) = match check.look(name, by_dns).await {
            Finding::Leads => ("leads", None),
            Finding::Misled(why) => ("misled", Some(why)),
            Finding::Unknown(why) => {
                tracing::debug!(hostname = %name, why, "what DNS says could not be looked up; it is ordered all the same");
                ("unknown", None)
            }
        };
        self.metrics.dns_checks.with_label_values(&[result]).inc();
        misled
    }

    /// Keeps that nothing was ordered. No authority counts that, and whoever corrects a record wants
    /// to see it soon, so it is looked at again after the same short time however often that was.
    async fn note_misled(&self, name: &CertificateName, earlier: Option<&Attempt>, why: &Misled) -> Refusal {
        let now = self.clock.now();
        let next = now.plus(MISLED);
        let report = format!("nothing was ordered: {why}");
        tracing::warn!(hostname = %name, %next, %why, "nothing was ordered, as DNS stands in the way");
        let failures = earlier.map_or(0, |earlier| earlier.failures).max(1);
        let failed_validations =
            earlier.map(|earlier| earlier.failed_validations.clone()).unwrap_or_default();
        let attempt = Attempt { at: now, failures, next: Some(next), report, failed_validations };
        self.record(name, &attempt).await;
        Refusal::Failed(Arc::new(attempt))
    }

    /// Renews the lease for as long as it can be; ends when it is lost.
    async fn lose(&self, lease: &Lease) {
        let mut tick = interval(LEASE_RENEWAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tick.tick().await;
            match self.store.renew_lease(lease, LEASE_TTL).await {
                Ok(()) => {}
                Err(Error::StaleLease { .. }) => return,
                // The save will show whether the lease still stands.
                Err(error) => {
                    tracing::warn!(name = %lease.name, error = in_full(&error), "the lease could not be renewed");
                }
            }
        }
    }

    async fn note_failure(
        &self,
        name: &CertificateName,
        earlier: Option<&Attempt>,
        error: &AcmeError,
    ) -> Refusal {
        let (now, draw) = (self.clock.now(), rand::random());
        let before = earlier.map_or(0, |earlier| earlier.failures);
        let (failures, pause) = if error.concerns_the_name() {
            let pause = back_off::pause(before, draw).max(error.retry_after().unwrap_or_default());
            (before.saturating_add(1), pause)
        } else {
            (before.max(1), back_off::blameless_pause(error.retry_after(), draw))
        };
        let limit = self.authorities.failed_validations();
        let earlier = earlier.map(|earlier| back_off::counted(&earlier.failed_validations, now, limit));
        let mut failed_validations = earlier.unwrap_or_default();
        let failed = error.failed_validations();
        if limit.is_some() {
            failed_validations.extend(std::iter::repeat_n(now, failed));
        }
        let next = back_off::within(now.plus(pause), &failed_validations, failed.max(1), limit);
        let report = in_full(error);
        tracing::warn!(hostname = %name, %next, failures, "no certificate: {report}");
        let attempt = Attempt { at: now, failures, next: Some(next), report, failed_validations };
        self.record(name, &attempt).await;
        Refusal::Failed(Arc::new(attempt))
    }

    pub(super) async fn record(&self, name: &CertificateName, attempt: &Attempt) {
        if let Err(error) = self.store.record_attempt(name, attempt).await {
            tracing::warn!(hostname = %name, error = in_full(&error), "the attempt could not be recorded");
        }
    }
}

/// From when on an authority may have room, where none has any and a renewal waits for that. A new name is
/// told its failure, as somebody waits for it.
fn no_room(error: &AcmeError, purpose: Purpose) -> Option<UnixTime> {
    match purpose {
        Purpose::NewName => None,
        Purpose::Renewal | Purpose::LateRenewal => error.no_room_until(),
    }
}
