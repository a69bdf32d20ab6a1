//! What a ClientHello asks for.

use openssl::ssl::SslRef;

use super::ffi;
use crate::domain::hostname::{Hostname, InvalidHostname};

/// Extension type of server_name (RFC 6066 §3).
const SERVER_NAME: u16 = 0;
/// Extension type of ALPN (RFC 7301 §3.1).
const ALPN: u16 = 16;
/// The protocol of TLS-ALPN-01 (RFC 8737 §6.2).
pub const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// The name a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerName {
    /// No server_name extension.
    Absent,
    /// A hostname.
    Hostname(Hostname),
    /// Something that is no hostname.
    Invalid(InvalidHostname),
}

/// What matters of a ClientHello.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The name asked for.
    pub name: ServerName,
    /// ALPN is exactly `acme-tls/1`: an authority validates (RFC 8737 §3).
    pub challenge: bool,
}

impl Hello {
    /// Reads it inside a ClientHello callback.
    pub fn read(ssl: &SslRef) -> Self {
        Self {
            name: ffi::client_hello_extension(ssl, SERVER_NAME).map_or(ServerName::Absent, server_name),
            challenge: ffi::client_hello_extension(ssl, ALPN).is_some_and(offers_only_acme),
        }
    }
}

/// Reads the server_name extension: a list of one host_name (RFC 6066 §3).
pub fn server_name(extension: &[u8]) -> ServerName {
    let Some(list) = vector16(extension) else {
        return ServerName::Invalid(InvalidHostname::Empty);
    };
    // A name type of 0 is host_name; no other was ever defined.
    match list.split_first().map(|(kind, rest)| (kind, vector16(rest))) {
        Some((0, Some(octets))) => match Hostname::from_sni(octets) {
            Ok(hostname) => ServerName::Hostname(hostname),
            Err(why) => ServerName::Invalid(why),
        },
        _ => ServerName::Invalid(InvalidHostname::Empty),
    }
}

/// The contents of a vector with a length of two octets, which must fill `octets`.
fn vector16(octets: &[u8]) -> Option<&[u8]> {
    let (length, rest) = octets.split_first_chunk::<2>()?;
    (usize::from(u16::from_be_bytes(*length)) == rest.len()).then_some(rest)
}

fn offers_only_acme(extension: &[u8]) -> bool {
    matches!(vector16(extension), Some([length, name @ ..])
        if usize::from(*length) == name.len() && name == ACME_TLS_1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(kind: u8, name: &[u8]) -> Vec<u8> {
        let length = u16::try_from(name.len()).unwrap().to_be_bytes();
        let list = u16::try_from(name.len() + 3).unwrap().to_be_bytes();
        [&list[..], &[kind], &length[..], name].concat()
    }

    #[test]
    fn a_host_name_is_read_and_normalised() {
        let expected = ServerName::Hostname("shop.test".parse().unwrap());
        assert_eq!(server_name(&extension(0, b"Shop.TEST.")), expected);
    }

    #[test]
    fn broken_extensions_are_invalid_not_absent() {
        let good = extension(0, b"shop.test");
        for broken in [&good[..good.len() - 1], &good[..1], &[], &extension(1, b"shop.test"), &[0, 0]] {
            assert!(matches!(server_name(broken), ServerName::Invalid(_)), "{broken:?}");
        }
        assert!(matches!(server_name(&extension(0, b"")), ServerName::Invalid(InvalidHostname::Empty)));
    }

    #[test]
    fn only_a_lone_acme_protocol_is_a_challenge() {
        assert!(offers_only_acme(b"\x00\x0b\x0aacme-tls/1"));
        assert!(!offers_only_acme(b"\x00\x0e\x02h2\x0aacme-tls/1"));
        assert!(!offers_only_acme(b"\x00\x03\x02h2"));
        assert!(!offers_only_acme(b""));
    }
}
