//! What is known of a connection before its first request, and the clock of its request headers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use bytes::Bytes;
use http::HeaderValue;
use pingora_core::protocols::Digest;

use crate::domain::hostname::{CertificateName, Hostname};

/// Which listener a connection came in by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listener {
    /// Plain HTTP: challenges and redirects.
    Http,
    /// HTTPS.
    Https,
}

impl Listener {
    /// The value of the metrics' label `listener`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where an HTTP/1.1 connection is between two requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Phase {
    /// Between requests: no octet of the next one has come.
    Idle = 0,
    /// Some octets of a request header have come: its deadline runs.
    Header = 1,
    /// The header is whole; body and answer take their own time.
    Request = 2,
}

/// Facts of one client connection, shared by all its requests.
#[derive(Debug)]
pub struct Connection {
    /// Where it came in.
    pub listener: Listener,
    /// The client, by the PROXY protocol where that is trusted.
    pub client: SocketAddr,
    /// Our address that the client connected to.
    pub local: SocketAddr,
    /// The hostname the client asked for in its ClientHello.
    pub sni: Option<Hostname>,
    /// The names of the certificate that was presented, for answering 421 (RFC 9110 §15.5.20);
    /// empty on plain HTTP.
    pub presented: Arc<[CertificateName]>,
    /// The client's address as `X-Forwarded-For` has it.
    pub forwarded_for: HeaderValue,
    /// The client's address as `Forwarded` has it: `for=` and the node (RFC 7239 §6).
    pub forwarded_node: String,
    phase: AtomicU8,
    /// Octets read since the wait for the request began.
    read: AtomicUsize,
    /// Whether octets of the next request may have been read with this one.
    more: AtomicBool,
}

impl Connection {
    /// A connection that has not sent anything yet.
    pub fn new(
        listener: Listener,
        client: SocketAddr,
        local: SocketAddr,
        sni: Option<Hostname>,
        presented: Arc<[CertificateName]>,
    ) -> Self {
        let ip = client.ip().to_canonical();
        let forwarded_node = match ip {
            IpAddr::V4(address) => format!("for={address}"),
            IpAddr::V6(address) => format!("for=\"[{address}]\""),
        };
        // An address is digits, letters, dots and colons, all of which a field value may hold.
        let forwarded_for = HeaderValue::from_maybe_shared(Bytes::from(ip.to_string()))
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let phase = AtomicU8::new(Phase::Idle as u8);
        let (read, more) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { listener, client, local, sni, presented, forwarded_for, forwarded_node, phase, read, more }
    }

    /// The connection a request came in by; `None` for requests not from our own accept loop.
    pub fn of(digest: &Digest) -> Option<&Arc<Self>> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// Where it is. Meaningful for HTTP/1.1 only, whose requests come one after the other.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Header,
            _ => Phase::Request,
        }
    }

    /// Called when the wait for a request begins ([`Phase::Idle`]), by the stream at a header's
    /// first octet, and by the request path when the header is whole ([`Phase::Request`]).
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        if phase == Phase::Idle {
            self.read.store(0, Ordering::Relaxed);
        }
    }

    /// Counts octets read from the client.
    pub fn has_read(&self, octets: usize) {
        self.read.fetch_add(octets, Ordering::Relaxed);
    }

    /// Notes a whole HTTP/1.1 header of so many octets.
    ///
    /// - `body`: whether a body may follow, whose end is not known here.
    pub fn header_is_whole(&self, octets: usize, body: bool) {
        self.more.store(body || self.read.load(Ordering::Relaxed) != octets, Ordering::Relaxed);
    }

    /// Whether octets of the next request may have been read with the last one.
    pub fn may_have_more(&self) -> bool {
        self.more.load(Ordering::Relaxed)
    }

    /// Whether the certificate that was presented covers `host`.
    pub fn presents(&self, host: &Hostname) -> bool {
        self.presented.iter().any(|name| name.covers(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_quoted_in_forwarded_and_a_mapped_one_is_ipv4() {
        let connection = |client: &str| {
            let client = client.parse().unwrap();
            Connection::new(Listener::Https, client, client, None, Arc::new([]))
        };
        let ipv6 = connection("[2001:db8::1]:443");
        assert_eq!(ipv6.forwarded_node, "for=\"[2001:db8::1]\"");
        assert_eq!(ipv6.forwarded_for, "2001:db8::1");
        assert_eq!(connection("[::ffff:192.0.2.1]:443").forwarded_node, "for=192.0.2.1");
    }
}
