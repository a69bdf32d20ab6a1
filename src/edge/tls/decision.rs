//! How a handshake goes on, and who decides it.

use std::sync::Arc;

use super::Alert;
use super::hello::Hello;
use super::ready::ReadyCertificate;

/// How a handshake goes on.
#[derive(Clone)]
pub enum Decision {
    /// With this certificate.
    Present(Arc<ReadyCertificate>),
    /// With the certificate that answers TLS-ALPN-01, and nothing after it (RFC 8737 §3).
    Challenge(Arc<ReadyCertificate>),
    /// Not at all.
    Refuse(Alert),
}

/// Decides on each ClientHello, from memory only.
pub trait Gate: Send + Sync + 'static {
    /// `None` where the decision needs I/O: then the handshake is suspended.
    fn decide(&self, hello: &Hello) -> Option<Decision>;
}
