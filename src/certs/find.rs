//! Finding the certificate of a hostname: memory, this machine's disk, the store, an authority.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use moka::sync::Cache;
use tokio::runtime::Handle;

use super::flight::{Flights, Landing, Outcome};
use super::index::Index;
use super::known::Known;
use super::own::{Found, FromFiles, Owned};
use super::revoke::Revoked;
use super::rules::Rules;
use super::{Prepare, Refusal, in_full};
use crate::domain::approval::Verdict;
use crate::domain::certificate::Certificate;
use crate::domain::clock::Clock;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::store::local::LocalTier;
use crate::store::own::AllCertificates;
use crate::store::{Attempt, Error};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// Flights at once for each order that may be under way: the others wait or are being asked about.
const FLIGHTS_PER_ORDER: usize = 32;
/// Failed attempts that are remembered in memory.
const FAILURES_REMEMBERED: u64 = 100_000;

/// What finding needs.
pub struct Parts<P: Prepare> {
    /// Makes certificates ready.
    pub prepare: P,
    /// The durable state.
    pub store: Arc<dyn AllCertificates>,
    /// This machine's own copies.
    pub local: Arc<LocalTier>,
    /// What holds at first.
    pub rules: Rules,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Certificates ready in memory at most.
    pub hot: u64,
    /// Where the work behind a miss runs, so that no handshake's thread has to stay for it.
    pub runtime: Handle,
}

/// All certificates this machine can serve or obtain.
pub struct Certificates<P: Prepare> {
    pub(super) prepare: P,
    pub(super) index: Index<P::Ready>,
    pub(super) owned: Owned,
    pub(super) files: parking_lot::Mutex<FromFiles>,
    pub(super) known: Arc<Known>,
    pub(super) revoked: Arc<Revoked>,
    pub(super) failures: Cache<CertificateName, Arc<Attempt>>,
    flights: Flights<P::Ready>,
    rules: ArcSwap<Rules>,
    /// Apart from the flights: a handshake never waits for one of these.
    pub(super) renewals: Flights<()>,
    pub(super) store: Arc<dyn AllCertificates>,
    pub(super) local: Arc<LocalTier>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

/// Where a certificate was found.
#[derive(Clone, Copy)]
enum Place {
    Local,
    Store,
    Obtained,
}

impl Place {
    /// The value of the metric's label `result`.
    fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Store => "store",
            Self::Obtained => "obtained",
        }
    }
}

/// What this machine's disk or the store has for a hostname.
enum Loaded<R> {
    /// What its organization brought; in memory already.
    Own(Arc<R>, Place),
    /// What was obtained or imported.
    Filed(Certificate, Place),
}

impl<P: Prepare> Certificates<P> {
    /// Puts the parts together. Nothing is read yet; [`Certificates::read_names`] does that.
    pub fn new(parts: Parts<P>) -> Arc<Self> {
        let (orders, revoked) = (parts.rules.orders, parts.rules.obtain.revoked.clone());
        let rules = ArcSwap::from_pointee(parts.rules);
        Arc::new(Self {
            prepare: parts.prepare,
            index: Index::new(parts.hot),
            owned: Owned::default(),
            files: parking_lot::Mutex::default(),
            known: Arc::default(),
            revoked,
            failures: Cache::new(FAILURES_REMEMBERED),
            flights: Flights::new(orders.saturating_mul(FLIGHTS_PER_ORDER), parts.runtime.clone()),
            renewals: Flights::new(orders, parts.runtime),
            rules,
            store: parts.store,
            local: parts.local,
            clock: parts.clock,
            metrics: parts.metrics,
        })
    }

    /// What holds now.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Lets `rules` hold for all that begins from now on.
    pub fn set_rules(&self, rules: Rules) {
        self.flights.allow(rules.orders.saturating_mul(FLIGHTS_PER_ORDER));
        self.renewals.allow(rules.orders);
        self.rules.store(Arc::new(rules));
    }

    /// What memory holds for `hostname`: its own certificate, else a wildcard's. No I/O, no lock.
    pub fn hot(&self, hostname: &Hostname) -> Option<Arc<P::Ready>> {
        self.index.find(hostname, self.clock.now())
    }

