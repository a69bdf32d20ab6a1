//! Whether CAA records let an authority of ours give a certificate (RFC 8659).

use futures::future::join_all;

use super::resolver::Resolver;
use super::{Caa, LookupFailed, Misled};
use crate::config::{ChallengeType, Config, Directory};
use crate::domain::hostname::CertificateName;

/// Whom such a record has to allow, and how: our authorities, by a challenge of ours.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The authorities' names in CAA records; empty: not every one is known, so none is looked for.
    identities: Vec<String>,
    challenges: Vec<ChallengeType>,
}

impl Policy {
    /// By the authorities of `config`.
    pub fn new(config: &Config) -> Self {
        let known = config.authorities.iter().all(|authority| {
            !authority.caa_identities.is_empty() && matches!(authority.directory, Directory::Acme(_))
        });
        let of_all = || config.authorities.iter().flat_map(|authority| authority.caa_identities.clone());
        Self {
            identities: if known { of_all().collect() } else { Vec::new() },
            challenges: config
                .authorities
                .iter()
                .flat_map(|authority| authority.challenges.clone())
                .collect(),
        }
    }

    /// What forbids a certificate for `name`; `None` where nothing does.
    ///
    /// The records of the name itself count, else those of the closest one above it (RFC 8659 §3).
    pub async fn forbids(
        &self,
        resolver: &Resolver,
        name: &CertificateName,
    ) -> Result<Option<Misled>, LookupFailed> {
        if self.identities.is_empty() {
            return Ok(None);
        }
        let bare = name.bare();
        let climb = std::iter::successors(Some(bare), |name| name.split_once('.').map(|(_, above)| above));
        let asked: Vec<&str> = climb.collect();
        let answers = join_all(asked.iter().map(|name| resolver.caa(name))).await;
        for (at, records) in asked.into_iter().zip(answers) {
            let records = records?;
            if !records.is_empty() {
                return Ok(self.forbidden(at, &records, name.is_wildcard()));
            }
        }
        Ok(None)
    }

    fn forbidden(&self, at: &str, records: &[Caa], wildcard: bool) -> Option<Misled> {
        const KNOWN: [&str; 4] = ["issue", "issuewild", "iodef", "issuemail"];
        // For a wildcard `issue` counts only where there is no `issuewild` (RFC 8659 §4.3).
        let wild = wildcard && records.iter().any(|caa| caa.tag == "issuewild");
        let tag = if wild { "issuewild" } else { "issue" };
        let issue: Vec<&str> =
            records.iter().filter(|caa| caa.tag == tag).map(|caa| caa.value.trim()).collect();
        let unknown = records.iter().find(|caa| caa.critical && !KNOWN.contains(&caa.tag.as_str()));
        let allowed = match unknown {
            Some(caa) => format!("those who know the critical property {:?}", caa.tag),
            None if issue.is_empty() || issue.iter().any(|value| self.is_ours(value)) => return None,
            None => issue.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", "),
        };
        Some(Misled::Forbidden { at: at.to_owned(), allowed, tag, identities: self.identities.clone() })
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
            ChallengeType::Dns01 => "dns-01",
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

    fn forbidden(records: &[(bool, &str, &str)], wildcard: bool) -> Option<String> {
        let policy =
            Policy { identities: vec!["letsencrypt.org".into()], challenges: vec![ChallengeType::Http01] };
        let caa = |&(critical, tag, value): &(bool, &str, &str)| Caa {
            critical,
            tag: tag.into(),
            value: value.into(),
        };
        let records: Vec<Caa> = records.iter().map(caa).collect();
        policy.forbidden("a.test", &records, wildcard).map(|misled| misled.to_string())
    }

    #[test]
    fn caa_records_are_read_as_authorities_do() {
        let forbidden = |records: &[(bool, &str, &str)]| forbidden(records, false);
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

    #[test]
    fn a_wildcard_has_a_property_of_its_own() {
        let ours = (false, "issue", "letsencrypt.org");
        assert_eq!(forbidden(&[ours], true), None);
        let told = forbidden(&[ours, (false, "issuewild", ";")], true).unwrap();
        assert!(told.contains("add one with issuewild \"letsencrypt.org\""), "{told}");
        assert_eq!(
            forbidden(&[(false, "issue", ";"), (false, "issuewild", "letsencrypt.org")], true),
            None,
            "then `issue` does not count"
        );
    }
}
