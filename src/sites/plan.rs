//! What the configuration says about hostnames; replaced whole while work goes on.

use std::sync::Arc;

use crate::config::Config;
use crate::dns::diagnose::{Aim, Diagnoser};
use crate::dns::{LookupFailed, delegation};
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::registration::Registration;
use crate::domain::site::Site;

/// One state of the configuration.
pub struct Plan {
    /// Sites of the configuration.
    pub sites: Vec<Site>,
    /// Platform domains, each with the name of its site.
    pub platforms: Vec<(Hostname, Arc<str>)>,
    /// The site of names that nobody registered.
    pub on_demand: Arc<str>,
    /// What customers are told to point at.
    pub cname_target: Option<Hostname>,
    /// Hostnames that an organization may have, where it has no quota of its own.
    pub quota: u32,
    /// The names of the authorities, in the order they are tried.
    pub authorities: Vec<Arc<str>>,
    /// The zone in which the answers of dns-01 stand, if we answer for one.
    pub zone: Option<Hostname>,
    /// Zones that they can be written in by somebody's access.
    pub written_zones: Vec<Hostname>,
    /// Looks at DNS.
    pub diagnoser: Diagnoser,
}

impl Plan {
    /// What `config` says.
    ///
    /// Fails where the system's resolvers cannot be read.
    pub fn new(config: &Config) -> Result<Self, LookupFailed> {
        Ok(Self {
            sites: config.sites.clone(),
            platforms: config.platforms.iter().map(|p| (p.domain.clone(), p.site.clone())).collect(),
            on_demand: config.on_demand.site.clone(),
            cname_target: config.dns.cname_target.clone(),
            quota: config.api.hostnames_per_organization,
            authorities: config.authorities.iter().map(|authority| authority.name.clone()).collect(),
            zone: config.dns_server.as_ref().map(|server| server.zone.clone()),
            written_zones: config.dns_zones.iter().map(|zone| zone.zone.clone()).collect(),
            diagnoser: Diagnoser::new(config)?,
        })
    }

    /// The site of this name.
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|site| *site.name == *name)
    }

    /// The site whose `hostnames` have `name`, itself or by a wildcard.
    pub fn lister(&self, name: &CertificateName) -> Option<&Site> {
        let covers = |listed: &CertificateName| listed.includes(name);
        self.sites.iter().find(|site| site.hostnames.iter().any(covers))
    }

    /// The preview hostname of this label: below the first platform domain.
    pub fn preview(&self, label: &str) -> Option<Hostname> {
        let (domain, _) = self.platforms.first()?;
        format!("{label}.{domain}").parse().ok()
    }

    /// What DNS is to have for `hostname`.
    ///
    /// - `target`: what its site has customers point at, in place of the configuration's
    pub fn aim(&self, hostname: &Registration, target: Option<Hostname>) -> Aim {
        let preview = self.preview(&hostname.preview);
        let mut targets: Vec<Hostname> = target.into_iter().chain(self.cname_target.clone()).collect();
        targets.dedup();
        if targets.is_empty() {
            targets.extend(preview.clone());
        }
        Aim {
            hostname: hostname.name.clone(),
            cname_targets: targets,
            preview,
            ownership: Some(hostname.proof.clone()),
            delegation: self.delegation(&hostname.name, hostname.organization.as_str()),
        }
    }

    /// Where the answers of dns-01 for a name of `organization` stand: what `_acme-challenge` has to
    /// lead to. `None` where we answer for no zone, or can write them where they are looked for.
    pub fn delegation(&self, name: &CertificateName, organization: &str) -> Option<String> {
        let zone = self.zone.as_ref()?;
        let owner = delegation::owner(name);
        let needed = !self.written_zones.iter().any(|zone| zone.contains(&owner));
        needed.then(|| delegation::target(&delegation::label(name, organization), zone))
    }

    /// What DNS is to have for a name that nobody registered.
    pub fn aim_of_a_stranger(&self, name: &CertificateName) -> Aim {
        Aim {
            hostname: name.clone(),
            cname_targets: self.cname_target.iter().cloned().collect(),
            preview: None,
            ownership: None,
            delegation: None,
        }
    }
}
