//! From a hostname to its site, made ready for requests.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::HeaderValue;

use super::connection::Listener;
use super::headers::hsts_value;
use super::origin::{Target, Turn};
use super::request::Counters;
use crate::domain::hostname::Hostname;
use crate::domain::site::Site;
use crate::sites::table::{Names, Table};
use crate::telemetry::metrics::{Metrics, SITES_WITH_A_LABEL};

/// A site made ready: its origins as peers, its header values, its counters.
#[derive(Debug)]
pub struct Route {
    name: Arc<str>,
    pub(super) targets: Vec<Arc<Target>>,
    pub(super) turn: Turn,
    pub(super) hsts: Option<HeaderValue>,
    pub(super) counters: Counters,
}

impl Route {
    fn new(place: usize, site: &Site, metrics: &Metrics) -> Self {
        let label = if place < SITES_WITH_A_LABEL { &*site.name } else { "other" };
        let target = |origin: &_| Arc::new(Target::new(origin, site.timeouts));
        Self {
            name: site.name.clone(),
            targets: site.origins.iter().map(target).collect(),
            turn: Turn::default(),
            hsts: site.hsts.as_ref().map(hsts_value),
            counters: Counters::new(metrics, Listener::Https, label),
        }
    }

    /// The site's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The routing table in use; read without a lock, replaced whole.
#[derive(Debug)]
pub struct Routes {
    table: ArcSwap<Table<Route>>,
}

impl Routes {
    /// The routes of `names`.
    pub fn new(names: &Names<'_>, metrics: &Metrics) -> Self {
        Self { table: ArcSwap::from_pointee(Self::table(names, metrics)) }
    }

    /// Requests from now on take the routes of `names`; those under way keep theirs.
    pub fn replace(&self, names: &Names<'_>, metrics: &Metrics) {
        self.table.store(Arc::new(Self::table(names, metrics)));
    }

    fn table(names: &Names<'_>, metrics: &Metrics) -> Table<Route> {
        Table::new(names, |place, site| Route::new(place, site, metrics))
    }

    /// The route of `hostname`, if a site has it.
    pub fn find(&self, hostname: &Hostname) -> Option<Arc<Route>> {
        self.table.load().find(hostname).cloned()
    }
}
