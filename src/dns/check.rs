//! Whether an order for a name can come to anything: does the name lead here, and may an authority
//! of ours give a certificate for it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::resolver::Resolver;
use super::{Caa, Finding, LookupFailed, Misled};
use crate::config::{ChallengeType, Config, Directory};
use crate::domain::hostname::Hostname;

/// Longest that an order waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks at names before they are ordered.
pub struct Check {
    resolver: Resolver,
    edge: Vec<IpAddr>,
    wanted: String,
    /// The authorities' names in CAA records; empty: not every one is known, so none is looked for.
    identities: Vec<String>,
    challenges: Vec<ChallengeType>,
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
        let known = config.authorities.iter().all(|authority| {
            !authority.caa_identities.is_empty() && matches!(authority.directory, Directory::Acme(_))
        });
        let of_all = || config.authorities.iter().flat_map(|authority| authority.caa_identities.clone());
        Ok(Some(Self {
            resolver: Resolver::new(&servers)?,
            edge: dns.edge_addresses.clone(),
            wanted,
            identities: if known { of_all().collect() } else { Vec::new() },
            challenges: config
                .authorities
                .iter()
                .flat_map(|authority| authority.challenges.clone())
                .collect(),
        }))
    }

    /// Looks at `hostname`, for a second at most.
    pub async fn look(&self, hostname: &Hostname) -> Finding {
        let look = async {
            let (leads, allows) = tokio::join!(self.leads_here(hostname), self.allows(hostname));
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

    /// The records of the name itself count, else those of the closest one above it (RFC 8659 §3).
    async fn allows(&self, hostname: &Hostname) -> Result<Option<Misled>, LookupFailed> {
        if self.identities.is_empty() {
            return Ok(None);
        }
        let name = hostname.as_str();
        let climb = std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, above)| above));
        let asked: Vec<&str> = climb.collect();
        let answers = join_all(asked.iter().map(|name| self.resolver.caa(name))).await;
        for (at, records) in asked.into_iter().zip(answers) {
            let records = records?;
            if !records.is_empty() {
                return Ok(self.forbidden(at, &records));
            }
        }
        Ok(None)
    }

    fn forbidden(&self, at: &str, records: &[Caa]) -> Option<Misled> {
        const KNOWN: [&str; 4] = ["issue", "issuewild", "iodef", "issuemail"];
        let issue: Vec<&str> =
            records.iter().filter(|caa| caa.tag == "issue").map(|caa| caa.value.trim()).collect();
        let unknown = records.iter().find(|caa| caa.critical && !KNOWN.contains(&caa.tag.as_str()));
        let allowed = match unknown {
            Some(caa) => format!("those who know the critical property {:?}", caa.tag),
            None if issue.is_empty() || issue.iter().any(|value| self.is_ours(value)) => return None,
            None => issue.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", "),
        };
        Some(Misled::Forbidden { at: at.to_owned(), allowed, identities: self.identities.clone() })
    }

    /// Whether the value of an `issue` property allows an authority and a challenge of ours
    /// (RFC 8659 §4.2, RFC 8657 §4).
    fn is_ours(&self, value: &str) -> bool {
        let mut parts = value.split(';').map(str::trim);
        let issuer = parts.next().unwrap_or_default();
        let methods = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("validationmethods").then(|| value.trim())
        });
        let name = |challenge: &ChallengeType| match challenge {
            ChallengeType::Http01 => "http-01",
            ChallengeType::TlsAlpn01 => "tls-alpn-01",
        };
        let method_fits = |methods: &str| {
            methods.split(',').any(|method| self.challenges.iter().any(|ours| name(ours) == method.trim()))
        };
        self.identities.iter().any(|identity| identity.eq_ignore_ascii_case(issuer))
            && methods.is_none_or(method_fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> Check {
        Check {
            resolver: Resolver::new(&["127.0.0.1:1".parse().unwrap()]).unwrap(),
            edge: vec!["192.0.2.1".parse().unwrap()],
            wanted: "192.0.2.1".into(),
            identities: vec!["letsencrypt.org".into()],
            challenges: vec![ChallengeType::Http01],
        }
    }

    #[tokio::test]
    async fn caa_records_are_read_as_authorities_do() {
        let forbidden = |records: &[(bool, &str, &str)]| {
            let caa = |&(critical, tag, value): &(bool, &str, &str)| Caa {
                critical,
                tag: tag.into(),
                value: value.into(),
            };
            let records: Vec<Caa> = records.iter().map(caa).collect();
            check().forbidden("a.test", &records).map(|misled| misled.to_string())
        };
        assert_eq!(forbidden(&[(false, "issue", "letsencrypt.org")]), None);
        assert_eq!(forbidden(&[(false, "issue", "other.test"), (false, "issue", " LetsEncrypt.org ")]), None);
        assert_eq!(forbidden(&[(false, "iodef", "mailto:a@a.test")]), None, "nothing is said of issuing");
        assert_eq!(forbidden(&[(false, "issuewild", ";")]), None, "that is for wildcards");
        let methods = "letsencrypt.org; validationmethods=dns-01,http-01; accounturi=https://x.test/1";
        assert_eq!(forbidden(&[(false, "issue", methods)]), None);
        let told = forbidden(&[(false, "issue", "other.test"), (false, "issue", ";")]).unwrap();
        let wanted = "a CAA record of a.test allows \"other.test\", \";\" only; \
                      add one with issue \"letsencrypt.org\", or remove it";
        assert_eq!(told, wanted);
        for records in [
            (false, "issue", "letsencrypt.org;validationmethods=dns-01"),
            (true, "tbs", "unknown"),
            (false, "issue", ""),
        ] {
            assert!(forbidden(&[records]).is_some(), "{records:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_stands_in_nobodys_way() {
        let finding = check().look(&"a.test".parse().unwrap()).await;
        assert!(matches!(finding, Finding::Unknown(_)), "{finding:?}");
    }
}
