//! Header fields that the edge sets or takes away on the way to an origin and back.

use bytes::Bytes;
use http::header::{CONNECTION, FORWARDED, HOST, HeaderName, HeaderValue, TE, UPGRADE};
use http::{HeaderMap, StatusCode};
use pingora_http::ResponseHeader;

use super::connection::Listener;
use super::middleware::{Middleware, Outgoing, RequestContext, ResponseHeaders};
use crate::domain::site::Hsts;

/// Fields by which a client could tell an origin who it is, which only the edge knows; written
/// with hyphens. `x-forwarded-` is meant as a beginning, the others whole.
const CLAIMS: &[&str] = &[
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-request-id",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-nameplate-metadata",
    // CGI makes it HTTP_PROXY, which some programs take for their outgoing proxy.
    "proxy",
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What all the fields in [`CLAIMS`] and `x-forwarded-*` begin with.
const CLAIM_INITIALS: &[u8] = b"cfptx";
/// Longest `Forwarded` value made: two bracketed IPv6 addresses with ports and a hostname.
const FORWARDED_OCTETS: usize = 400;

/// Tells the origin who asked, for what and how: `Forwarded` (RFC 7239), `X-Forwarded-For`,
/// `-Proto`, `-Host` and `X-Request-Id`. What the client sent under these
/// names is replaced, since nobody before the edge is trusted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardedHeaders;

impl Middleware for ForwardedHeaders {
    fn outgoing(&self, request: &RequestContext<'_>, outgoing: &mut Outgoing<'_>) {
        remove_claims(outgoing);
        let proto = match request.listener() {
            Listener::Https => "https",
            Listener::Http => "http",
        };
        let host = outgoing.headers().get(HOST).cloned();
        let connection = &request.facts.connection;
        let host_text = host.as_ref().and_then(|host| host.to_str().ok());
        let mut text = String::with_capacity(FORWARDED_OCTETS);
        for part in [
            &connection.forwarded_node,
            ";host=\"",
            host_text.unwrap_or(request.hostname().as_str()),
            "\";proto=",
            proto,
        ] {
            text.push_str(part);
        }
        let host = host.unwrap_or_else(|| value(request.hostname().to_string()));
        outgoing.set_all([
            ("Forwarded", FORWARDED, value(text)),
            ("X-Forwarded-For", X_FORWARDED_FOR, connection.forwarded_for.clone()),
            ("X-Forwarded-Proto", X_FORWARDED_PROTO, HeaderValue::from_static(proto)),
            ("X-Forwarded-Host", X_FORWARDED_HOST, host),
            ("X-Request-Id", X_REQUEST_ID, request.facts.id.value()),
        ]);
    }

    fn response(&self, request: &RequestContext<'_>, headers: &mut ResponseHeaders<'_>) {
        headers.set_known("X-Request-Id", X_REQUEST_ID, request.facts.id.value());
    }
}

/// Hosts and addresses hold nothing that a field value may not.
fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn remove_claims(outgoing: &mut Outgoing<'_>) {
    // A request that claims nothing, nearly every one, costs a look at each name's first octet.
    while let Some(name) = outgoing.headers().keys().find(|name| is_claim(name)).cloned() {
        outgoing.remove(name.as_str());
    }
}

fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str();
    if !name.as_bytes().first().is_some_and(|initial| CLAIM_INITIALS.contains(initial)) {
        return false;
    }
    // CGI and WSGI read `X_Forwarded_For` as they read `X-Forwarded-For`.
    let same = |a: u8, b: u8| a == b || (a == b'_' && b == b'-');
    let begins =
        |with: &str| name.len() >= with.len() && name.bytes().zip(with.bytes()).all(|(a, b)| same(a, b));
    begins("x-forwarded-") || CLAIMS.iter().any(|claim| claim.len() == name.len() && begins(claim))
}

/// `Strict-Transport-Security` where the site's setting asks for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct StrictTransportSecurity;

impl Middleware for StrictTransportSecurity {
    fn response(&self, request: &RequestContext<'_>, headers: &mut ResponseHeaders<'_>) {
        // RFC 6797 §7.2: never on plain HTTP, where a route is not known either.
        if let Some(value) = request.route().and_then(|route| route.hsts.as_ref()) {
            headers.set("Strict-Transport-Security", value.clone());
        }
    }
}

/// The header's value (RFC 6797 §6.1).
pub fn hsts_value(hsts: &Hsts) -> HeaderValue {
    let mut text = format!("max-age={}", hsts.max_age.as_secs());
    if hsts.include_subdomains {
        text.push_str("; includeSubDomains");
    }
    if hsts.preload {
        text.push_str("; preload");
    }
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Removes what an origin said about its own connection (RFC 9110 §7.6.1), on which the
/// client's does not depend. Transfer-Encoding stays: Pingora frames the answer by it.
pub fn remove_hop_by_hop(response: &mut ResponseHeader) {
    // One look at each field: nearly no answer carries any that is not plain.
    if !response.headers.iter().any(|(name, value)| is_hop_by_hop(name) && !is_plain(name, value)) {
        return;
    }
    const ALWAYS: [&str; 4] =
        ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authentication-info"];
    if response.headers.contains_key(CONNECTION) {
        for name in nominated(&response.headers) {
            response.remove_header(name.as_str());
        }
    }
    for name in ALWAYS {
        if response.headers.contains_key(name) {
            response.remove_header(name);
        }
    }
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    for name in [CONNECTION, UPGRADE, TE] {
        if response.headers.contains_key(&name) {
            response.remove_header(&name);
        }
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == UPGRADE
        || *name == TE
        || name.as_str().starts_with("proxy-")
        || name.as_str() == "keep-alive"
}

/// Whether the field is a `Connection` that names no other field: Pingora replaces it, or on
/// HTTP/2 takes it away.
fn is_plain(name: &HeaderName, value: &HeaderValue) -> bool {
    *name == CONNECTION
        && ["keep-alive", "close"].iter().any(|plain| value.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
}

/// The names in `Connection`, except those without which the answer could not be read.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    const KEPT: [&str; 4] = ["upgrade", "transfer-encoding", "content-length", "connection"];
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&octet| octet == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !KEPT.contains(&name.as_str()))
        .collect()
}

/// Whether the request is gRPC, which needs HTTP/2 all the way.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn claims_are_known_by_any_spelling() {
        let claim = |name: &'static str| is_claim(&HeaderName::from_static(name));
        for name in ["forwarded", "x-forwarded-for", "x_forwarded_for", "x-forwarded-anything", "x_real-ip"] {
            assert!(claim(name), "{name}");
        }
        for name in ["x-forwarded", "x-forward", "cookie", "content-type", "x-real-ip-not", "te", "host"] {
            assert!(!claim(name), "{name}");
        }
    }

    #[test]
    fn hsts_is_written_as_browsers_read_it() {
        let hsts = Hsts { max_age: Duration::from_secs(31_536_000), include_subdomains: true, preload: true };
        assert_eq!(hsts_value(&hsts), "max-age=31536000; includeSubDomains; preload");
    }
}
