//! From a hostname to its site, made ready for requests.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::HeaderValue;
use moka::sync::Cache;

use super::connection::Listener;
use super::headers::hsts_value;
use super::origin::{Target, Turn};
use super::request::Counters;
use crate::domain::files::Files;
use crate::domain::hostname::Hostname;
use crate::domain::site::{Origin, OriginTimeouts, Site};
use crate::sites::Versioned;
use crate::sites::directory::Directory;
use crate::sites::listed::Listed;
use crate::sites::table::{Names, Table};
use crate::telemetry::metrics::{Metrics, SITES_WITH_A_LABEL};

/// Origins of single hostnames that are kept ready.
const OWN_ORIGINS: u64 = 10_000;

/// A site made ready: its origins as peers or its files, its header values, its counters.
#[derive(Debug)]
pub struct Route {
    name: Arc<str>,
    pub(super) targets: Vec<Arc<Target>>,
    pub(super) turn: Turn,
    /// What it shows in place of asking an origin.
    pub(super) files: Option<Arc<Files>>,
    pub(super) hsts: Option<HeaderValue>,
    pub(super) counters: Counters,
    timeouts: OriginTimeouts,
}

impl Route {
    fn new(place: usize, site: &Site, metrics: &Metrics) -> Self {
        let label = if place < SITES_WITH_A_LABEL { &*site.name } else { "other" };
        let target = |origin: &_| Arc::new(Target::new(origin, site.timeouts));
        Self {
            name: site.name.clone(),
            targets: site.origins.iter().map(target).collect(),
            turn: Turn::default(),
            files: site.files.clone().map(Arc::new),
            hsts: site.hsts.as_ref().map(hsts_value),
            counters: Counters::new(metrics, Listener::Https, label),
            timeouts: site.timeouts,
        }
    }

    /// The same with another origin.
    fn with_origin(&self, origin: &Origin) -> Self {
        Self {
            name: self.name.clone(),
            targets: vec![Arc::new(Target::new(origin, self.timeouts))],
            turn: Turn::default(),
            files: None,
            hsts: self.hsts.clone(),
            counters: self.counters.clone(),
            timeouts: self.timeouts,
        }
    }

    /// The site's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Where the requests for a hostname go, and what was set for it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The site.
    pub route: Arc<Route>,
    /// The hostname as it is listed, where it is.
    pub listed: Option<Arc<Listed>>,
    /// Whether it was asked for by its preview hostname.
    pub preview: bool,
}

/// By name, each with its version.
type Stored = HashMap<Box<str>, (i64, Arc<Route>)>;

/// The routing table in use; read without a lock that all share.
pub struct Routes {
    table: ArcSwap<Table<Route>>,
    /// Sites that were made by the API.
    stored: ArcSwap<Stored>,
    directory: Arc<Directory>,
    /// Routes of hostnames that have an origin of their own, by site and origin.
    own: Cache<(Arc<str>, Origin), Arc<Route>>,
}

impl Routes {
    /// The routes of `names`, and of the hostnames in `directory`.
    pub fn new(names: &Names<'_>, directory: Arc<Directory>, metrics: &Metrics) -> Self {
        Self {
            table: ArcSwap::from_pointee(Self::table(names, metrics)),
            stored: ArcSwap::default(),
            directory,
            own: Cache::new(OWN_ORIGINS),
        }
    }

    /// Requests from now on take the routes of `names`; those under way keep theirs.
    pub fn replace(&self, names: &Names<'_>, metrics: &Metrics) {
        self.table.store(Arc::new(Self::table(names, metrics)));
        self.own.invalidate_all();
    }

    /// Takes `sites` for those that were made by the API; what has not changed keeps its state.
    pub fn set_stored(&self, sites: &[Versioned<Site>], metrics: &Metrics) {
        let before = self.stored.load();
        let prepare = |site: &Versioned<Site>| match before.get(&*site.value.name) {
            Some((version, route)) if *version == site.version => (*version, route.clone()),
            _ => (site.version, Arc::new(Route::new(SITES_WITH_A_LABEL, &site.value, metrics))),
        };
        let sites = sites.iter().map(|site| ((*site.value.name).into(), prepare(site)));
        self.stored.store(Arc::new(sites.collect()));
    }

    fn table(names: &Names<'_>, metrics: &Metrics) -> Table<Route> {
        Table::new(names, |place, site| Route::new(place, site, metrics))
    }

    /// Reads where `hostname` belongs, in the first moments of a process, when not all are read yet.
    pub async fn settle(&self, hostname: &Hostname) {
        self.directory.settle(hostname).await;
    }

    /// Whether what [`Routes::find`] finds is all there is.
    pub fn is_complete(&self) -> bool {
        self.directory.is_complete()
    }

    /// Where requests for `hostname` go, if any site has it.
    pub fn find(&self, hostname: &Hostname) -> Option<Found> {
        let table = self.table.load();
        if self.directory.is_empty() {
            let route = table.find(hostname).cloned()?;
            return Some(Found { route, listed: None, preview: false });
        }
        let listed = self.directory.find(hostname);
        if let Some(route) = table.named(hostname).cloned() {
            // What the configuration names is its site's, whatever was registered.
            let listed = listed.filter(|listed| *listed.site == *route.name());
            let route = listed.as_ref().map_or(route.clone(), |listed| self.of_its_own(listed, route));
            return Some(Found { route, listed, preview: false });
        }
        if let Some(listed) = listed {
            let route = self.of_its_own(&listed, self.site(&table, &listed.site)?);
            return Some(Found { route, listed: Some(listed), preview: false });
        }
        if table.is_platform(hostname.parent())
            && let Some(label) = hostname.as_str().split('.').next()
            && let Some(listed) = self.directory.preview(label)
        {
            let route = self.site(&table, &listed.site)?;
            let route = self.of_its_own(&listed, route);
            return Some(Found { route, listed: Some(listed), preview: true });
        }
        if self.directory.is_gone(hostname) {
            return None;
        }
        let route = table.otherwise(hostname).cloned()?;
        Some(Found { route, listed: None, preview: false })
    }

    fn site(&self, table: &Table<Route>, name: &str) -> Option<Arc<Route>> {
        table.site(name).cloned().or_else(|| self.stored.load().get(name).map(|(_, route)| route.clone()))
    }

    /// The site's route, or one with the hostname's own origin.
    fn of_its_own(&self, listed: &Listed, route: Arc<Route>) -> Arc<Route> {
        let Some(origin) = listed.custom.as_ref().and_then(|custom| custom.origin.as_ref()) else {
            return route;
        };
        self.own.get_with((listed.site.clone(), origin.clone()), || Arc::new(route.with_origin(origin)))
    }
}
