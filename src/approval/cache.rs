//! Verdicts: the configured sites first, then what is registered, then the approval endpoint, each
//! name asked once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Error;
use super::endpoint::{Answer, Endpoint};
use crate::config::Config;
use crate::domain::approval::{DenyReason, Registered, Verdict};
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::hostname::{CertificateName, Hostname};
use crate::telemetry::metrics::Metrics;

/// How long a yes that ran out is used while the endpoint cannot be asked.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// How far a clock may be set back by what sets it right.
const SKEW: Duration = Duration::from_secs(60);
/// How long a fault of the endpoint is remembered for a name, to spare both of them.
const FAULT: Duration = Duration::from_secs(1);

/// Decides whether a certificate may be obtained for a hostname.
pub struct Approvals {
    known: Known,
    registered: Option<Arc<dyn Registered>>,
    asked: Option<Arc<Asked>>,
}

/// What the configuration alone says.
struct Known {
    sites: HashMap<CertificateName, Arc<str>>,
    platforms: Vec<Hostname>,
}

/// The endpoint with what it said before.
struct Asked {
    endpoint: Endpoint,
    keep: Duration,
    clock: Arc<dyn Clock>,
    kept: moka::sync::Cache<Hostname, Kept>,
    /// Questions under way.
    flights: Mutex<HashMap<Hostname, Flight>>,
    metrics: Arc<Metrics>,
}

type Flight = Shared<BoxFuture<'static, Verdict>>;

#[derive(Clone)]
struct Kept {
    verdict: Verdict,
    /// When it was given.
    at: UnixTime,
    /// Before this moment it is used without asking.
    fresh_until: UnixTime,
    /// Before this moment a yes is used where the endpoint cannot be asked.
    stale_until: UnixTime,
}

impl Approvals {
    /// Decides by `config`: sites, platform domains, the approval endpoint.
    ///
    /// Fails where no HTTP client can be made for the endpoint.
    pub fn new(config: &Config, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let sites = config
            .sites
            .iter()
            .flat_map(|site| site.hostnames.iter().map(|name| (name.clone(), site.name.clone())))
            .collect();
        let platforms = config.platforms.iter().map(|platform| platform.domain.clone()).collect();
        let asked = Endpoint::new(&config.on_demand, metrics.clone())?.map(|endpoint| {
            Arc::new(Asked {
                endpoint,
                keep: config.on_demand.approval_cache,
                clock,
                kept: moka::sync::Cache::new(config.on_demand.approval_cache_size),
                flights: Mutex::default(),
                metrics,
            })
        });
        Ok(Self { known: Known { sites, platforms }, registered: None, asked })
    }

    /// With the hostnames that are registered, beside the configuration.
    pub fn with_registered(self, registered: Arc<dyn Registered>) -> Self {
        Self { registered: Some(registered), ..self }
    }

    /// With the verdicts that `before` has, where both ask the same endpoint.
    pub fn with_verdicts_of(mut self, before: &Self) -> Self {
        if let (Some(asked), Some(before)) = (&mut self.asked, &before.asked)
            && asked.endpoint.asks_as(&before.endpoint)
            && asked.kept.policy().max_capacity() == before.kept.policy().max_capacity()
            && let Some(asked) = Arc::get_mut(asked)
        {
            asked.kept = before.kept.clone();
        }
        self
    }

    /// The decision on `hostname`, asking the endpoint where nothing else knows.
    ///
    /// - `client`: told to the endpoint where this caller is the one that makes it be asked
    pub async fn decide(&self, hostname: &Hostname, client: Option<IpAddr>) -> Verdict {
        if let Some(verdict) = self.known.verdict(hostname) {
            return verdict;
        }
        match self.look_up(&hostname.into()).await {
            Some(verdict) => verdict,
            None => self.ask(hostname, client).await,
        }
    }

