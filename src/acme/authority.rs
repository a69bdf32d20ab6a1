//! All configured authorities, tried in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OnceCell;

use super::account::Accounts;
use super::dns01::Dns01;
use super::health::{Breaker, Turn};
use super::http::Http;
use super::information::Suggestion;
use super::internal::InternalCa;
use super::limits;
use super::order::{Answers, Orders};
use super::place::Occasion;
use super::{Cause, Error, Failure, Step};
use crate::config::{self, Directory, Rate};
use crate::domain::certificate::{Certificate, KeyType, Source};
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::hostname::CertificateName;
use crate::domain::revocation::Reason;
use crate::store::{Health, Store};
use crate::telemetry::metrics::Metrics;

/// Obtains certificates from the configured authorities.
///
/// It places an order whenever it is asked: to ask once for a name, and only for names that are
/// wanted, is the caller's part.
pub struct Authorities {
    list: Vec<Authority>,
    dns01: Option<Arc<Dns01>>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

struct Authority {
    name: Arc<str>,
    kind: Kind,
    breaker: Breaker,
    /// Set once what was kept of its health is read.
    resumed: OnceCell<()>,
    failed_validations: Option<Rate>,
}

enum Kind {
    Internal { ca: Box<InternalCa>, key_type: KeyType },
    Acme(Box<Orders>),
}

impl Authorities {
    /// Opens the internal CA where one is configured; asks no authority anything yet.
    ///
    /// Fails on files that cannot be read, written or used.
    pub fn new(
        configured: &[config::Authority],
        data_dir: &Path,
        store: Arc<dyn Store>,
        answers: &Answers,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let mut list = Vec::with_capacity(configured.len());
        for authority in configured {
            let kind = match &authority.directory {
                Directory::Internal { lifetime } => Kind::Internal {
                    ca: Box::new(InternalCa::open(authority.name.clone(), data_dir, *lifetime, clock.now())?),
                    key_type: authority.key_type,
                },
                Directory::Acme(directory) => {
                    let http = Http::new(authority)?;
                    let account =
                        |number| Accounts::new(number, authority, directory, http.clone(), store.clone());
                    let accounts = (0..authority.accounts.max(1)).map(account).collect::<Result<_, _>>()?;
                    let orders = Orders::new(
                        authority.clone(),
                        accounts,
                        answers.clone(),
                        store.clone(),
                        clock.clone(),
                        metrics.clone(),
                    );
                    Kind::Acme(Box::new(orders))
                }
            };
            list.push(Authority {
                name: authority.name.clone(),
                kind,
                breaker: Breaker::default(),
                resumed: OnceCell::new(),
                failed_validations: limits::limits(authority.limits, &authority.directory).failed_validations,
            });
        }
        Ok(Self { list, dns01: answers.dns01.clone(), store, clock, metrics })
    }

    /// The root certificate of the internal CA (PEM), where one is configured.
    pub fn internal_root(&self) -> Option<PathBuf> {
        self.list.iter().find_map(|authority| match &authority.kind {
            Kind::Internal { ca, .. } => Some(ca.root_pem_path()),
            Kind::Acme(_) => None,
        })
    }

    /// Where records of DNS-01 can be written.
    pub fn dns01(&self) -> Option<&Arc<Dns01>> {
        self.dns01.as_ref()
    }

    /// Whether `name` is proven by DNS, as far as can be told: then it may lead anywhere.
    pub async fn by_dns(&self, name: &CertificateName) -> bool {
        match &self.dns01 {
            Some(dns01) => dns01.road(name).await.is_ok_and(|road| road.is_some()),
            None => false,
        }
    }

    /// The strictest limit on failed validations of a name.
    pub fn failed_validations(&self) -> Option<Rate> {
        let rates = self.list.iter().filter_map(|authority| authority.failed_validations);
        rates.min_by(|one, other| {
            let rare = |rate: &Rate| f64::from(rate.count) / rate.per.as_secs_f64();
            rare(one).total_cmp(&rare(other))
        })
    }

