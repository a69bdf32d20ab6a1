//! What the configuration says about obtaining certificates; replaced whole while work goes on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::budget::NewNames;
use super::obtain::Obtain;
use crate::approval::cache::Approvals;
use crate::domain::approval::Verdict;
use crate::domain::hostname::{CertificateName, Hostname};

/// One state of the configuration. Work that began under it ends under it.
pub struct Rules {
    /// Whether a certificate may be obtained.
    pub approvals: Arc<Approvals>,
    /// The one road to the authorities.
    pub obtain: Obtain,
    /// Platform domains whose certificates are obtained here.
    pub platforms: Vec<Platform>,
    /// How many names may be new.
    pub budget: NewNames,
    /// Orders under way at most.
    pub orders: usize,
    /// How long [`Certificates::find`](super::find::Certificates::find) waits.
    pub wait: Duration,
}

/// A platform domain that has one certificate for all its subdomains, and one for itself.
#[derive(Clone, Debug)]
pub struct Platform {
    domain: Hostname,
    site: Arc<str>,
    wildcard: CertificateName,
    own: CertificateName,
}

impl Platform {
    /// Of this domain; `None` where a wildcard below it would be too long a name.
    pub fn new(domain: &Hostname, site: &Arc<str>) -> Option<Self> {
        let wildcard = format!("*.{domain}").parse().ok()?;
        Some(Self { domain: domain.clone(), site: site.clone(), wildcard, own: domain.into() })
    }

    /// Its two names: the wildcard first.
    pub fn names(&self) -> [&CertificateName; 2] {
        [&self.wildcard, &self.own]
    }

    /// The name that serves `hostname`, which is one of its own.
    pub fn name_of(&self, hostname: &Hostname) -> &CertificateName {
        if *hostname == self.domain { &self.own } else { &self.wildcard }
    }
}

impl Rules {
    /// The platform that `hostname` belongs to: it is the domain or right below it.
    pub fn platform_of(&self, hostname: &Hostname) -> Option<&Platform> {
        let its = |platform: &&Platform| {
            platform.domain.as_str() == hostname.parent() || platform.domain == *hostname
        };
        self.platforms.iter().find(its)
    }

    /// The name whose certificate is obtained for `hostname`: a platform's one for its subdomains, else
    /// its own.
    pub fn name_for(&self, hostname: &Hostname) -> CertificateName {
        match self.platform_of(hostname) {
            Some(platform) => platform.name_of(hostname).clone(),
            None => hostname.into(),
        }
    }

    /// Whether a certificate may be obtained for `name`.
    ///
    /// - `client`: whose handshake asks
    pub async fn decide(&self, name: &CertificateName, client: Option<IpAddr>) -> Verdict {
        if let Some(platform) = self.platforms.iter().find(|platform| platform.names().contains(&name)) {
            return Verdict::Approved { site: platform.site.clone() };
        }
        match name.hostname() {
            Some(hostname) => self.approvals.decide(&hostname, client).await,
            None => self.approvals.decide_wildcard(name).await,
        }
    }
}
