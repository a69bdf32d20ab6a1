//! Authorities: account, order, challenge, the internal CA. Knows neither SNI nor Pingora.

pub mod account;
pub mod authority;
pub mod bridge;
pub mod challenge;
pub mod check;
pub mod dns01;
pub mod finalize;
pub mod health;
pub mod http;
pub mod information;
pub mod internal;
pub mod key;
pub mod limits;
pub mod order;
pub mod place;
pub mod problem;
pub mod revocation;
pub mod zone;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::dns::{LookupFailed, WriteFailed};
use crate::domain::certificate::Validity;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store;

/// Why no certificate was obtained, or the authorities could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has no `[[authority]]`.
    #[error("no authority is configured, so nothing is obtained for {name}; add an [[authority]]")]
    NoAuthority {
        /// The name that was asked for.
        name: CertificateName,
    },
    /// Every authority that was tried failed.
    #[error("{}", Failed { name, failures })]
    Failed {
        /// The name that was asked for.
        name: CertificateName,
        /// One for each authority, in the order they were tried; never empty.
        failures: Vec<Failure>,
    },
    /// A file of an authority could not be read or written.
    #[error("authority {authority}: could not {operation} {}", path.display())]
    File {
        /// The authority.
        authority: Arc<str>,
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of an authority does not hold what it should.
    #[error("authority {authority}: {} {what}", path.display())]
    Content {
        /// The authority.
        authority: Arc<str>,
        /// The file.
        path: PathBuf,
        /// What is wrong and what is wanted.
        what: &'static str,
    },
    /// The HMAC key of the external account is not base64url.
    #[error("authority {authority}: eab.hmac_key is not base64url; copy it as the authority shows it")]
    ExternalAccountKey {
        /// The authority.
        authority: Arc<str>,
    },
    /// The HTTP client could not be made, as the machine has no roots to trust.
    #[error(
        "authority {authority}: no TLS client could be made; install the system's ca-certificates or set ca_file"
    )]
    Client {
        /// The authority.
        authority: Arc<str>,
        /// What the TLS library said.
        #[source]
        source: rustls::Error,
    },
    /// The Redis of the servers that ours take over from cannot be used as it is configured.
    #[error("[bridge] cannot be used")]
    Bridge(#[source] crate::peers::Error),
    /// A certificate of the internal CA could not be made.
    #[error("authority {authority}: the internal CA could not make its certificates")]
    InternalCa {
        /// The authority.
        authority: Arc<str>,
        /// What the certificate library said.
        #[source]
        source: rcgen::Error,
    },
}

impl Error {
    /// Whether any authority's answer was about the name: only such a failure counts against it.
    pub fn concerns_the_name(&self) -> bool {
        match self {
            Self::Failed { name, failures } => failures.iter().any(|failure| failure.cause.concerns(name)),
            _ => true,
        }
    }

    /// Whether it ended as the lease on the name is somebody else's by now.
    pub fn is_of_a_lost_lease(&self) -> bool {
        let lost = |failure: &Failure| matches!(failure.cause, Cause::Store(store::Error::StaleLease { .. }));
        matches!(self, Self::Failed { failures, .. } if failures.iter().any(lost))
    }

    /// Validations that authorities said had failed.
    pub fn failed_validations(&self) -> usize {
        match self {
            Self::Failed { failures, .. } => failures.iter().map(|failure| failure.challenges.len()).sum(),
            _ => 0,
        }
    }

    /// How long to wait until another try can succeed, where every authority named a time; the
    /// shortest of them. `None`: nobody knows, so the caller's own back-off decides.
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Failed { failures, .. } = self else { return None };
        let mut shortest = None;
        for failure in failures {
            let wait = failure.cause.retry_after()?;
            shortest = Some(shortest.map_or(wait, |known: Duration| known.min(wait)));
        }
        shortest
    }
}

/// [`Error::Failed`] as a customer reads it: one paragraph for each authority.
struct Failed<'a> {
    name: &'a CertificateName,
    failures: &'a [Failure],
}

impl fmt::Display for Failed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no certificate for {}", self.name)?;
        for failure in self.failures {
            write!(f, "; {failure}")?;
        }
        Ok(())
    }
}

/// How the order at one authority ended.
#[derive(Debug)]
pub struct Failure {
    /// The authority.
    pub authority: Arc<str>,
    /// What was under way.
    pub step: Step,
    /// What went wrong.
    pub cause: Cause,
    /// The authority's words for each challenge that failed on the way, in the order tried.
    pub challenges: Vec<FailedChallenge>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: while {}: {}", self.authority, self.step, self.cause)?;
        for challenge in &self.challenges {
            write!(f, "; {challenge}")?;
        }
        let advice = self.challenges.last().and_then(FailedChallenge::advice);
        match advice.or_else(|| self.cause.advice()) {
            Some(advice) => write!(f, ". What to do: {advice}"),
            None => Ok(()),
        }
    }
}