    /// The decision on a wildcard: the configured sites and what is registered alone have any.
    pub async fn decide_wildcard(&self, name: &CertificateName) -> Verdict {
        if let Some(site) = self.known.sites.get(name) {
            return Verdict::Approved { site: site.clone() };
        }
        self.look_up(name).await.unwrap_or(Verdict::Denied(DenyReason::WildcardOfNobody))
    }

    /// What the store has of `name`. A name that memory does not have, once it has everything, is not asked
    /// about; one that it has may have been deleted a moment ago.
    async fn look_up(&self, name: &CertificateName) -> Option<Verdict> {
        let registered = self.registered.as_ref()?;
        if registered.is_complete() && registered.site(name).is_none() {
            return None;
        }
        match registered.look_up(name).await {
            Ok(site) => site.map(|site| Verdict::Approved { site }),
            Err(why) => Some(Verdict::Unknown(why)),
        }
    }

    /// The decision on `hostname` as if no site listed it and nobody had registered it.
    pub async fn decide_as_a_stranger(&self, hostname: &Hostname) -> Verdict {
        match self.known.under_platform(hostname) {
            Some(denied) => denied,
            None => self.ask(hostname, None).await,
        }
    }

    async fn ask(&self, hostname: &Hostname, client: Option<IpAddr>) -> Verdict {
        match &self.asked {
            None => Verdict::Denied(DenyReason::NobodyKnowsIt),
            Some(asked) => asked.decide(hostname, client).await,
        }
    }

    /// The decision as far as memory has it; never waits. `None`: [`Approvals::decide`] knows.
    pub fn cached(&self, hostname: &Hostname) -> Option<Verdict> {
        let known = self.known.verdict(hostname).or_else(|| self.registered(&hostname.into()));
        known.or_else(|| match &self.asked {
            Some(asked) => asked.fresh(hostname),
            None if self.registered.as_ref().is_some_and(|registered| !registered.is_complete()) => None,
            None => Some(Verdict::Denied(DenyReason::NobodyKnowsIt)),
        })
    }

    /// Whether `name` is registered, as far as memory has it.
    pub fn is_registered(&self, name: &CertificateName) -> bool {
        self.registered(name).is_some()
    }

    fn registered(&self, name: &CertificateName) -> Option<Verdict> {
        let site = self.registered.as_ref()?.site(name)?;
        Some(Verdict::Approved { site })
    }

    /// Asks the endpoint about a hostname that nobody can have; whether it said yes.
    ///
    /// Such an endpoint lets anybody fill the certificates' quota, so it is warned of loudly.
    pub async fn warn_if_it_says_yes_to_everything(&self) -> bool {
        let Some(asked) = &self.asked else { return false };
        let canary = format!("{:016x}.nameplate-canary.example.com", rand::random::<u64>());
        let Ok(canary) = canary.parse::<Hostname>() else { return false };
        let said_yes = matches!(asked.endpoint.ask(&canary, None).await.verdict, Verdict::Approved { .. });
        if said_yes {
            tracing::error!(
                %canary,
                "THE APPROVAL ENDPOINT SAYS YES TO EVERYTHING: it approved a random hostname that nobody has. \
                 Anybody can make this edge obtain certificates without end. Let it answer 404 for hostnames \
                 that are not your customers'"
            );
        }
        said_yes
    }

    /// How many verdicts of the endpoint are in memory, give or take those being evicted.
    pub fn kept(&self) -> u64 {
        self.asked.as_ref().map_or(0, |asked| {
            asked.kept.run_pending_tasks();
            asked.kept.entry_count()
        })
    }
}

impl Known {
    fn verdict(&self, hostname: &Hostname) -> Option<Verdict> {
        let wildcard = || CertificateName::wildcard_of(hostname).and_then(|name| self.sites.get(&name));
        if let Some(site) = self.sites.get(hostname.as_str()).or_else(wildcard) {
            return Some(Verdict::Approved { site: site.clone() });
        }
        self.under_platform(hostname)
    }

