//! The life of certificates: find, index, flight, obtain, renew.

pub mod ahead;
pub mod back_off;
pub mod bridge;
pub mod bring;
pub mod budget;
pub mod fallback;
pub mod files;
pub mod find;
pub mod flight;
pub mod import;
pub mod index;
pub mod known;
pub mod obtain;
pub mod own;
pub mod pem;
pub mod platform;
pub mod renew;
pub mod revoke;
pub mod round;
pub mod rules;
pub mod shelf;
pub mod spread;
pub mod suggest;
pub mod tickets;
pub mod write_back;

use std::sync::Arc;

use crate::domain::approval::DenyReason;
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::InvalidHostname;
use crate::store::Attempt;

/// Makes certificates ready to be used in a handshake; the TLS library stays behind it.
pub trait Prepare: Send + Sync + 'static {
    /// What a handshake needs, shared by all of them.
    type Ready: Send + Sync + 'static;

    /// Parses certificates of one name once, each of another family of keys: of which each client gets
    /// one that it takes. At least one is given; the error says what the TLS library did not like.
    fn prepare(&self, certificates: &[&Certificate]) -> Result<Self::Ready, String>;
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
    /// It has a certificate that is due, and no authority has room for another order; nothing was tried.
    #[error("no authority has room for a renewal before {0}")]
    NoRoom(UnixTime),
    /// Too much is under way already.
    #[error("too many new hostnames at once; try again in a moment")]
    Busy,
    /// It is new, and the budget for such names is spent.
    #[error("it was not asked about: {0}")]
    Budget(#[from] Spent),
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
            Self::NoRoom(_) => "no_room",
            Self::Busy => "busy",
            Self::Budget(spent) => spent.label(),
            Self::Fault(_) => "fault",
        }
    }
}

/// Why a new name is not even asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Spent {
    /// `limits.label_depth`.
    #[error("the hostname has more labels below its registrable domain than limits.label_depth")]
    Depth,
    /// `limits.new_names_per_client`.
    #[error("the client asked for more new hostnames than limits.new_names_per_client")]
    Client,
    /// `limits.new_names_per_domain`.
    #[error("more new hostnames of this domain were asked for than limits.new_names_per_domain")]
    Domain,
    /// `limits.new_names`.
    #[error("more new hostnames were asked for than limits.new_names")]
    All,
    /// `limits.memory`.
    #[error("the memory in use is near limits.memory")]
    Memory,
}

impl Spent {
    /// The value of the metrics' label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Depth => "label_depth",
            Self::Client => "new_names_per_client",
            Self::Domain => "new_names_per_domain",
            Self::All => "new_names",
            Self::Memory => "memory",
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

/// Why a PEM text gives no certificate that can be served. It never shows the text.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file, or the folder of files, cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Its path.
        path: Arc<str>,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than 1 MiB.
    #[error("it is larger than 1 MiB, so it is no certificate file")]
    TooLarge,
    /// A block has no end or bad base64.
    #[error("it is no valid PEM: a block has no end, or its base64 is broken")]
    NotPem,
    /// It is the binary form.
    #[error("it is DER, not PEM; convert it with: openssl x509 -inform der -in FILE -out FILE.pem")]
    Der,
    /// No `CERTIFICATE` block.
    #[error("it has no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// No private key block.
    #[error("it has no private key (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// The private key is encrypted.
    #[error("its private key is encrypted; decrypt it with: openssl pkey -in FILE -out FILE.plain")]
    EncryptedKey,
    /// A certificate cannot be parsed (RFC 5280).
    #[error("a certificate in it cannot be parsed: {why}")]
    Certificate {
        /// What the parser said.
        why: String,
    },
    /// No key belongs to any certificate.
    #[error("the private key does not belong to any certificate in it")]
    KeyMismatch,
    /// The public key has another algorithm or size.
    #[error(
        "its key type is not supported; use RSA (2048 to 8192 bits), ECDSA on P-256 or P-384, or Ed25519"
    )]
    UnsupportedKey,
    /// Its time is over.
    #[error("it expired at {not_after}")]
    Expired {
        /// Its last second.
        not_after: UnixTime,
    },
    /// Its time has not come.
    #[error("it is not valid before {not_before}")]
    NotYetValid {
        /// Its first second.
        not_before: UnixTime,
    },
    /// No DNS name in the subject alternative name that can be served.
    #[error("it has no DNS name that can be served (in its subject alternative name)")]
    NoNames,
}
