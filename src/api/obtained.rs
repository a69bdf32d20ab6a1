//! What there is of certificates for a name, and how the last try to obtain one ended.

use serde::Serialize;
use utoipa::ToSchema;

use super::certificates::{CertificateView, view};
use super::problem::Problem;
use crate::domain::hostname::CertificateName;
use crate::sites::service::Sites;

/// What was obtained for a name; empty for somebody else's.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Obtained {
    /// Its certificates.
    pub certificates: Vec<CertificateView>,
    /// How the last try to obtain one ended.
    pub last_attempt: Option<LastAttempt>,
    /// Not before this moment is another one tried (RFC 3339).
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
}

/// How a try to obtain a certificate ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LastAttempt {
    /// When (RFC 3339).
    #[schema(format = DateTime)]
    pub at: String,
    /// Failed tries since the last success.
    pub failures: u32,
    /// What happened, the authority's own words included.
    pub report: String,
}

impl Obtained {
    /// What the store has for `name`, in the order in which it is served: what its organization brought,
    /// what was obtained, and the same of the wildcard above it.
    pub async fn of(sites: &Sites, name: &CertificateName) -> Result<Self, Problem> {
        let records = sites.records();
        let wildcard = name.hostname().as_ref().and_then(CertificateName::wildcard_of);
        let mut certificates = Vec::new();
        for name in [Some(name.clone()), wildcard].into_iter().flatten() {
            certificates.extend(records.own_facts(&name).await?.iter().map(view));
            certificates.extend(records.certificate_facts(&name).await?.as_ref().map(view));
        }
        let tried = match sites.wildcard_for(name) {
            Some(wildcard) => records.attempt(&wildcard).await?,
            None => None,
        };
        let attempt = match tried {
            Some(tried) => Some(tried),
            None => records.attempt(name).await?,
        };
        let next = attempt.as_ref().and_then(|attempt| attempt.next).filter(|next| *next > sites.now());
        Ok(Self {
            certificates,
            next_attempt_at: next.map(|next| next.to_string()),
            last_attempt: attempt.map(|attempt| LastAttempt {
                at: attempt.at.to_string(),
                failures: attempt.failures,
                report: attempt.report,
            }),
        })
    }
}
