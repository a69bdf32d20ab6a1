//! HTTP/2 clients that keep to its letter, or not even that: frames by hand (RFC 9113 §4.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::bed::client::Client;
use crate::bed::program::Edge;
use crate::bed::{DEADLINE, eventually};
use crate::honest::{Honest, KNOWN, Origin, edge, resident};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// An attack is given up, as one that succeeds, after so many pieces.
const ENOUGH: u32 = 100_000;
/// What all of an attack may leave behind.
const FLAT: u64 = 64 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET path` as a header block (RFC 7541), without Huffman codes or the dynamic table.
fn get(path: &str) -> Vec<u8> {
    let literal =
        |index: u8, text: &str| [&[index, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [&[0x82, 0x87][..], &literal(4, path), &literal(1, KNOWN)].concat()
}

fn post() -> Vec<u8> {
    [&[0x83, 0x87, 0x84][..], &get("/")[2 + 3..]].concat()
}

struct House {
    edge: Edge,
    _origin: Origin,
}

async fn house() -> House {
    let origin = Origin::start().await;
    let edge = edge(&origin, "request_header = \"2s\"\nwrite_idle = \"1s\"\nkeep_alive = \"3s\"", "").await;
    House { edge, _origin: origin }
}

impl House {
    /// Sends the preface, `settings`, and the pieces that `attack` makes, as fast as they are
    /// taken, until the server closes the connection. How many were sent.
    async fn closes(&self, settings: &[u8], mut attack: impl FnMut(u32) -> Vec<u8>) -> u32 {
        let before = resident(&self.edge);
        let honest = Honest::begin(&self.edge);
        let client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
        let served = client.handshake(self.edge.https, KNOWN).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(served.stream);
        let reads = tokio::spawn(async move {
            let mut space = [0; 16_384];
            while matches!(reader.read(&mut space).await, Ok(1..)) {}
        });
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, settings)[..]].concat();
        writer.write_all(&preface).await.unwrap();
        let mut sent = 0;
        while sent < ENOUGH && !reads.is_finished() {
            if writer.write_all(&attack(sent)).await.is_err() {
                break;
            }
            sent += 1;
        }
        assert!(sent < ENOUGH, "the attack goes on");
        timeout(DEADLINE, reads).await.expect("the connection is closed").unwrap();
        honest.end().await;
        let grown = resident(&self.edge).saturating_sub(before);
        assert!(grown < FLAT, "{grown} octets more");
        sent
    }

    async fn floods(&self, frames: &str) -> f64 {
        self.edge.metric(&format!("http2_floods_total{{frames=\"{frames}\"}}")).await
    }
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_is_closed() {
    let house = house().await;
    // The library counts those that nobody has seen yet; what it misses, we count.
    house
        .closes(&[], |number| {
            let request = frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get("/"));
            [request, frame(RST_STREAM, 0, stream(number), &[0, 0, 0, 8])].concat()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_that_the_server_is_made_to_send_are_bounded() {
    let house = house().await;
    house
        .closes(&[], |number| {
            let request = frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get("/"));
            [request, frame(WINDOW_UPDATE, 0, stream(number), &[0; 4])].concat()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_settings_and_pings_are_closed() {
    let house = house().await;
    house.closes(&[], |_| frame(SETTINGS, 0, 0, &[]).repeat(100)).await;
    assert_eq!(house.floods("settings").await, 1.0);
    house.closes(&[], |_| frame(PING, 0, 0, &[7; 8]).repeat(100)).await;
    assert_eq!(house.floods("ping").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_empty_frames_is_closed() {
    let house = house().await;
    let sent = house
        .closes(&[], |number| match number {
            0 => frame(HEADERS, END_HEADERS, 1, &post()),
            _ => frame(DATA, 0, 1, &[]).repeat(100),
        })
        .await;
    assert!(sent < 5_000, "{sent} hundred frames");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_block_without_end_is_closed() {
    let house = house().await;
    let sent = house
        .closes(&[], |number| match number {
            0 => frame(HEADERS, END_STREAM, 1, &get("/")),
            _ => frame(CONTINUATION, 0, 1, &[&[0, 1, b'a', 100][..], &[b'b'; 100]].concat()),
        })
        .await;
    assert!(sent < 20_000, "{sent} frames");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_block_that_stops_is_closed() {
    let house = house().await;
    let client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let mut served = client.handshake(house.edge.https, KNOWN).await.unwrap();
    let begun = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(SETTINGS, 0, 0, &[])[..],
        &frame(HEADERS, END_STREAM, 1, &get("/")),
    ];
    served.stream.write_all(&begun.concat()).await.unwrap();
    let mut said = Vec::new();
    let closed = timeout(Duration::from_secs(30), served.stream.read_to_end(&mut said)).await;
    assert!(closed.is_ok(), "the connection is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_blocks_of_large_headers_cost_little() {
    let house = house().await;
    let before = resident(&house.edge);
    let client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let mut served = client.handshake(house.edge.https, KNOWN).await.unwrap();
    served.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    served.stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    // One header of 3,000 octets into the dynamic table (0x7f and two octets: 127 + 2,873), then
    // 10,000 times that one: 30 MB for 13 KB.
    let bomb = [&get("/")[..], &[0x40, 1, b'a', 0x7f, 0xb9, 0x16], &[b'b'; 3_000], &[0xbe; 10_000]].concat();
    let first = frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    served.stream.write_all(&first).await.unwrap();
    let again = [&get("/")[..], &[0xbe; 16_000]].concat();
    for number in 1..100 {
        let block = frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &again);
        if served.stream.write_all(&block).await.is_err() {
            break;
        }
    }
    assert!(house.edge.get(KNOWN, "/").await.starts_with("HTTP/1.1 200"));
    let grown = resident(&house.edge).saturating_sub(before);
    assert!(grown < FLAT, "{grown} octets more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_opens_its_window_is_cut() {
    let house = house().await;
    let client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let mut stalled = client.handshake(house.edge.https, KNOWN).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE (4) of zero.
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    octets.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..50 {
        octets.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get("/large")));
    }
    stalled.stream.write_all(&octets).await.unwrap();
    let honest = Honest::begin(&house.edge);
    let reads = tokio::spawn(async move {
        let mut space = [0; 16_384];
        while matches!(stalled.stream.read(&mut space).await, Ok(1..)) {}
    });
    timeout(DEADLINE, reads).await.expect("it is cut").unwrap();
    honest.end().await;
    eventually("nothing is left of it", async || {
        house.edge.metric(r#"connections{listener="https"}"#).await == 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_holds_its_stream_no_longer_than_the_origin_is_waited_for() {
    let origin = Origin::start().await;
    let site = format!(
        "[[site]]\nname = \"quick\"\nhostnames = [\"quick.test\"]\norigins = [\"{}\"]\ntimeouts = {{ read = \"1s\" }}",
        origin.address
    );
    let edge = edge(&origin, "keep_alive = \"2s\"", &site).await;
    let client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let mut served = client.handshake(edge.https, "quick.test").await.unwrap();
    let authority = [&[1, 10][..], b"quick.test"].concat();
    let head = [&[0x83, 0x87, 0x84][..], &authority].concat();
    let begun = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &frame(SETTINGS, 0, 0, &[])[..],
        &frame(HEADERS, END_HEADERS, 1, &head),
        &frame(DATA, 0, 1, b"x"),
    ];
    served.stream.write_all(&begun.concat()).await.unwrap();
    let mut said = Vec::new();
    let closed = timeout(Duration::from_secs(30), served.stream.read_to_end(&mut said)).await;
    assert!(closed.is_ok(), "the stream ends, and then the idle connection");
}

/// An origin that never answers; how many connections to it are open, and the most there ever were.
async fn silent() -> (std::net::SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (open.clone(), most.clone());
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            peak.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut space = [0; 4096];
                while matches!(tcp.read(&mut space).await, Ok(1..)) {}
                counted.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (address, open, most)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_origins_are_bounded_by_the_streams_of_a_client() {
    const STREAMS: usize = 100;
    let origin = Origin::start().await;
    let (address, open, most) = silent().await;
    let site =
        format!("[[site]]\nname = \"silent\"\nhostnames = [\"silent.test\"]\norigins = [\"{address}\"]");
    let edge = edge(&origin, "", &site).await;
    let client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let mut served = client.handshake(edge.https, "silent.test").await.unwrap();
    let begun = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat();
    served.stream.write_all(&begun).await.unwrap();
    let head = [&[0x82, 0x87, 0x84, 1, 11][..], b"silent.test"].concat();
    let mut numbers = 0..;
    // Each time all of its streams are used, then given up: the connections behind them end too.
    for _ in 0..4 {
        let streams: Vec<u32> = numbers.by_ref().take(STREAMS).map(stream).collect();
        for &number in &streams {
            let request = frame(HEADERS, END_HEADERS | END_STREAM, number, &head);
            served.stream.write_all(&request).await.unwrap();
        }
        eventually("all reach the origin", async || open.load(Ordering::SeqCst) == STREAMS).await;
        for &number in &streams {
            served.stream.write_all(&frame(RST_STREAM, 0, number, &[0, 0, 0, 8])).await.unwrap();
        }
        eventually("none is left", async || open.load(Ordering::SeqCst) == 0).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), STREAMS);
}
