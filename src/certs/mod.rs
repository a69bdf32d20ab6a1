//! The life of certificates: find, index, flight, obtain.

pub mod find;
pub mod flight;
pub mod index;
pub mod known;
pub mod obtain;

use std::sync::Arc;

use crate::domain::approval::DenyReason;
use crate::domain::certificate::Certificate;
use crate::domain::hostname::InvalidHostname;
use crate::store::Attempt;

/// Makes certificates ready to be used in a handshake; the TLS library stays behind it.
pub trait Prepare: Send + Sync + 'static {
    /// What a handshake needs, shared by all of them.
    type Ready: Send + Sync + 'static;

    /// Parses `certificate` once; the error says what the TLS library did not like.
    fn prepare(&self, certificate: &Certificate) -> Result<Self::Ready, String>;
}

/// Why a hostname is not served now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody can get a certificate for such a name.
    #[error("no authority gives a certificate for it: {0}")]
    Invalid(#[from] InvalidHostname),
    /// The platform does not want it.
    #[error("not approved: {0}")]
    Denied(DenyReason),
    /// Whether it is wanted could not be found out; not a denial.
    #[error("could not find out whether it is approved: {0}")]
    CouldNotAsk(Arc<str>),
    /// Its certificate is being obtained and took longer than the wait.
    #[error("its certificate is being obtained; try again in a moment")]
    Pending,
    /// The last attempt failed and the next one is not due.
    #[error("no certificate could be obtained: {}", .0.report)]
    Failed(Arc<Attempt>),
    /// Too much is under way already.
    #[error("too many new hostnames at once; try again in a moment")]
    Busy,
    /// A fault of this machine or its store.
    #[error("a fault on our side: {0}")]
    Fault(Arc<str>),
}

impl Refusal {
    /// The value of the metrics' label `reason`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Denied(_) => "denied",
            Self::CouldNotAsk(_) => "could_not_ask",
            Self::Pending => "pending",
            Self::Failed(_) => "failed",
            Self::Busy => "busy",
            Self::Fault(_) => "fault",
        }
    }
}

/// An error with its causes, as one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
