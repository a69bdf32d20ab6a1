//! Renewal information: when an authority wants a certificate renewed (RFC 9773).

use std::time::Duration;

use instant_acme::CertificateIdentifier;
use rustls_pki_types::CertificateDer;

use super::Cause;
use super::account::Held;
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::renewal::Window;

/// The shortest and the longest time after which an authority is asked again, whatever it says.
const AGAIN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));

/// What an authority says about the renewal of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Suggestion {
    /// It offers no renewal information, or not for such a certificate.
    NotOffered,
    /// A window, and how long the answer holds.
    Window {
        /// When to renew.
        window: Window,
        /// Ask again after this time.
        again: Duration,
        /// Where it explains itself; its own text.
        why: Option<String>,
    },
    /// The window makes no sense, so it counts as none; ask again after this time.
    Broken {
        /// Ask again after this time.
        again: Duration,
    },
}

/// The certificate's identifier (RFC 9773 §4.1); `None` where it has no authority key identifier.
pub(super) fn identifier(certificate: &Certificate) -> Option<CertificateIdentifier<'static>> {
    let leaf = CertificateDer::from_slice(certificate.chain.first()?);
    CertificateIdentifier::try_from(&leaf).ok().map(CertificateIdentifier::into_owned)
}

/// Asks about `certificate`.
pub(super) async fn ask(held: &Held, certificate: &Certificate) -> Result<Suggestion, Cause> {
    let Some(identifier) = identifier(certificate) else { return Ok(Suggestion::NotOffered) };
    let (info, again) = match held.account.renewal_info(&identifier).await {
        Ok(answer) => answer,
        Err(instant_acme::Error::Unsupported(_)) => return Ok(Suggestion::NotOffered),
        Err(error) => return Err(error.into()),
    };
    let again = again.clamp(AGAIN.0, AGAIN.1);
    let moment = |moment: time::OffsetDateTime| UnixTime(moment.unix_timestamp());
    let (start, end) = (moment(info.suggested_window.start), moment(info.suggested_window.end));
    let why = info.explanation_url.as_deref().map(super::problem::harmless);
    Ok(match Window::new(start, end) {
        Some(window) => Suggestion::Window { window, again, why },
        None => Suggestion::Broken { again },
    })
}
