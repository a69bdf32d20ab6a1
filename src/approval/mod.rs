//! Whether a certificate may be obtained: sites, the approval endpoint, a cache of verdicts.

pub mod cache;
pub mod endpoint;

/// Why approvals could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is asked over HTTPS, and the machine has no roots to trust.
    #[error("no TLS client could be made for on_demand.approval; install the system's ca-certificates")]
    Roots(#[source] rustls::Error),
    /// The HTTP client could not be made.
    #[error("no HTTP client could be made for on_demand.approval")]
    Client(#[source] reqwest::Error),
}
