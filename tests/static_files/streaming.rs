//! Large files: what they cost in memory, and what happens when they change on their way.

use std::fs::File;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::client::{Client, Served};
use crate::bed::eventually;
use crate::bed::program::Edge;
use crate::client::Ask;
use crate::folder::{Folder, HOST, config};

const MIB: u64 = 1024 * 1024;
const LARGE: u64 = 300 * MIB;

/// The most memory that a process had, in octets.
fn peak(edge: &Edge) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

async fn with_large_file() -> (Folder, Edge) {
    let folder = Folder::full();
    File::create(folder.root().join("large.bin")).unwrap().set_len(LARGE).unwrap();
    let edge = Edge::start(&config(&folder.root(), "")).await;
    Ask::get("/").of(&edge, HOST).await;
    (folder, edge)
}

async fn asked(edge: &Edge, target: &str) -> Served {
    let mut served = edge.handshake(HOST).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    served.stream.write_all(request.as_bytes()).await.unwrap();
    served
}

/// Reads to the end; how many octets there were.
async fn drain(served: &mut Served) -> u64 {
    let (mut piece, mut octets) = (vec![0; 256 * 1024], 0);
    while let Ok(read @ 1..) = served.stream.read(&mut piece).await {
        octets += read as u64;
    }
    octets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_and_many_that_are_not_taken_cost_little_memory() {
    let (_folder, edge) = with_large_file().await;
    let before = peak(&edge);
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(asked(&edge, "/large.bin").await);
    }
    let mut served = edge.handshake(HOST).await.unwrap();
    let request = format!("GET /large.bin HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    served.stream.write_all(request.as_bytes()).await.unwrap();
    let octets = drain(&mut served).await;
    assert!(octets > LARGE && octets < LARGE + 2_000, "{octets}");
    let grown = peak(&edge) - before;
    assert!(grown < 48 * MIB, "{} MiB more for {} MiB and 50 that wait", grown / MIB, LARGE / MIB);
    let part = Ask::get("/large.bin").with("Range", "bytes=314572799-").of(&edge, HOST).await;
    assert_eq!((part.status, part.body.len()), (206, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_shorter_on_its_way_ends_the_connection_and_is_told_of() {
    let (folder, edge) = with_large_file().await;
    let mut served = asked(&edge, "/large.bin").await;
    served.stream.read_exact(&mut [0; 1_000]).await.unwrap();
    File::options().write(true).open(folder.root().join("large.bin")).unwrap().set_len(0).unwrap();
    let octets = drain(&mut served).await;
    assert!(octets < LARGE, "{octets}");
    eventually("it is told of", async || edge.log().contains("a static site could not be read")).await;
    assert_eq!(Ask::get("/").of(&edge, HOST).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_shorter_resets_its_stream_alone() {
    use http_body_util::BodyExt;
    let (folder, mut edge) = with_large_file().await;
    edge.client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let (mut send, _connection) = edge.handshake(HOST).await.unwrap().http2().await;
    let ask = |target: &str| {
        http::Request::get(format!("https://{HOST}{target}")).body(axum::body::Body::empty()).unwrap()
    };
    let answer = send.send_request(ask("/large.bin")).await.unwrap();
    assert_eq!(answer.status(), 200);
    File::options().write(true).open(folder.root().join("large.bin")).unwrap().set_len(0).unwrap();
    assert!(answer.into_body().collect().await.is_err(), "a body that is not whole must not end well");
    assert_eq!(send.send_request(ask("/")).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_let_go() {
    let folder = Folder::full();
    File::create(folder.root().join("large.bin")).unwrap().set_len(LARGE).unwrap();
    let limits = "[limits]\nwrite_idle = \"200ms\"\n";
    let edge = Edge::start(&format!("{limits}{}", config(&folder.root(), ""))).await;
    let mut served = asked(&edge, "/large.bin").await;
    eventually("its request is over", async || {
        edge.log_lines().iter().any(|line| line["fields"]["path"] == "/large.bin")
    })
    .await;
    assert!(drain(&mut served).await < LARGE);
}
