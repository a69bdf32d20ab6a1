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
        for authority in self.in_turn(self.clock.now()) {
            let (pending, started) = (self.pending(), Instant::now());
            let outcome = authority.obtain(name, self.clock.now()).await;
            drop(pending);
            let result = if matches!(outcome, Ok(Ok(_))) { "issued" } else { "failed" };
            self.metrics.orders.with_label_values(&[&*authority.name, result]).inc();
            self.metrics
                .order_seconds
                .with_label_values(&[&*authority.name])
                .observe(started.elapsed().as_secs_f64());
            let failure = match outcome? {
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
        if failures.is_empty() {
            return Err(Error::NoAuthority { name: name.clone() });
        }
        Err(Error::Failed { name: name.clone(), failures })
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
    async fn obtain(
        &self,
        name: &CertificateName,
        now: UnixTime,
    ) -> Result<Result<Certificate, Failure>, Error> {
        match &self.kind {
            Kind::Internal { ca, key_type } => {
                Ok(ca.obtain(name, *key_type, now).await.map_err(|cause| Failure {
                    authority: self.name.clone(),
                    step: Step::Certificate,
                    cause,
                    challenges: Vec::new(),
                }))
            }
            Kind::Acme(orders) => match name.hostname() {
                Some(hostname) => Ok(orders.obtain(&hostname).await),
                None => Err(Error::Wildcard { name: name.clone() }),
            },
        }
    }
}
