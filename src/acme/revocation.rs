//! Revoking a certificate by the account that ordered it (RFC 8555 §7.6).

use instant_acme::{RevocationReason, RevocationRequest};
use rustls_pki_types::CertificateDer;

use super::Cause;
use super::account::Held;
use super::http::signed;
use crate::domain::revocation::Reason;

/// The type of the problem that says that it was done before.
const ALREADY: &str = "urn:ietf:params:acme:error:alreadyRevoked";

/// Tells the authority of `held` that `leaf` is revoked.
pub(super) async fn tell(held: &Held, leaf: &[u8], reason: Reason) -> Result<(), Cause> {
    let certificate = CertificateDer::from_slice(leaf);
    let reason = match reason {
        // RFC 5280 §5.3.1: it should be left out rather than be given.
        Reason::Unspecified => None,
        Reason::KeyCompromise => Some(RevocationReason::KeyCompromise),
        Reason::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
        Reason::Superseded => Some(RevocationReason::Superseded),
        Reason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
    };
    let request = RevocationRequest { certificate: &certificate, reason };
    match signed!(held.account.revoke(&request).await) {
        Err(instant_acme::Error::Api(problem)) if problem.r#type.as_deref() == Some(ALREADY) => Ok(()),
        ended => Ok(ended?),
    }
}
