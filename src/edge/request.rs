//! What one request is and how it went: its id, its counters, its line in the access log.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use http::{StatusCode, Version};
use pingora_proxy::Session;
use prometheus::IntCounter;

use super::Error;
use super::connection::Listener;
use super::middleware::{Facts, RequestContext};
use super::origin::{Target, Tries};
use crate::domain::hostname::Hostname;
use crate::telemetry::metrics::Metrics;

/// The target of the access log's lines.
pub const ACCESS_LOG: &str = "nameplate::access";

/// 128 random bits as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// A fresh one.
    pub fn random() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let bits: u128 = rand::random();
        let mut hex = [0; 32];
        for (place, digit) in hex.iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (4 * place)) as usize & 0xf];
        }
        Self(hex)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        // Only ASCII digits are ever put there.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As a header's value, which takes no place in HPACK's table (RFC 7541 §7.1.3): it never
    /// comes again.
    pub fn value(&self) -> HeaderValue {
        let mut value = HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

/// The counters of one listener and site, found once, so that a request looks up no label.
#[derive(Clone, Debug)]
pub struct Counters([IntCounter; 6]);

impl Counters {
    /// - `site`: the value of the label `site`; empty for requests that no site has.
    pub fn new(metrics: &Metrics, listener: Listener, site: &str) -> Self {
        let listener = match listener {
            Listener::Http => "http",
            Listener::Https => "https",
        };
        let of = |class: &str| metrics.http_requests.with_label_values(&[listener, site, class]);
        Self(["none", "1xx", "2xx", "3xx", "4xx", "5xx"].map(of))
    }

    /// Counts one request; `None`: the client went away before an answer.
    pub fn count(&self, status: Option<StatusCode>) {
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        self.0[if class < self.0.len() { class } else { 0 }].inc();
    }
}

/// One request on its way, from its header to the end of its answer.
#[derive(Debug)]
pub struct Exchange {
    pub(super) started: Instant,
    pub(super) facts: Option<Facts>,
    pub(super) refused: Option<Error>,
    pub(super) id: RequestId,
    pub(super) tries: Tries,
    pub(super) asked_origin: Option<Instant>,
    /// Octets of its body so far.
    pub(super) body: u64,
}

impl Exchange {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            facts: None,
            refused: None,
            id: RequestId::random(),
            tries: Tries::default(),
            asked_origin: None,
            body: 0,
        }
    }

    pub(super) fn context<'a>(&'a self, session: &'a Session) -> Option<RequestContext<'a>> {
        let facts = self.facts.as_ref()?;
        Some(RequestContext { facts, head: session.req_header() })
    }

    /// Seconds since its header was whole.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A request's line in the access log. What a client sent is escaped; a hostname holds nothing
/// to escape.
pub(super) struct AccessLine<'a> {
    pub(super) client: Option<IpAddr>,
    pub(super) host: Option<&'a Hostname>,
    pub(super) site: Option<&'a str>,
    pub(super) method: &'a str,
    pub(super) path: &'a [u8],
    pub(super) version: Version,
    pub(super) status: Option<StatusCode>,
    pub(super) octets: usize,
    pub(super) seconds: f64,
    pub(super) origin: Option<&'a Target>,
    pub(super) id: &'a str,
}

impl AccessLine<'_> {
    pub(super) fn write(&self) {
        tracing::info!(
            target: ACCESS_LOG,
            client = self.client.map(display),
            host = self.host.map(display),
            site = self.site,
            method = self.method,
            path = %self.path.escape_ascii(),
            version = ?self.version,
            status = self.status.map(|status| status.as_u16()),
            octets = self.octets,
            seconds = self.seconds,
            origin = self.origin.map(display),
            id = self.id,
        );
    }
}

/// Writes a request's line.
pub(super) fn log_access(session: &Session, exchange: &Exchange, status: Option<StatusCode>) {
    let head = session.req_header();
    let facts = exchange.facts.as_ref();
    let line = AccessLine {
        client: facts.map(|facts| facts.connection.client.ip()),
        host: facts.map(|facts| &facts.hostname),
        site: facts.and_then(|facts| facts.route()).map(|route| route.name()),
        method: head.method.as_str(),
        path: head.raw_path(),
        version: head.version,
        status,
        octets: session.body_bytes_sent(),
        seconds: exchange.elapsed().as_secs_f64(),
        origin: exchange.tries.last(),
        id: exchange.id.as_str(),
    };
    line.write();
}