/// What an order is at (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Making or opening the account.
    Account,
    /// Placing the order.
    NewOrder,
    /// Publishing the answer to a challenge and saying so.
    Challenge,
    /// Waiting for the authority to look at the answer.
    Validation,
    /// Asking for the certificate.
    Finalize,
    /// Waiting for the certificate.
    Certificate,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "opening the account",
            Self::NewOrder => "placing the order",
            Self::Challenge => "preparing the challenge",
            Self::Validation => "waiting for the validation",
            Self::Finalize => "asking for the certificate",
            Self::Certificate => "waiting for the certificate",
        })
    }
}

/// What went wrong at one authority.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No connection, a time-out, or a server error: another authority may do.
    #[error("the authority could not be reached ({0})")]
    Unreachable(String),
    /// The authority wants fewer requests (RFC 8555 §6.6) or is overloaded.
    #[error("the authority limits the rate{}{problem}", Wait(*retry_after))]
    RateLimited {
        /// Its words.
        problem: Problem,
        /// How long it asks to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The authority refused a request, or ended the order with a problem.
    #[error("the authority refused{0}")]
    Refused(Problem),
    /// The authority's answer is not what RFC 8555 says.
    #[error("the authority gave an unusable answer ({0})")]
    Answer(String),
    /// The authority could not validate the name; [`Failure::challenges`] has its words.
    #[error("the authority could not validate the name")]
    Authorization,
    /// A wildcard takes DNS-01 (RFC 8555 §8.4), and nothing is configured that could write its record.
    #[error(
        "a wildcard takes the challenge dns-01, and no access is configured to the zone that \
         _acme-challenge.{bare} lies in or is an alias into"
    )]
    NoRoad {
        /// The name without `*.`.
        bare: String,
    },
    /// Where the record of the challenge belongs could not be looked up.
    #[error("where its TXT record belongs could not be looked up: {0}")]
    Lookup(#[from] LookupFailed),
    /// The record of the challenge is not where the authority will look for it.
    #[error("{0}")]
    Record(#[from] WriteFailed),
    /// The authority offers none of the configured challenge types.
    #[error(
        "the authority offers none of the configured challenge types (it offers {})", offered.join(", ")
    )]
    NotOffered {
        /// The types it offers.
        offered: Vec<String>,
    },
    /// The order took longer than `order_timeout`.
    #[error("the order took longer than {} s", after.as_secs_f32())]
    TimedOut {
        /// The configured time.
        after: Duration,
    },
    /// The certificate that came back is not the one that was asked for.
    #[error("the certificate that came back was not accepted: {0}")]
    Wrong(#[from] WrongCertificate),
    /// The key, the request or the certificate could not be made on this machine.
    #[error("the key or its certificate could not be made ({0})")]
    Make(#[from] rcgen::Error),
    /// It asked to be left alone, or failed again and again.
    #[error("it is not asked before {until}: {reason}")]
    LeftAlone {
        /// Until when.
        until: UnixTime,
        /// How long that is.
        wait: Duration,
        /// Why.
        reason: String,
    },
    /// One more order would exceed the limits that are configured for the authority.
    #[error("its limits on orders are used up until {until}")]
    LimitReached {
        /// Until when.
        until: UnixTime,
        /// How long that is.
        wait: Duration,
        /// Where they are used up for every name: from when on there is room for some.
        for_any: Option<UnixTime>,
    },
    /// It gave a certificate once and is not in the configuration any more.
    #[error("the authority is not configured any more; name it in [[authority]] again")]
    NotConfigured,
    /// The store could not keep the account or the challenge.
    #[error("{0}")]
    Store(#[from] store::Error),
}

impl Cause {
    /// Whether another authority may succeed where this one failed: it was down, limited the
    /// rate, or did not want to or could not do its part. A name that does not validate will
    /// not do so elsewhere, except where the authority is the reason (see [`Problem`]); and a
    /// fault of our store meets every authority.
    pub fn another_may_do(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::RateLimited { .. }
            | Self::Refused(_)
            | Self::Answer(_)
            | Self::NotOffered { .. }
            | Self::TimedOut { .. }
            | Self::LeftAlone { .. }
            | Self::LimitReached { .. }
            | Self::NotConfigured
            | Self::NoRoad { .. }
            | Self::Wrong(_) => true,
            Self::Authorization | Self::Make(_) | Self::Lookup(_) | Self::Record(_) | Self::Store(_) => false,
        }
    }

    /// How long the authority asked to wait.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => *retry_after,
            Self::LeftAlone { wait, .. } | Self::LimitReached { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// Whether it says something about the name, rather than about the authority or this machine.
    fn concerns(&self, name: &CertificateName) -> bool {
        match self {
            Self::RateLimited { problem, .. } => problem.speaks_of(name),
            Self::Refused(_) | Self::Authorization | Self::NotOffered { .. } | Self::Wrong(_) => true,
            Self::TimedOut { .. } | Self::NoRoad { .. } => true,
            Self::Unreachable(_)
            | Self::Answer(_)
            | Self::LeftAlone { .. }
            | Self::LimitReached { .. }
            | Self::NotConfigured
            | Self::Make(_)
            | Self::Lookup(_)
            | Self::Record(_)
            | Self::Store(_) => false,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::RateLimited { .. } => Some("wait; the next attempt is made when the authority allows it"),
            Self::Refused(problem) => problem.advice(),
            Self::Unreachable(_) => Some("see that this machine reaches the authority's directory URL"),
            Self::NoRoad { .. } => Some(
                "give the platform dns, add a [[dns_zone]], or bring a certificate for it by files or import",
            ),
            Self::LimitReached { .. } => Some(
                "wait, or add a second authority; a higher limit that the authority gave you goes into its limits",
            ),
            _ => None,
        }
    }
}

/// `", to be tried again in 60 s"`, or nothing.
struct Wait(Option<Duration>);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |wait| write!(f, ", to be tried again in {} s", wait.as_secs()))
    }
}

