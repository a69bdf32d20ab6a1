//! Sites: where a hostname's requests go.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::files::Files;
use super::hostname::{CertificateName, MAX_LABEL_OCTETS, MAX_OCTETS};

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

/// Why a text is no [`Origin`]; to be read behind the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidOrigin {
    /// A user name or a password, which must not be shown.
    #[error("has a user name or password, which an origin does not take")]
    Credentials,
    /// Another scheme than those of [`Scheme`].
    #[error("has a scheme that is not http or https")]
    Scheme,
    /// More than a host and a port.
    #[error("has a path; an origin is a host and a port")]
    Path,
    /// No port, and no scheme that has one of its own.
    #[error("has no port")]
    NoPort,
    /// A port that is no number from 1 to 65535.
    #[error("has no valid port")]
    Port,
    /// Neither a name nor an address.
    #[error("has no valid host")]
    Host,
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// `host:port`, or a URL without a path, whose port may be its scheme's own.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text.contains('@') {
            return Err(InvalidOrigin::Credentials);
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("h2c", rest)) => (Scheme::H2c, rest),
            Some(_) => return Err(InvalidOrigin::Scheme),
            None => (Scheme::Http, text),
        };
        let with_scheme = text.contains("://");
        let authority = if with_scheme { rest.strip_suffix('/').unwrap_or(rest) } else { rest };
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(InvalidOrigin::Path);
        }
        let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match bracketed {
            Some((host, after)) => (host, after.strip_prefix(':').or(after.is_empty().then_some(""))),
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port).filter(|port| !port.is_empty())),
                None => (authority, Some("")),
            },
        };
        let port = match port {
            Some("") if with_scheme => Some(if scheme == Scheme::Https { 443 } else { 80 }),
            Some("") => return Err(InvalidOrigin::NoPort),
            Some(port) if port.bytes().all(|octet| octet.is_ascii_digit()) => port.parse().ok(),
            _ => None,
        };
        let port = port.filter(|&port| port != 0).ok_or(InvalidOrigin::Port)?;
        let valid = if bracketed.is_some() { host.parse::<Ipv6Addr>().is_ok() } else { is_host(host) };
        if !valid {
            return Err(InvalidOrigin::Host);
        }
        Ok(Self { scheme, host: host.to_ascii_lowercase().into(), port })
    }
}

/// Whether it is an IPv4 address or a name that a resolver may know. Single labels and
/// underscores are what container networks use.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        !label.is_empty() && label.len() <= MAX_LABEL_OCTETS && label.bytes().all(plain)
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let numeric =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()));
    if numeric {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    name.len() <= MAX_OCTETS && name.split('.').all(label)
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
    /// Where requests go, in turn; empty where the site is made of files.
    pub origins: Vec<Origin>,
    /// The files it is made of, in place of origins.
    pub files: Option<Files>,
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
