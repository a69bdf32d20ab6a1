//! All configured authorities, tried in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use super::account::Accounts;
use super::challenge::Challenges;
use super::http::Http;
use super::internal::InternalCa;
use super::order::Orders;
use super::{Cause, Error, Failure, Step};
use crate::config::{self, Directory};
use crate::domain::certificate::{Certificate, KeyType};
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::hostname::CertificateName;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// How long an authority that could not be reached is asked after the others, so that not every
/// order waits for its time-out.
const SET_BACK: Duration = Duration::from_secs(30);

/// Obtains certificates from the configured authorities.
///
/// It places an order whenever it is asked: to ask once for a name, and only for names that are
/// wanted, is the caller's part.
pub struct Authorities {
    list: Vec<Authority>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

struct Authority {
    name: Arc<str>,
    kind: Kind,
    /// Seconds since 1970; until then it is asked after the others.
    set_back_until: AtomicI64,
}

enum Kind {
    Internal { ca: InternalCa, key_type: KeyType },
    Acme(Orders),
}

impl Authorities {
    /// Opens the internal CA where one is configured; asks no authority anything yet.
    ///
    /// Fails on files that cannot be read, written or used.
    pub fn new(
        configured: &[config::Authority],
        data_dir: &Path,
        store: Arc<dyn Store>,
        challenges: Arc<Challenges>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let mut list = Vec::with_capacity(configured.len());
        for authority in configured {
            let kind = match &authority.directory {
                Directory::Internal { lifetime } => Kind::Internal {
                    ca: InternalCa::open(authority.name.clone(), data_dir, *lifetime, clock.now())?,
                    key_type: authority.key_type,
                },
                Directory::Acme(directory) => {
                    let http = Http::new(authority)?;
                    let accounts = Accounts::new(authority, directory, http, store.clone())?;
                    Kind::Acme(Orders::new(authority.clone(), accounts, challenges.clone(), clock.clone()))
                }
            };
            list.push(Authority { name: authority.name.clone(), kind, set_back_until: AtomicI64::new(0) });
        }
        Ok(Self { list, clock, metrics })
    }

    /// The root certificate of the internal CA (PEM), where one is configured.
    pub fn internal_root(&self) -> Option<PathBuf> {
        self.list.iter().find_map(|authority| match &authority.kind {
            Kind::Internal { ca, .. } => Some(ca.root_pem_path()),
            Kind::Acme(_) => None,
        })
    }

    /// Obtains a certificate for `name`: checked, but not saved.
    ///
    /// The authorities are asked in their order, one after the other as long as the reason of a
    /// failure is the authority's own; those that could not be reached a moment ago come last.
    /// The error then tells how each of them failed.
    #[tracing::instrument(name = "obtain", skip_all, fields(%name))]
    pub async fn obtain(&self, name: &CertificateName) -> Result<Certificate, Error> {
        let mut failures = Vec::new();
        for authority in self.in_turn(self.clock.now()).into_iter().filter(|authority| authority.can(name)) {
            let (pending, started) = (self.pending(), Instant::now());
            let outcome = authority.obtain(name, self.clock.now()).await;
            drop(pending);
            let result = if outcome.is_ok() { "issued" } else { "failed" };
            self.metrics.orders.with_label_values(&[&*authority.name, result]).inc();
            self.metrics
                .order_seconds
                .with_label_values(&[&*authority.name])
                .observe(started.elapsed().as_secs_f64());
            let failure = match outcome {
                Ok(certificate) => return Ok(certificate),
                Err(failure) => failure,
            };
            tracing::warn!(authority = %authority.name, %failure, "an order failed");
            if matches!(failure.cause, Cause::Unreachable(_)) {
                let until = self.clock.now().plus(SET_BACK);
                authority.set_back_until.store(until.0, Ordering::Relaxed);
            }
            let go_on = another_may_do(&failure);
            failures.push(failure);
            if !go_on {
                break;
            }
        }
        let name = name.clone();
        match (failures.is_empty(), self.list.is_empty()) {
            (false, _) => Err(Error::Failed { name, failures }),
            (true, true) => Err(Error::NoAuthority { name }),
            (true, false) => Err(Error::Wildcard { name }),
        }
    }

    fn in_turn(&self, now: UnixTime) -> Vec<&Authority> {
        let mut turn: Vec<&Authority> = self.list.iter().collect();
        // Stable: within each group the configured order holds.
        turn.sort_by_key(|authority| authority.set_back_until.load(Ordering::Relaxed) > now.0);
        turn
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
    /// Whether it gives certificates for such a name at all: wildcards come from the internal CA only.
    fn can(&self, name: &CertificateName) -> bool {
        matches!(self.kind, Kind::Internal { .. }) || !name.is_wildcard()
    }

    async fn obtain(&self, name: &CertificateName, now: UnixTime) -> Result<Certificate, Failure> {
        let failed = |cause| Failure {
            authority: self.name.clone(),
            step: Step::Certificate,
            cause,
            challenges: Vec::new(),
        };
        match (&self.kind, name.hostname()) {
            (Kind::Internal { ca, key_type }, _) => ca.obtain(name, *key_type, now).await.map_err(failed),
            (Kind::Acme(orders), Some(hostname)) => orders.obtain(&hostname).await,
            (Kind::Acme(_), None) => Err(failed(Cause::NotOffered { offered: vec!["dns-01".into()] })),
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