    /// What the authority that gave `certificate` suggests about its renewal (RFC 9773).
    pub async fn suggestion(&self, certificate: &Certificate) -> Result<Suggestion, Cause> {
        let Source::Authority(source) = &certificate.source else { return Ok(Suggestion::NotOffered) };
        let authority = self.list.iter().find(|authority| *authority.name == **source);
        match authority.map(|authority| (&authority.kind, authority)) {
            Some((Kind::Acme(orders), authority)) => {
                self.resume(authority).await;
                // As with `turn`, but a question is no trial.
                if let Some(until) = authority.breaker.closed_until(self.clock.now()) {
                    let wait = self.clock.now().until(until);
                    return Err(Cause::LeftAlone { until, wait, reason: String::new() });
                }
                orders.suggestion(certificate).await
            }
            _ => Ok(Suggestion::NotOffered),
        }
    }

    /// Tells the authority of that name that it gave `leaf` (DER) and that it is revoked.
    pub async fn revoke(&self, authority: &str, leaf: &[u8], reason: Reason) -> Result<(), Cause> {
        match self.list.iter().find(|known| *known.name == *authority).map(|known| &known.kind) {
            Some(Kind::Acme(orders)) => orders.revoke(leaf, reason).await,
            // It keeps no list that anybody would ask for.
            Some(Kind::Internal { .. }) => Ok(()),
            None => Err(Cause::NotConfigured),
        }
    }

    /// Obtains a certificate for `name`: checked, but not saved.
    ///
    /// The authorities are asked in their order, one after the other as long as the reason of a
    /// failure is the authority's own; one that failed a moment ago comes last, and one that
    /// asked to be left alone is not asked. The error then tells how each of them failed.
    pub async fn obtain(&self, name: &CertificateName) -> Result<Certificate, Error> {
        self.obtain_for(name, Occasion::NEW_NAME).await
    }

    /// As [`Authorities::obtain`], for a name that is new or one that is renewed.
    #[tracing::instrument(name = "obtain", skip_all, fields(%name))]
    pub async fn obtain_for(
        &self,
        name: &CertificateName,
        occasion: Occasion<'_>,
    ) -> Result<Certificate, Error> {
        let mut failures = Vec::new();
        for (authority, turn) in self.in_turn().await {
            let outcome = match turn {
                Turn::Wait(until, reason) => {
                    let wait = self.clock.now().until(until);
                    Err(authority.failed(Cause::LeftAlone { until, wait, reason }))
                }
                Turn::Ask | Turn::AskLast => self.obtain_from(authority, name, occasion).await,
            };
            let failure = match outcome {
                Ok(certificate) => return Ok(certificate),
                Err(failure) => failure,
            };
            let go_on = another_may_do(&failure);
            failures.push(failure);
            if !go_on {
                break;
            }
        }
        let name = name.clone();
        match failures.is_empty() {
            false => Err(Error::Failed { name, failures }),
            true => Err(Error::NoAuthority { name }),
        }
    }

    async fn obtain_from(
        &self,
        authority: &Authority,
        name: &CertificateName,
        occasion: Occasion<'_>,
    ) -> Result<Certificate, Failure> {
        let (pending, started) = (self.pending(), Instant::now());
        let outcome = authority.obtain(name, occasion, self.clock.now()).await;
        drop(pending);
        if let Err(failure) = &outcome
            && matches!(failure.cause, Cause::LimitReached { .. })
        {
            tracing::debug!(authority = %authority.name, %failure, "nothing was ordered");
            return outcome;
        }
        let result = if outcome.is_ok() { "issued" } else { "failed" };
        self.metrics.orders.with_label_values(&[&*authority.name, result]).inc();
        self.metrics
            .order_seconds
            .with_label_values(&[&*authority.name])
            .observe(started.elapsed().as_secs_f64());
        let health = match &outcome {
            Ok(_) => authority.breaker.succeeded(),
            Err(failure) => {
                tracing::warn!(authority = %authority.name, %failure, "an order failed");
                let of_the_name = failure.cause.concerns(name);
                authority.breaker.failed(self.clock.now(), failure, of_the_name, rand::random())
            }
        };
        if let Some(health) = health {
            self.keep(authority, &health).await;
        }
        outcome
    }

