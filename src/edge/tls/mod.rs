//! The border to OpenSSL: all calls into it that serve clients live here.

pub mod acceptor;
pub mod decision;
pub mod ffi;
pub mod hello;
pub mod ocsp;
pub mod ready;
pub mod tickets;

use openssl::error::ErrorStack;

/// Why the TLS side could not be set up or prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// OpenSSL refused a setting.
    #[error("OpenSSL could not {operation}")]
    OpenSsl {
        /// What was tried, as a verb phrase.
        operation: &'static str,
        /// What it said.
        #[source]
        source: ErrorStack,
    },
    /// A certificate record without certificates.
    #[error("the certificate's chain is empty")]
    EmptyChain,
    /// A certificate record whose parts do not belong together.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
}

/// TLS alerts that we end a handshake with (RFC 8446 §6.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alert {
    /// 112: the name is not served here (RFC 6066 §3).
    UnrecognizedName,
    /// 80: it is our fault, or the certificate is not there yet; trying again may help.
    InternalError,
    /// 47: the ClientHello contradicts itself or an earlier one.
    IllegalParameter,
}
