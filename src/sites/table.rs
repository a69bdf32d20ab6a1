//! Which site a hostname's requests go to.

use std::sync::Arc;

use ahash::RandomState;

use crate::config::Config;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::site::Site;

type Map<T> = std::collections::HashMap<Box<str>, Arc<T>, RandomState>;

/// From hostnames to sites, each prepared as `S`; made whole and replaced whole.
///
/// The first of these that fits: a site's own hostname, a site's wildcard, a platform domain and
/// its subdomains, the site of names approved on demand. A lookup allocates nothing.
#[derive(Debug)]
pub struct Table<S> {
    exact: Map<S>,
    /// By the wildcard's parent, without `*.`.
    wildcards: Map<S>,
    platforms: Map<S>,
    on_demand: Option<Arc<S>>,
}

/// What a table is made from.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    /// The sites with their own hostnames; their order matters for metrics only.
    pub sites: &'a [Site],
    /// Platform domains, each with the name of its site.
    pub platforms: Vec<(&'a Hostname, &'a str)>,
    /// The name of the site of names approved on demand.
    pub on_demand: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// All that `config` names. Names that nobody listed, such as imported ones, belong to the
    /// site of those approved on demand.
    pub fn of(config: &'a Config) -> Self {
        let on_demand = &config.on_demand;
        Self {
            sites: &config.sites,
            platforms: config.platforms.iter().map(|platform| (&platform.domain, &*platform.site)).collect(),
            on_demand: Some(&*on_demand.site),
        }
    }

    /// The hostnames that `sites` list, and no others.
    pub fn of_sites(sites: &'a [Site]) -> Self {
        Self { sites, platforms: Vec::new(), on_demand: None }
    }
}

impl<S> Table<S> {
    /// The table of `names`; `prepare` makes each site ready, once, in their order, given its
    /// place among them from 0. A platform or on-demand site that is not there is left out.
    pub fn new(names: &Names<'_>, mut prepare: impl FnMut(usize, &Site) -> S) -> Self {
        let sites: Vec<(&Site, Arc<S>)> = names
            .sites
            .iter()
            .enumerate()
            .map(|(place, site)| (site, Arc::new(prepare(place, site))))
            .collect();
        let named = |name: &str| sites.iter().find(|(site, _)| *site.name == *name).map(|(_, s)| s.clone());
        let mut table = Self {
            exact: Map::default(),
            wildcards: Map::default(),
            platforms: Map::default(),
            on_demand: names.on_demand.and_then(named),
        };
        for (site, prepared) in &sites {
            for name in &site.hostnames {
                table.add(name, prepared);
            }
        }
        for (domain, site) in &names.platforms {
            if let Some(site) = named(site) {
                table.platforms.insert(domain.as_str().into(), site);
            }
        }
        table
    }

    fn add(&mut self, name: &CertificateName, site: &Arc<S>) {
        match name.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcards.insert(parent.into(), site.clone()),
            None => self.exact.insert(name.as_str().into(), site.clone()),
        };
    }

    /// The site of `hostname`, if any has it.
    pub fn find(&self, hostname: &Hostname) -> Option<&Arc<S>> {
        let (name, parent) = (hostname.as_str(), hostname.parent());
        self.exact
            .get(name)
            .or_else(|| self.wildcards.get(parent))
            .or_else(|| self.platforms.get(parent))
            .or_else(|| self.platforms.get(name))
            .or(self.on_demand.as_ref())
    }
}
