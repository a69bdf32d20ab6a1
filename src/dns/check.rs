//! Whether an order for a name can come to anything: does the name lead here, and may an authority
//! of ours give a certificate for it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;

use super::caa::Policy;
use super::resolver::Resolver;
use super::{Finding, LookupFailed, Misled};
use crate::config::Config;
use crate::domain::hostname::{CertificateName, Hostname};

/// Longest that an order waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks at names before they are ordered.
pub struct Check {
    resolver: Resolver,
    edge: Vec<IpAddr>,
    wanted: String,
    policy: Policy,
}

impl Check {
    /// By `config`; `None` where it names no address of this edge, and so nothing is looked at.
    ///
    /// Fails where the system's resolvers cannot be read.
    pub fn new(config: &Config) -> Result<Option<Self>, LookupFailed> {
        let dns = &config.dns;
        if dns.edge_addresses.is_empty() {
            return Ok(None);
        }
        let servers: Vec<SocketAddr> = dns.resolvers.clone();
        let addresses: Vec<String> = dns.edge_addresses.iter().map(IpAddr::to_string).collect();
        let wanted = match &dns.cname_target {
            Some(target) => format!("{target}, or {}", addresses.join(", ")),
            None => addresses.join(", "),
        };
        Ok(Some(Self {
            resolver: Resolver::new(&servers)?,
            edge: dns.edge_addresses.clone(),
            wanted,
            policy: Policy::new(config),
        }))
    }

    /// Looks at `name`, for a second at most.
    ///
    /// - `by_dns`: its challenge is dns-01, so that it may lead anywhere
    pub async fn look(&self, name: &CertificateName, by_dns: bool) -> Finding {
        let leads = async {
            match name.hostname().filter(|_| !by_dns) {
                Some(hostname) => self.leads_here(&hostname).await,
                None => Ok(None),
            }
        };
        let look = async {
            let (leads, allows) = tokio::join!(leads, self.policy.forbids(&self.resolver, name));
            // What is known to stand in the way does so, whatever else could not be asked.
            match (leads, allows) {
                (Ok(Some(misled)), _) | (_, Ok(Some(misled))) => Finding::Misled(misled),
                (Err(failed), _) | (_, Err(failed)) => Finding::Unknown(failed.0),
                (Ok(None), Ok(None)) => Finding::Leads,
            }
        };
        let late = || Finding::Unknown(format!("DNS did not answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, look).await.unwrap_or_else(|_elapsed| late())
    }

    async fn leads_here(&self, hostname: &Hostname) -> Result<Option<Misled>, LookupFailed> {
        let name = hostname.as_str();
        let (ipv4, ipv6) = tokio::join!(self.resolver.ipv4(name), self.resolver.ipv6(name));
        let (ipv4, ipv6) = (ipv4?, ipv6?);
        if ipv4.is_empty() && ipv6.is_empty() {
            return Ok(Some(Misled::NoAddress { wanted: self.wanted.clone() }));
        }
        // Authorities take IPv6 first where a name has both.
        let strays = [("AAAA", ipv6), ("A", ipv4)]
            .into_iter()
            .find(|(_, found)| !found.is_empty() && !found.iter().any(|ip| self.edge.contains(ip)));
        Ok(strays.map(|(kind, found)| Misled::OtherAddresses { kind, found, wanted: self.wanted.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    #[tokio::test]
    async fn a_server_that_does_not_answer_stands_in_nobodys_way() {
        let text = "[dns]\nresolvers = [\"127.0.0.1:1\"]\nedge_addresses = [\"192.0.2.1\"]";
        let config = file::parse(text, "nameplate.toml".as_ref()).unwrap();
        let check = Check::new(&config).unwrap().unwrap();
        let finding = check.look(&"a.test".parse().unwrap(), false).await;
        assert!(matches!(finding, Finding::Unknown(_)), "{finding:?}");
    }
}