    /// Whether `hostname` is refused by what is in memory. No I/O.
    ///
    /// A name that may have a certificate is never refused here: approval and failures gate
    /// obtaining, not serving.
    pub fn refused(&self, hostname: &Hostname) -> Option<Refusal> {
        if !self.candidates(hostname).is_empty() {
            return None;
        }
        if let Err(why) = hostname.obtainable() {
            return Some(why.into());
        }
        let rules = self.rules.load();
        if let Some(platform) = rules.platform_of(hostname) {
            return self.failed(platform.name_of(hostname).as_str()).map(Refusal::Failed);
        }
        if let Some(attempt) = self.failed(hostname.as_str()) {
            return Some(Refusal::Failed(attempt));
        }
        match rules.approvals.cached(hostname) {
            Some(Verdict::Denied(reason)) => Some(Refusal::Denied(reason)),
            Some(Verdict::Approved { .. }) => None,
            _ if self.flights.holds(hostname.as_str()) => None,
            _ => rules.budget.refuses(hostname, Instant::now()).map(Refusal::from),
        }
    }

    /// The certificate of `hostname`, obtained where it must be. Waits at most as long as the
    /// configuration says; the work goes on without the caller.
    pub async fn find(
        self: &Arc<Self>,
        hostname: &Hostname,
        client: IpAddr,
    ) -> Result<Arc<P::Ready>, Refusal> {
        if let Some(ready) = self.hot(hostname) {
            return Ok(ready);
        }
        if let Some(refusal) = self.refused(hostname) {
            return Err(refusal);
        }
        self.within_budget(hostname, client)?;
        let landing = self.take_off(hostname, Some(client))?;
        let wait = self.rules.load().wait;
        match tokio::time::timeout(wait, landing.wait()).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(Refusal::Pending),
        }
    }

    /// Takes a new name out of the budgets: one that may have no certificate, that is not approved
    /// as far as memory knows, and that nobody waits for yet.
    fn within_budget(&self, hostname: &Hostname, client: IpAddr) -> Result<(), Refusal> {
        let rules = self.rules.load();
        let approved = || {
            rules.platform_of(hostname).is_some()
                || matches!(rules.approvals.cached(hostname), Some(Verdict::Approved { .. }))
        };
        if !self.candidates(hostname).is_empty() || approved() || self.flights.holds(hostname.as_str()) {
            return Ok(());
        }
        Ok(rules.budget.take(hostname, client, Instant::now())?)
    }

    /// Takes `certificate` in memory, unless its name has its own one there that is valid,
    /// or one from files.
    pub fn keep_hot(&self, certificate: &Certificate) -> Result<Arc<P::Ready>, Refusal> {
        if self.revoked.has(certificate) {
            return Err(Refusal::Fault(
                format!("the certificate of {} was revoked", certificate.name).into(),
            ));
        }
        let entry = self.entry_of(&[certificate], false)?;
        self.index.insert_obtained(&certificate.name, entry.clone(), self.clock.now());
        self.metrics.certificates_hot.set(i64::try_from(self.index.len()).unwrap_or(i64::MAX));
        Ok(entry.ready)
    }

    /// Makes `certificate` ready without keeping it.
    pub fn ready(&self, certificate: &Certificate) -> Result<Arc<P::Ready>, Refusal> {
        Ok(self.entry_of(&[certificate], false)?.ready)
    }

    /// Where it is counted.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// How many certificates are in memory, about.
    pub fn hot_count(&self) -> u64 {
        self.index.len()
    }

    /// Flights and renewals under way.
    pub fn flights(&self) -> usize {
        self.flights.len() + self.renewals.len()
    }

    /// Waits until the flights and renewals that are under way now have ended.
    pub async fn all_landed(&self) {
        self.flights.all_landed().await;
        self.renewals.all_landed().await;
    }

    /// Finds or obtains what serves `hostname`.
    ///
    /// - `client`: whose handshake waits for it; `None`: nobody's.
    fn take_off(
        self: &Arc<Self>,
        hostname: &Hostname,
        client: Option<IpAddr>,
    ) -> Result<Landing<P::Ready>, Refusal> {
        let candidates = self.candidates(hostname);
        let wanted = self.rules.load().name_for(hostname);
        // Where a certificate of its own may be there, the flight is its own.
        let flight = if candidates.is_empty() { wanted.clone() } else { CertificateName::from(hostname) };
        let this = self.clone();
        self.flights.join(&flight, move || async move { this.fly(candidates, &wanted, client).await })
    }

    /// Finds or obtains the certificate of exactly this name.
    pub(super) fn take_off_for(
        self: &Arc<Self>,
        name: &CertificateName,
    ) -> Result<Landing<P::Ready>, Refusal> {
        let (this, name) = (self.clone(), name.clone());
        let candidates = Vec::from_iter(self.known.maybe(&name).then(|| name.clone()));
        self.flights.join(&name.clone(), move || async move { this.fly(candidates, &name, None).await })
    }

    /// The work behind a miss: disk, store, approval, authority.
    ///
    /// - `candidates`: whose certificate would serve, where one is there
    /// - `wanted`: the name to obtain one for, where none is
    async fn fly(
        &self,
        candidates: Vec<CertificateName>,
        wanted: &CertificateName,
        client: Option<IpAddr>,
    ) -> Outcome<P::Ready> {
        let count = |place: Place| self.metrics.certificate_lookups.with_label_values(&[place.label()]).inc();
        let (certificate, place) = match self.load(candidates).await? {
            Some(Loaded::Own(ready, place)) => {
                count(place);
                return Ok(ready);
            }
            Some(Loaded::Filed(certificate, place)) => (certificate, place),
            None => (self.obtain_wanted(wanted, client).await?, Place::Obtained),
        };
        count(place);
        let (certificate, ready, place) = match (self.keep_hot(&certificate), place) {
            (Ok(ready), place) => (certificate, ready, place),
            (Err(refusal), Place::Obtained) => return Err(refusal),
            // The TLS library does not take what was stored, so it is of no use to anybody.
            (Err(refusal), _) => {
                self.quarantine(&certificate.name, &refusal.to_string()).await?;
                let obtained = self.obtain_wanted(wanted, client).await?;
                let ready = self.keep_hot(&obtained)?;
                (obtained, ready, Place::Obtained)
            }
        };
        if !self.known.maybe(&certificate.name) {
            // Whoever took it out of service meanwhile did not find it in memory.
            self.index.remove(&certificate.name);
        } else if !matches!(place, Place::Local) {
            self.keep_local(certificate);
        }
        Ok(ready)
    }

    /// A certificate that this machine's disk or the store has and that is valid now.
    async fn load(&self, candidates: Vec<CertificateName>) -> Result<Option<Loaded<P::Ready>>, Refusal> {
        let own = |found| match found {
            Found::Local(ready) => Some(Loaded::Own(ready, Place::Local)),
            Found::Stored(ready) => Some(Loaded::Own(ready, Place::Store)),
            Found::None | Found::Fault(_) => None,
        };
        for name in candidates {
            let mut found = self.own(&name, false).await;
            if let Found::None | Found::Fault(_) = found {
                if let Some(certificate) = self.load_local(&name).await {
                    return Ok(Some(Loaded::Filed(certificate, Place::Local)));
                }
                found = match found {
                    Found::None => self.own(&name, true).await,
                    fault => fault,
                };
            }
            // Whether there is an own one is not known: no other one is ordered in its place.
            if let Found::Fault(refusal) = found {
                return Err(refusal);
            }
            if let Some(loaded) = own(found) {
                return Ok(Some(loaded));
            }
            if let Some(certificate) = self.load_stored(&name).await? {
                return Ok(Some(Loaded::Filed(certificate, Place::Store)));
            }
        }
        Ok(None)
    }

    pub(super) fn serves(&self, certificate: &Certificate) -> bool {
        certificate.validity.holds(self.clock.now()) && !self.revoked.has(certificate)
    }

    async fn load_local(&self, name: &CertificateName) -> Option<Certificate> {
        match self.local.load(name).await {
            Ok(found) => found.filter(|certificate| self.serves(certificate)),
            Err(error) => {
                tracing::warn!(%name, error = in_full(&error), "the local copy is unusable");
                if error.is_of_the_record() {
                    self.metrics.records_quarantined.with_label_values(&["local"]).inc();
                }
                None
            }
        }
    }

    async fn load_stored(&self, name: &CertificateName) -> Result<Option<Certificate>, Refusal> {
        match self.store.certificate(name).await {
            Ok(found) => Ok(found.filter(|certificate| self.serves(certificate))),
            Err(error) if error.is_of_the_record() => {
                self.quarantine(name, &in_full(&error)).await?;
                Ok(None)
            }
            Err(error) => Err(fault(name, &error)),
        }
    }

    /// Takes a stored certificate that cannot be used out of use, so that another one is obtained.
    async fn quarantine(&self, name: &CertificateName, why: &str) -> Result<(), Refusal> {
        let moved = self.store.quarantine(name, why).await.map_err(|error| fault(name, &error))?;
        if let Err(error) = self.local.forget(name).await {
            tracing::warn!(%name, error = in_full(&error), "the local copy could not be removed");
        }
        if moved {
            self.metrics.records_quarantined.with_label_values(&["store"]).inc();
            tracing::error!(%name, why, "its stored certificate is damaged; it is kept aside in the table \
                quarantine, and another one is obtained");
        }
        Ok(())
    }

    /// As [`Certificates::obtain_approved`]; what is no longer wanted when it comes is not served.
    async fn obtain_wanted(
        &self,
        name: &CertificateName,
        client: Option<IpAddr>,
    ) -> Result<Certificate, Refusal> {
        let certificate = self.obtain_approved(name, client).await?;
        self.known.insert(name);
        let wanted = self.still_wanted(&certificate, client).await;
        wanted.inspect_err(|_| self.known.remove(name)).map(|()| certificate)
    }

    /// Withholds a certificate that came after its hostname had gone.
    pub(super) async fn still_wanted(
        &self,
        certificate: &Certificate,
        client: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let name = &certificate.name;
        let Verdict::Denied(reason) = self.rules().decide(name, client).await else { return Ok(()) };
        self.store.withhold(name).await.map_err(|error| fault(name, &error))?;
        tracing::info!(hostname = %name, %reason, "it is no longer wanted, so its new certificate is not served");
        Err(Refusal::Denied(reason))
    }

    async fn obtain_approved(
        &self,
        name: &CertificateName,
        client: Option<IpAddr>,
    ) -> Result<Certificate, Refusal> {
        name.obtainable()?;
        if let Some(attempt) = self.failed(name.as_str()) {
            return Err(Refusal::Failed(attempt));
        }
        let rules = self.rules();
        match rules.decide(name, client).await {
            Verdict::Approved { .. } => {}
            Verdict::Denied(reason) => return Err(Refusal::Denied(reason)),
            // It is the store that could not be asked.
            Verdict::Unknown(why) if rules.approvals.is_registered(name) => {
                return Err(store_failed(name, why));
            }
            Verdict::Unknown(why) => return Err(Refusal::CouldNotAsk(why)),
        }
        let outcome = rules.obtain.obtain(name).await;
        if let Err(Refusal::Failed(attempt)) = &outcome {
            self.failures.insert(name.clone(), attempt.clone());
        }
        outcome
    }

    /// The names whose certificate would serve `hostname` and that may have one: the exact one
    /// first.
    fn candidates(&self, hostname: &Hostname) -> Vec<CertificateName> {
        let mut names = vec![CertificateName::from(hostname)];
        names.extend(CertificateName::wildcard_of(hostname));
        names.retain(|name| self.known.maybe(name));
        names
    }

    /// The last attempt, where it failed and the next one is not due yet.
    fn failed(&self, name: &str) -> Option<Arc<Attempt>> {
        let attempt = self.failures.get(name)?;
        attempt.forbids_another(self.clock.now()).then_some(attempt)
    }

    /// Puts a renewed certificate in the place of the one before it: on this machine's disk, and in
    /// memory where that one is.
    pub(super) fn renewed(&self, certificate: Certificate) {
        if self.index.holds(&certificate.name)
            && let Err(refusal) = self.keep_hot(&certificate)
        {
            tracing::error!(name = %certificate.name, %refusal, "a renewed certificate is not in service");
        }
        self.keep_local(certificate);
    }

    /// Copies a certificate to this machine's disk, beside the handshake that waits for it. The name is
    /// known already; where it is not any more when the copy is there, somebody has taken it out of service.
    pub(super) fn keep_local(&self, certificate: Certificate) {
        if self.revoked.has(&certificate) {
            return;
        }
        let (local, known) = (self.local.clone(), self.known.clone());
        tokio::spawn(async move {
            let name = &certificate.name;
            let mut kept = local.keep(&certificate).await;
            if !known.maybe(name) {
                kept = local.forget(name).await;
            }
            if let Err(error) = kept {
                tracing::warn!(%name, error = in_full(&error), "no local copy was kept");
            }
        });
    }
}

/// A store that fails never leads to an order.
pub(super) fn fault(name: &CertificateName, error: &Error) -> Refusal {
    store_failed(name, in_full(error).into())
}

/// - `why`: what the store said
fn store_failed(name: &CertificateName, why: Arc<str>) -> Refusal {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(10));
    if let Some(unsaid) = COMPLAINTS.permit() {
        tracing::error!(%name, error = %why, unsaid, "the store failed; nothing is ordered meanwhile");
    }
    Refusal::Fault(why)
}
