//! Bodies pass through without being collected.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures::StreamExt;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::bed::{Bed, Scripted, field, soon, status};

const PIECE: usize = 64 * 1024;
const PIECES: usize = 1600;
/// 100 MiB.
const BODY: usize = PIECE * PIECES;
/// What the process may grow by while a body passes.
const GROWTH: usize = 40 * 1024 * 1024;

/// Octets of this process that are in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// An origin that takes and gives large bodies a piece at a time.
async fn large_origin() -> std::net::SocketAddr {
    async fn count(body: Body) -> String {
        let octets = body.into_data_stream().fold(0, async |sum, piece| sum + piece.unwrap().len()).await;
        octets.to_string()
    }
    async fn fill() -> Body {
        static ZEROS: [u8; PIECE] = [0; PIECE];
        let pieces = (0..PIECES).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&ZEROS)));
        Body::from_stream(futures::stream::iter(pieces))
    }
    let router = Router::new().route("/up", post(count)).route("/down", get(fill));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, router).await });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_pass_both_ways_with_flat_memory() {
    let edge = Bed::shop(&[large_origin().await]).start().await;
    let before = resident();

    let mut client = edge.connect().await;
    client.send(format!("POST /up HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {BODY}\r\n\r\n")).await;
    let piece = vec![7; PIECE];
    let mut most = 0;
    for _ in 0..PIECES {
        soon("room for a piece", client.tcp.write_all(&piece)).await.unwrap();
        most = most.max(resident());
    }
    let answer = client.answer(false).await;
    assert!(answer.ends_with(&format!("\r\n\r\n{BODY}")), "{answer}");
    assert!(most.saturating_sub(before) < GROWTH, "up: from {before} to {most}");

    client.send("GET /down HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await;
    let (mut piece, mut octets) = (vec![0; PIECE], 0);
    while let count @ 1.. = soon("a piece", client.tcp.read(&mut piece)).await.unwrap() {
        octets += count;
        most = most.max(resident());
    }
    assert!(octets > BODY && octets < BODY + BODY / 10, "{octets}");
    assert!(most.saturating_sub(before) < GROWTH, "down: from {before} to {most}");
}

#[tokio::test]
async fn each_piece_of_a_body_passes_before_the_next_is_sent() {
    // The origin sends back each piece before the client sends another.
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = Bed::shop(&[socket.local_addr().unwrap()]).start().await;
    tokio::spawn(async move {
        let (mut tcp, _) = socket.accept().await.unwrap();
        let mut read = String::new();
        let mut piece = [0; 4096];
        let mut next = async |read: &mut String, tcp: &mut tokio::net::TcpStream, want: &str| {
            while !read.contains(want) {
                let count = tcp.read(&mut piece).await.unwrap();
                read.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        };
        next(&mut read, &mut tcp, "one").await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nuno\r\n").await.unwrap();
        next(&mut read, &mut tcp, "two").await;
        tcp.write_all(b"3\r\ndue\r\n0\r\n\r\n").await.unwrap();
    });
    let mut client = edge.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    assert_eq!(status(&client.answer(true).await), 200);
    client.until("uno").await;
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    client.until("due").await;
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_from_the_origin() {
    let edge = Bed::shop(&[large_origin().await]).start().await;
    let mut client = edge.connect().await;
    client
        .send("POST /up HTTP/1.1\r\nHost: shop.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert_eq!(status(&client.answer(true).await), 100);
    client.send("hello").await;
    assert!(client.answer(false).await.ends_with("\r\n\r\n5"));
}

#[tokio::test]
async fn early_hints_pass() {
    let origin = Scripted::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let mut client = edge.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    let hints = client.answer(true).await;
    assert_eq!((status(&hints), field(&hints, "Link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(status(&client.answer(false).await), 200);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_order() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
    ] {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let edge = Bed::shop(&[socket.local_addr().unwrap()]).start().await;
        tokio::spawn(async move {
            let (mut tcp, _) = socket.accept().await.unwrap();
            let mut piece = [0; 4096];
            while tcp.read(&mut piece).await.is_ok_and(|count| count > 0) {
                tcp.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut client = edge.connect().await;
        for _ in 0..2 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: shop.test\r\n\r\n")).await;
            let got = client.answer(true).await;
            assert_eq!(status(&got), status(answer), "{got}");
            assert_eq!(field(&got, "Transfer-Encoding"), None, "{got}");
            let length = if method == "HEAD" { Some("1000") } else { None };
            assert_eq!(field(&got, "Content-Length"), length, "{got}");
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_request_to_the_origin() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = Bed::shop(&[socket.local_addr().unwrap()]).start().await;
    let mut client = edge.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    let (mut tcp, _) = soon("a request", socket.accept()).await.unwrap();
    let mut piece = [0; 4096];
    assert_ne!(soon("its header", tcp.read(&mut piece)).await.unwrap(), 0);
    drop(client);
    let end = tokio::time::timeout(Duration::from_secs(10), tcp.read(&mut piece)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_passes_by_http2() {
    let mut bed = Bed::shop(&[large_origin().await]);
    bed.http2 = true;
    let edge = bed.start().await;
    let tcp = tokio::net::TcpStream::connect(edge.address).await.unwrap();
    let (mut send, connection) =
        hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .initial_stream_window_size(1024 * 1024)
            .handshake(hyper_util::rt::TokioIo::new(tcp))
            .await
            .unwrap();
    tokio::spawn(connection);
    let before = resident();
    let request = http::Request::get("https://shop.test/down").body(Body::empty()).unwrap();
    let answer = soon("an answer", send.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut octets, mut most) = (answer.into_body(), 0, 0);
    while let Some(frame) = soon("a frame", body.frame()).await {
        octets += frame.unwrap().data_ref().map_or(0, |data| data.len());
        most = most.max(resident());
    }
    assert_eq!(octets, BODY);
    assert!(most.saturating_sub(before) < GROWTH, "from {before} to {most}");
}
