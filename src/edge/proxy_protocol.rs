//! The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command LOCAL.
const LOCAL: u8 = 0x20;
/// Longest header of version 1, line end included.
const LONGEST_LINE: usize = 107;
/// Octets of version 2 before its addresses.
const FIXED: usize = 16;
/// Longest addresses and TLVs of version 2 that are taken; the protocol's own limit is 65,535.
const LONGEST_REST: usize = 4096;

/// Reads the header that a trusted peer begins with, and not an octet more.
///
/// `Some` holds the client's address and the one it connected to; `None` is a connection of the
/// peer's own (`LOCAL`, `UNKNOWN`), such as a health check. Anything else is an error.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_binary(stream, &mut header).await?;
    } else if header.starts_with(b"PROXY ") {
        read_line(stream, &mut header).await?;
    } else {
        return Err(invalid("the peer is listed in listen.proxy_protocol_from but sent no PROXY header"));
    }
    // Whatever addresses such a header carries are to be passed over (specification §2.1, §2.2).
    let local = header.starts_with(b"PROXY UNKNOWN")
        || header.strip_prefix(SIGNATURE).is_some_and(|rest| rest[0] == LOCAL);
    if local {
        return Ok(None);
    }
    let (parsed, _) = ProxyHeader::parse(&header, ParseConfig::default())
        .map_err(|_| invalid("the PROXY header is malformed"))?;
    Ok(parsed.proxied_address().map(|address| (address.source, address.destination)))
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    header.resize(FIXED, 0);
    stream.read_exact(&mut header[SIGNATURE.len()..]).await?;
    let rest = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
    if rest > LONGEST_REST {
        return Err(invalid("the PROXY header is too long"));
    }
    header.resize(FIXED + rest, 0);
    stream.read_exact(&mut header[FIXED..]).await?;
    Ok(())
}

/// Octet by octet, as nothing says how long the line is and nothing behind it may be taken.
async fn read_line(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> io::Result<()> {
    while !header.ends_with(b"\r\n") {
        if header.len() >= LONGEST_LINE {
            return Err(invalid("the PROXY header is too long"));
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(octets: &[u8]) -> (io::Result<Option<(SocketAddr, SocketAddr)>>, usize) {
        let mut rest = octets;
        let parsed = read(&mut rest).await;
        (parsed, rest.len())
    }

    fn binary(command: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, 0x11], &length[..], addresses].concat()
    }

    #[tokio::test]
    async fn both_versions_give_the_client_and_leave_what_follows() {
        let expected = Some(("192.0.2.7:1234".parse().unwrap(), "198.51.100.1:443".parse().unwrap()));
        let (line, rest) = parse(b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\nhello").await;
        assert_eq!((line.unwrap(), rest), (expected, 5));
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x04, 0xd2, 0x01, 0xbb];
        let (parsed, rest) = parse(&[&binary(0x21, &addresses)[..], b"hello"].concat()).await;
        assert_eq!((parsed.unwrap(), rest), (expected, 5));
    }

    #[tokio::test]
    async fn a_connection_of_the_peer_itself_has_no_client() {
        assert_eq!(parse(b"PROXY UNKNOWN\r\n").await.0.unwrap(), None);
        assert_eq!(parse(&binary(0x20, &[])).await.0.unwrap(), None);
    }

    #[tokio::test]
    async fn everything_else_is_an_error() {
        let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200][..]].concat();
        for broken in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROXY TCP4 x y\r\n      ", &SIGNATURE[..], &endless]
        {
            assert!(parse(broken).await.0.is_err(), "{broken:?}");
        }
    }
}
