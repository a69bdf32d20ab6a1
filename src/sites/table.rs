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
    /// Sites by their own names.
    sites: Map<S>,
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
            sites: sites.iter().map(|(site, prepared)| ((*site.name).into(), prepared.clone())).collect(),
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

    /// The site that lists `hostname`, itself or by a wildcard.
    pub fn named(&self, hostname: &Hostname) -> Option<&Arc<S>> {
        self.exact.get(hostname.as_str()).or_else(|| self.wildcards.get(hostname.parent()))
    }

    /// The site of a hostname that no site lists: its platform's, else that of names approved on
    /// demand.
    pub fn otherwise(&self, hostname: &Hostname) -> Option<&Arc<S>> {
        self.platforms
            .get(hostname.parent())
            .or_else(|| self.platforms.get(hostname.as_str()))
            .or(self.on_demand.as_ref())
    }

    /// The site of `hostname`, if any has it.
    pub fn find(&self, hostname: &Hostname) -> Option<&Arc<S>> {
        self.named(hostname).or_else(|| self.otherwise(hostname))
    }

    /// The site of this name.
    pub fn site(&self, name: &str) -> Option<&Arc<S>> {
        self.sites.get(name)
    }

    /// Whether `domain` is a platform domain.
    pub fn is_platform(&self, domain: &str) -> bool {
        self.platforms.contains_key(domain)
    }
}