    /// Keeps how an authority does; its metric too.
    async fn keep(&self, authority: &Authority, health: &Health) {
        let open = health.closed_until <= self.clock.now();
        self.metrics.authority_up.with_label_values(&[&*authority.name]).set(i64::from(open));
        if !open {
            tracing::warn!(authority = %authority.name, until = %health.closed_until, failures = health.failures,
                reason = health.reason, "the authority is left alone for a time");
        }
        if let Err(error) = self.store.save_health(&authority.name, health).await {
            tracing::warn!(authority = %authority.name, error = &error as &dyn std::error::Error,
                "how the authority does could not be kept; a restart will ask it again");
        }
    }

    /// Goes on from what was kept of its health; tried again where the store fails.
    async fn resume(&self, authority: &Authority) {
        let read = async {
            if let Some(health) = self.store.health(&authority.name).await? {
                authority.breaker.resume(health);
            }
            Ok::<(), crate::store::Error>(())
        };
        // Where the store fails no order comes this far.
        let _resumed = authority.resumed.get_or_try_init(|| read).await;
    }

    /// Takes in how the authority of this name does by the store, where another machine may have kept it:
    /// one that wants to be left alone is left alone here too, and one that did its part there is asked
    /// here again.
    pub async fn look_again(&self, name: &str) -> Result<(), crate::store::Error> {
        let Some(authority) = self.list.iter().find(|authority| *authority.name == *name) else {
            return Ok(());
        };
        let Some(health) = self.store.health(name).await? else { return Ok(()) };
        let open = health.closed_until <= self.clock.now();
        self.metrics.authority_up.with_label_values(&[name]).set(i64::from(open));
        authority.breaker.resume(health);
        Ok(())
    }

    /// All of them, each with its turn, in the order in which they are asked.
    async fn in_turn(&self) -> Vec<(&Authority, Turn)> {
        let mut turns = Vec::with_capacity(self.list.len());
        for authority in &self.list {
            self.resume(authority).await;
            turns.push((authority, authority.breaker.turn(self.clock.now())));
        }
        // Stable: within each group the configured order holds.
        turns.sort_by_key(|(_, turn)| *turn != Turn::Ask);
        turns
    }

    /// Counts an order as under way until it is dropped.
    fn pending(&self) -> Pending<'_> {
        self.metrics.orders_pending.inc();
        Pending(&self.metrics)
    }
}

struct Pending<'a>(&'a Metrics);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.orders_pending.dec();
    }
}

/// Whether the next authority is asked: a name that does not validate is the same everywhere,
/// except where the last word on it was the authority's own matter.
fn another_may_do(failure: &Failure) -> bool {
    failure.cause.another_may_do()
        || failure.challenges.last().is_some_and(|challenge| challenge.problem.is_of_this_authority())
}

impl Authority {
    fn failed(&self, cause: Cause) -> Failure {
        Failure { authority: self.name.clone(), step: Step::NewOrder, cause, challenges: Vec::new() }
    }

    async fn obtain(
        &self,
        name: &CertificateName,
        occasion: Occasion<'_>,
        now: UnixTime,
    ) -> Result<Certificate, Failure> {
        match &self.kind {
            Kind::Internal { ca, key_type } => {
                let made = ca.obtain(name, *key_type, now).await;
                made.map_err(|cause| Failure { step: Step::Certificate, ..self.failed(cause) })
            }
            Kind::Acme(orders) => {
                let given_here = |old: &&Certificate| matches!(&old.source, Source::Authority(source) if **source == *self.name);
                let replaced = occasion.replaced.filter(given_here);
                orders.obtain(name, Occasion { replaced, ..occasion }).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::{FailedChallenge, Problem};

    fn invalid(kind: &str) -> Failure {
        let problem = Problem { kind: kind.to_owned(), ..Problem::default() };
        Failure {
            authority: "first".into(),
            step: Step::Validation,
            cause: Cause::Authorization,
            challenges: vec![FailedChallenge { kind: "http-01", problem }],
        }
    }

    #[test]
    fn a_name_that_does_not_validate_is_not_taken_to_the_next_authority() {
        for kind in ["dns", "connection", "unauthorized", "tls", ""] {
            assert!(!another_may_do(&invalid(kind)), "{kind}");
        }
    }

    #[test]
    fn what_only_this_authority_may_not_or_cannot_do_is_taken_to_the_next_one() {
        for kind in ["caa", "rejectedIdentifier", "serverInternal", "rateLimited"] {
            assert!(another_may_do(&invalid(kind)), "{kind}");
        }
    }
}
