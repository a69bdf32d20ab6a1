//! Problem documents (RFC 8555 §6.7): read, judged, shown.

use std::fmt;

use super::{Problem, Subproblem};
use crate::domain::hostname::CertificateName;

/// Longest text of an authority that is kept, in characters; it ends up in logs and in the store.
const MAX_TEXT: usize = 1_000;
/// What the types of ACME problems begin with (RFC 8555 §6.7).
const PROBLEM_PREFIX: &str = "urn:ietf:params:acme:error:";

impl Problem {
    /// Whether it is about the name's records or the authority itself, so that each challenge
    /// type would meet it alike.
    pub fn meets_every_challenge(&self) -> bool {
        matches!(self.kind.as_str(), "dns" | "caa" | "rejectedIdentifier" | "serverInternal" | "rateLimited")
    }

    /// Whether another authority may see it differently: a CAA record names the authorities that
    /// are allowed, and an internal error is its own.
    pub fn is_of_this_authority(&self) -> bool {
        matches!(self.kind.as_str(), "caa" | "rejectedIdentifier" | "serverInternal" | "rateLimited")
    }

    /// Whether its words name the name itself or its registrable domain. Authorities say by words
    /// alone which of their limits was met.
    pub(crate) fn speaks_of(&self, name: &CertificateName) -> bool {
        let hostname = name.hostname();
        let domain = hostname.as_ref().map_or(name.as_str(), |hostname| hostname.registrable_domain());
        let says = |text: &str| text.to_ascii_lowercase().contains(domain);
        says(&self.detail) || self.subproblems.iter().any(|part| says(&part.identifier) || says(&part.detail))
    }

    /// What the owner of the name can do.
    pub(super) fn advice(&self) -> Option<&'static str> {
        Some(match self.kind.as_str() {
            "dns" => {
                "see that the name has A, AAAA or CNAME records that lead to this edge, and that its name servers answer"
            }
            "connection" => {
                "see that every A and AAAA record of the name leads to this edge, and that its ports 80 and 443 are open to the whole internet"
            }
            "unauthorized" | "incorrectResponse" => {
                "another server answered; see that every A and AAAA record of the name leads to this edge and to nothing else"
            }
            "tls" => {
                "another server answered, or a proxy ends TLS in front of this edge; let the name lead to this edge directly"
            }
            "caa" => {
                "a CAA record of the name or its parents forbids this authority; add one that allows it, or remove it"
            }
            "rejectedIdentifier" => {
                "this authority does not give certificates for the name; ask for another name or use another authority"
            }
            "rateLimited" => "wait; the next attempt is made when the authority allows it",
            "externalAccountRequired" => "the authority wants an external account; set eab for it",
            "userActionRequired" => "the authority wants its operator to act; see its words",
            _ => return None,
        })
    }
}

impl fmt::Display for Problem {
    /// `": DETAIL (TYPE)"` with the parts behind it; empty where there is nothing to say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match (self.kind.as_str(), self.status) {
            ("", Some(status)) => write!(f, " (HTTP {status})")?,
            ("", None) => {}
            (kind, _) => write!(f, " ({kind})")?,
        }
        for part in &self.subproblems {
            write!(f, "; {}: {} ({})", part.identifier, part.detail, part.kind)?;
        }
        Ok(())
    }
}

impl From<&instant_acme::Problem> for Problem {
    fn from(raw: &instant_acme::Problem) -> Self {
        let part = |part: &instant_acme::Subproblem| Subproblem {
            identifier: match &part.identifier {
                Some(identifier) => harmless(&identifier.authorized(false).to_string()),
                None => String::new(),
            },
            kind: kind(part.r#type.as_deref()),
            detail: harmless(part.detail.as_deref().unwrap_or_default()),
        };
        Self {
            kind: kind(raw.r#type.as_deref()),
            detail: harmless(raw.detail.as_deref().unwrap_or_default()),
            status: raw.status,
            subproblems: raw.subproblems.iter().take(10).map(part).collect(),
        }
    }
}

fn kind(raw: Option<&str>) -> String {
    let raw = raw.unwrap_or_default();
    harmless(raw.strip_prefix(PROBLEM_PREFIX).unwrap_or(raw))
}

/// A foreign text, bounded and without control characters.
pub(super) fn harmless(raw: &str) -> String {
    raw.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_cannot_forge_a_log_line() {
        let raw = serde_json::json!({
            "type": "urn:ietf:params:acme:error:dns",
            "detail": format!("no\nsuch\u{1b}[31m name{}", "x".repeat(2 * MAX_TEXT)),
        });
        let problem = Problem::from(&serde_json::from_value::<instant_acme::Problem>(raw).unwrap());
        assert_eq!(problem.kind, "dns");
        assert!(problem.detail.starts_with("no such [31m name"));
        assert_eq!(problem.detail.chars().count(), MAX_TEXT);
    }
}
