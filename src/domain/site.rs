//! Sites: where a hostname's requests go.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::hostname::CertificateName;

/// How an origin is spoken to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scheme {
    /// HTTP without TLS.
    Http,
    /// HTTP over TLS; the origin's certificate is verified against the machine's roots.
    Https,
    /// HTTP/2 without TLS, begun by prior knowledge (RFC 9113 §3.3), for gRPC servers; written
    /// `h2c://host:port`.
    H2c,
}

/// A server that requests are proxied to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Origin {
    /// Plain or over TLS.
    pub scheme: Scheme,
    /// A DNS name or an IP address, without brackets.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

impl Origin {
    /// The socket address, where the host is an IP address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.host.parse().ok().map(|ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "",
            Scheme::Https => "https://",
            Scheme::H2c => "h2c://",
        };
        if self.host.contains(':') {
            return write!(f, "{scheme}[{}]:{}", self.host, self.port);
        }
        write!(f, "{scheme}{}:{}", self.host, self.port)
    }
}

/// A site as the configuration gives it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name, unique.
    pub name: Arc<str>,
    /// The organization it belongs to.
    pub organization: Arc<str>,
    /// Fixed names and wildcards, beside those approved on demand.
    pub hostnames: Vec<CertificateName>,
    /// Where requests go, in turn; never empty.
    pub origins: Vec<Origin>,
    /// `Strict-Transport-Security` on every HTTPS answer; `None` sends none.
    pub hsts: Option<Hsts>,
    /// What an origin may take.
    pub timeouts: OriginTimeouts,
}

/// HTTP Strict Transport Security (RFC 6797 §6.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hsts {
    /// How long a browser keeps to HTTPS; whole seconds are sent.
    pub max_age: Duration,
    /// Whether subdomains are meant too.
    pub include_subdomains: bool,
    /// Whether the browsers' preload lists may take it.
    pub preload: bool,
}

/// How long an origin may take for each step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OriginTimeouts {
    /// TCP connect, and TLS on top of it.
    pub connect: Duration,
    /// Between two reads from the origin, its first answer included.
    pub read: Duration,
    /// For one write to the origin.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

impl Default for OriginTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(60),
            write: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        }
    }
}
