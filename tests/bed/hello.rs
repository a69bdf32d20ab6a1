//! ClientHellos made by hand, for what no TLS library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn vector16(octets: &[u8]) -> Vec<u8> {
    [&u16::try_from(octets.len()).unwrap().to_be_bytes()[..], octets].concat()
}

fn extension(kind: u16, octets: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(octets)].concat()
}

/// A TLS 1.3 ClientHello (RFC 8446 §4.1.2) in one record, asking for `name` as it is.
pub fn with_sni(name: &[u8]) -> Vec<u8> {
    let server_name = vector16(&[&[0], &vector16(name)[..]].concat());
    let key_share = vector16(&[&[0, 29][..], &vector16(&[9; 32])].concat());
    let extensions = [
        extension(0, &server_name),
        extension(10, &vector16(&[0, 29, 0, 23])),
        extension(13, &vector16(&[4, 3, 8, 4])),
        extension(43, &[2, 3, 4]),
        extension(51, &key_share),
    ]
    .concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &vector16(&[0x13, 1, 0x13, 2]), &[1, 0], &vector16(&extensions)]
        .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &vector16(&message)].concat()
}

/// The same handshake message in records of `size` octets each.
pub fn in_records_of(hello: &[u8], size: usize) -> Vec<u8> {
    hello[5..].chunks(size).flat_map(|piece| [&[22, 3, 1][..], &vector16(piece)].concat()).collect()
}

/// The number of the alert that the server answers with; `None` for any other answer.
pub async fn answer(server: SocketAddr, hello: &[u8]) -> Option<i32> {
    let mut tcp = TcpStream::connect(server).await.unwrap();
    tcp.write_all(hello).await.unwrap();
    let mut record = [0; 7];
    tcp.read_exact(&mut record).await.ok()?;
    (record[0] == 21).then_some(i32::from(record[6]))
}