    fn under_platform(&self, hostname: &Hostname) -> Option<Verdict> {
        let platform =
            self.platforms.iter().find(|domain| *domain == hostname || domain.as_str() == hostname.parent());
        platform.map(|domain| Verdict::Denied(DenyReason::UnderPlatform { domain: domain.as_str().into() }))
    }
}

impl Asked {
    fn fresh(&self, hostname: &Hostname) -> Option<Verdict> {
        let kept = self.kept.get(hostname)?;
        let now = self.clock.now();
        // One of the future was given before the clock was set back.
        if now >= kept.fresh_until || now.plus(SKEW) < kept.at {
            return None;
        }
        self.metrics.approvals.with_label_values(&["cached"]).inc();
        Some(kept.verdict)
    }

    async fn decide(self: &Arc<Self>, hostname: &Hostname, client: Option<IpAddr>) -> Verdict {
        if let Some(verdict) = self.fresh(hostname) {
            return verdict;
        }
        let (tell, told) = oneshot::channel();
        let flight = {
            let mut flights = self.flights.lock();
            if let Some(flight) = flights.get(hostname) {
                flight.clone()
            } else if let Some(verdict) = self.fresh(hostname) {
                // Another question ended between the look above and the lock.
                return verdict;
            } else {
                let given_up = |_| Verdict::Unknown("the question was given up as the process stops".into());
                let flight = told.map(move |verdict| verdict.unwrap_or_else(given_up)).boxed().shared();
                flights.insert(hostname.clone(), flight.clone());
                drop(flights);
                self.start(hostname, client, tell);
                flight
            }
        };
        flight.await
    }

    /// Asks in a task of its own: a caller that goes away changes nothing for the others.
    fn start(self: &Arc<Self>, hostname: &Hostname, client: Option<IpAddr>, tell: oneshot::Sender<Verdict>) {
        let landing = Landing { asked: self.clone(), hostname: hostname.clone() };
        tokio::spawn(async move {
            let answer = landing.asked.endpoint.ask(&landing.hostname, client).await;
            // Kept before the flight leaves the map, so that nobody asks in between.
            let verdict = landing.asked.keep(&landing.hostname, answer);
            drop(landing);
            // Nobody waits any more where this fails.
            let _gone = tell.send(verdict);
        });
    }

    /// Keeps `answer` for as long as it may be; returns the verdict to act on.
    fn keep(&self, hostname: &Hostname, answer: Answer) -> Verdict {
        let now = self.clock.now();
        if answer.shed {
            return self.stale(hostname, now).map_or(answer.verdict, |kept| kept.verdict);
        }
        if let Verdict::Unknown(_) = &answer.verdict {
            let fresh_until = now.plus(FAULT);
            let kept = match self.stale(hostname, now) {
                Some(stale) => Kept { at: now, fresh_until, ..stale },
                None => Kept { verdict: answer.verdict, at: now, fresh_until, stale_until: fresh_until },
            };
            self.kept.insert(hostname.clone(), kept.clone());
            return kept.verdict;
        }
        let keep = answer.max_age.unwrap_or(self.keep);
        if keep.is_zero() {
            self.kept.invalidate(hostname);
        } else {
            let fresh_until = now.plus(keep);
            let stale_until = fresh_until.plus(STALE);
            let kept = Kept { verdict: answer.verdict.clone(), at: now, fresh_until, stale_until };
            self.kept.insert(hostname.clone(), kept);
        }
        answer.verdict
    }

    /// A yes that ran out, but not too long ago. A no is not used again: it is asked about.
    fn stale(&self, hostname: &Hostname, now: UnixTime) -> Option<Kept> {
        let kept = self.kept.get(hostname)?;
        let usable = matches!(kept.verdict, Verdict::Approved { .. }) && now < kept.stale_until;
        if usable {
            self.metrics.approvals.with_label_values(&["stale"]).inc();
        }
        usable.then_some(kept)
    }
}

/// Takes a flight out of the map when its task ends, however it ends.
struct Landing {
    asked: Arc<Asked>,
    hostname: Hostname,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.asked.flights.lock().remove(&self.hostname);
    }
}
