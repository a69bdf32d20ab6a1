//! Where a request ends and which host it is for: what Pingora leaves open is refused here.
//!
//! Pingora itself refuses a space before a colon, folded lines, two Hosts, a Host that differs
//! from an absolute target's authority, Content-Lengths that differ, and codings after `chunked`.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{Method, Version};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::authority::{RawTargetAuthority, raw_target_authority};
use pingora_http::RequestHeader;

use super::Error;
use crate::domain::hostname::Hostname;

/// Refuses a request whose end, target or length two readers could read differently.
pub fn check(session: &ServerSession) -> Result<(), Error> {
    let head = session.req_header();
    if let Some(http1) = session.as_http1() {
        let raw = http1.get_headers_raw_bytes();
        if has_bare_line_feed(&raw) {
            return Err(Error::BareLineFeed);
        }
        check_transfer_encoding(head, &raw)?;
    }
    path_and_query(head).map(|_| ())
}

/// Whether a line of a header ends with a line feed alone, which readers take differently.
pub fn has_bare_line_feed(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', raw).any(|at| at == 0 || raw[at - 1] != b'\r')
}

/// Pingora drops a Content-Length beside Transfer-Encoding from the parsed header, so the raw
/// one is read for it.
fn check_transfer_encoding(head: &RequestHeader, raw: &[u8]) -> Result<(), Error> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    const LENGTH: &[u8] = b"content-length:";
    let mut lines = raw.split(|&octet| octet == b'\n');
    if lines.any(|line| line.get(..LENGTH.len()).is_some_and(|name| name.eq_ignore_ascii_case(LENGTH))) {
        return Err(Error::TwoLengths);
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Error::TransferCoding);
    }
    Ok(())
}

/// Path and query of the request's target, as they go to an origin (RFC 9112 §3.2.1): an
/// absolute URL's too. Begins with `/`, or is `*` where the method is OPTIONS.
pub fn path_and_query(head: &RequestHeader) -> Result<&[u8], Error> {
    let raw = head.raw_path();
    if raw.first() == Some(&b'/') || (raw == b"*" && head.method == Method::OPTIONS) {
        return Ok(raw);
    }
    match raw_target_authority(raw) {
        RawTargetAuthority::Absolute { scheme, path_and_query, .. }
            if scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https") =>
        {
            match path_and_query.first() {
                Some(b'/') => Ok(path_and_query),
                None => Ok(b"/"),
                Some(_) => Err(Error::Target),
            }
        }
        _ => Err(Error::Target),
    }
}

/// The text that names the host: `:authority` on HTTP/2, else the Host header, else the
/// authority of an absolute target.
pub fn host(head: &RequestHeader) -> Result<&[u8], Error> {
    let field = || head.headers.get(HOST).map(|host| host.as_bytes());
    let target = || head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = if head.version == Version::HTTP_2 { target().or_else(field) } else { field() };
    match host.or_else(|| raw_target_authority(head.raw_path()).authority()) {
        Some(host) if !host.is_empty() => Ok(host),
        _ => Err(Error::NoHost),
    }
}

/// The hostname in `host`, whose port is checked and left out. Where it is `sni`, no memory is
/// allocated.
pub fn hostname(host: &[u8], sni: Option<&Hostname>) -> Result<Hostname, Error> {
    let name = without_port(host)?;
    match sni {
        Some(sni) if sni.as_str().as_bytes() == name => Ok(sni.clone()),
        _ => Ok(Hostname::from_sni(name)?),
    }
}

fn without_port(host: &[u8]) -> Result<&[u8], Error> {
    // The colons of an IPv6 literal stand within brackets; the port's comes after them.
    let Some(colon) = memchr::memrchr(b':', host).filter(|&at| !host[at..].contains(&b']')) else {
        return Ok(host);
    };
    let (name, port) = (&host[..colon], &host[colon + 1..]);
    // Nothing else is summed up, as that could overflow.
    if port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
        return Err(Error::Port);
    }
    let number = port.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if number <= u32::from(u16::MAX) { Ok(name) } else { Err(Error::Port) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hostname::InvalidHostname;

    #[test]
    fn a_host_loses_its_port_and_nothing_else() {
        let of = |host: &str| hostname(host.as_bytes(), None).map(|name| name.to_string());
        assert_eq!(of("Shop.Test"), Ok("shop.test".into()));
        assert_eq!(of("shop.test:8443"), Ok("shop.test".into()));
        assert_eq!(of("shop.test:"), Ok("shop.test".into()));
        assert_eq!(of("shop.test:65536"), Err(Error::Port));
        assert_eq!(of("shop.test:1a"), Err(Error::Port));
        assert_eq!(of("shop.test:99999999999"), Err(Error::Port));
        assert!(of("shop.test:443:443").is_err());
        assert_eq!(of("[::1]:443"), Err(Error::Host(InvalidHostname::IpAddress)));
        assert_eq!(of("[::1]"), Err(Error::Host(InvalidHostname::IpAddress)));
        assert_eq!(of("a_b.test"), Err(Error::Host(InvalidHostname::Octet { octet: b'_' })));
        assert_eq!(of("evil.test/x"), Err(Error::Host(InvalidHostname::Octet { octet: b'/' })));
    }

    #[test]
    fn only_lines_that_end_with_cr_lf_pass() {
        assert!(!has_bare_line_feed(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert!(has_bare_line_feed(b"GET / HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n"));
        assert!(has_bare_line_feed(b"\nGET / HTTP/1.1\r\n\r\n"));
    }
}
