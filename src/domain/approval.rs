//! Whether a certificate may be obtained for a hostname.

use std::sync::Arc;

use async_trait::async_trait;

use super::hostname::{CertificateName, Hostname};

/// The hostnames that customers' platforms have registered: those are approved.
#[async_trait]
pub trait Registered: Send + Sync + 'static {
    /// The site of a registered hostname or wildcard, as far as memory has it.
    fn site(&self, name: &CertificateName) -> Option<Arc<str>>;

    /// Whether memory has all of them.
    fn is_complete(&self) -> bool;

    /// The site of a registered hostname or wildcard, as the store has it; the error says why nobody
    /// knows.
    async fn look_up(&self, name: &CertificateName) -> Result<Option<Arc<str>>, Arc<str>>;
}

/// Whoever decides, for those that ask only to explain it.
#[async_trait]
pub trait Approver: Send + Sync + 'static {
    /// The decision on `hostname`.
    async fn decide(&self, hostname: &Hostname) -> Verdict;

    /// What it would be if no site listed it and nobody had registered it.
    async fn decide_as_a_stranger(&self, hostname: &Hostname) -> Verdict;
}

/// The decision on one hostname. A fault is [`Verdict::Unknown`], never a denial.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// A certificate may be obtained; requests go to the site of this name.
    Approved {
        /// Name of the site.
        site: Arc<str>,
    },
    /// It may not.
    Denied(DenyReason),
    /// The question found no answer; ask again later.
    Unknown(Arc<str>),
}

/// Who said no.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DenyReason {
    /// The approval endpoint answered with one of 403, 404 and 410.
    #[error(
        "the approval endpoint answered {status}; it answers 200 for hostnames that belong to your platform"
    )]
    Endpoint {
        /// The HTTP status it gave.
        status: u16,
    },
    /// No `[on_demand] approval` is configured and no site lists the hostname.
    #[error(
        "no site lists it and no approval endpoint is configured; add it to a site's hostnames or set on_demand.approval"
    )]
    NobodyKnowsIt,
    /// A wildcard that is neither registered nor among a site's hostnames.
    #[error("a wildcard has to be registered, or to be one of a site's hostnames")]
    WildcardOfNobody,
    /// It lies under a platform domain, whose wildcard certificate is missing.
    #[error(
        "it lies under the platform domain {domain}, which is covered by a wildcard certificate only, and that is missing"
    )]
    UnderPlatform {
        /// The platform domain.
        domain: Arc<str>,
    },
}