/// What is wrong with a certificate that an authority gave.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WrongCertificate {
    /// Not PEM, or PEM without a certificate.
    #[error("it holds no certificate in PEM")]
    NotPem,
    /// A certificate of the chain cannot be read.
    #[error("certificate {index} of the chain cannot be read (counted from 0, the leaf)")]
    Unreadable {
        /// Place in the chain.
        index: usize,
    },
    /// The leaf has a public key that is not ours.
    #[error("it is for another key")]
    OtherKey,
    /// The leaf does not cover the name.
    #[error("it is for other names ({})", names.join(", "))]
    OtherNames {
        /// The names it covers; at most ten.
        names: Vec<String>,
    },
    /// A certificate of the chain is not valid now.
    #[error(
        "certificate {index} of the chain is valid from {} to {}, and now it is {now} by this machine's clock",
        validity.not_before, validity.not_after
    )]
    NotNow {
        /// Place in the chain.
        index: usize,
        /// When it is valid.
        validity: Validity,
        /// This machine's time.
        now: UnixTime,
    },
    /// A certificate of the chain did not issue the one before it.
    #[error("certificate {index} of the chain did not issue the one before it")]
    Chain {
        /// Place of the supposed issuer.
        index: usize,
    },
}

/// A challenge that the authority did not accept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailedChallenge {
    /// Its type, such as `http-01`.
    pub kind: &'static str,
    /// The authority's words.
    pub problem: Problem,
}

impl FailedChallenge {
    /// What the owner of the name can do.
    fn advice(&self) -> Option<&'static str> {
        match (self.kind, self.problem.kind.as_str()) {
            ("dns-01", "dns" | "unauthorized" | "incorrectResponse") => Some(
                "the authority did not find the TXT record that was written; see that the name servers which the \
                 parent zone names for it are those that were written to, and that all of them show changes",
            ),
            _ => self.problem.advice(),
        }
    }
}

impl fmt::Display for FailedChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed{}", self.kind, self.problem)
    }
}

/// A problem document (RFC 7807, RFC 8555 §6.7), made harmless: texts are bounded and hold no
/// control characters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Problem {
    /// The type without its prefix, such as `dns` or `rateLimited`; empty where none was given.
    pub kind: String,
    /// What the authority says to people.
    pub detail: String,
    /// The HTTP status, where there is one.
    pub status: Option<u16>,
    /// Its parts, each with the identifier it speaks of (RFC 8555 §6.7.1).
    pub subproblems: Vec<Subproblem>,
}

/// A part of a [`Problem`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subproblem {
    /// The name it is about; empty where none was given.
    pub identifier: String,
    /// As in [`Problem`].
    pub kind: String,
    /// As in [`Problem`].
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(seconds: Option<u64>) -> Failure {
        let retry_after = seconds.map(Duration::from_secs);
        let cause = Cause::RateLimited { problem: Problem::default(), retry_after };
        Failure { authority: "a".into(), step: Step::NewOrder, cause, challenges: Vec::new() }
    }

    #[test]
    fn the_wait_is_the_shortest_that_all_authorities_named() {
        let wait = |waits: &[Option<u64>]| {
            let failures = waits.iter().map(|wait| limited(*wait)).collect();
            Error::Failed { name: "shop.test".parse().unwrap(), failures }.retry_after()
        };
        assert_eq!(wait(&[Some(60), Some(30)]), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[Some(60), None]), None);
    }
}
