//! Clients that hold something and give nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::bed::client::{Client, Served};
use crate::bed::program::Edge;
use crate::bed::{DEADLINE, eventually, hello};
use crate::honest::{Honest, KNOWN, Origin, edge};

const LIMITS: &str = r#"
handshake = "3s"
request_header = "2s"
body_idle = "1s"
body_rate = 1000
write_idle = "1s"
keep_alive = "3s"
"#;

const HALF_OPEN: usize = 300;
const SLOW: usize = 50;

async fn house() -> (Origin, Edge) {
    let origin = Origin::start().await;
    let edge = edge(&origin, LIMITS, "").await;
    (origin, edge)
}

async fn connected(edge: &Edge) -> Served {
    edge.handshake(KNOWN).await.expect("it is served")
}

/// What the server says to a client that sends `first`, then an octet now and then, to the end.
async fn dripping(mut served: Served, first: String, octet: u8, pace: Duration) -> String {
    served.stream.write_all(first.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(served.stream);
    let drip = tokio::spawn(async move {
        let mut pace = interval(pace);
        loop {
            pace.tick().await;
            if writer.write_all(&[octet]).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Vec::new();
    let heard = timeout(DEADLINE, reader.read_to_end(&mut answer)).await;
    drip.abort();
    assert!(heard.is_ok(), "the client is cut");
    String::from_utf8_lossy(&answer).into_owned()
}

fn post() -> String {
    format!("POST / HTTP/1.1\r\nHost: {KNOWN}\r\nContent-Length: 100000\r\n\r\nx")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_handshakes_are_cut_and_hurt_nobody() {
    let (_origin, edge) = house().await;
    let honest = Honest::begin(&edge);
    let half = hello::with_sni(KNOWN.as_bytes());
    let mut open = Vec::new();
    for number in 0..HALF_OPEN {
        let mut tcp = TcpStream::connect(edge.https).await.unwrap();
        tcp.write_all(&half[..number % half.len()]).await.unwrap();
        open.push(tcp);
    }
    for mut tcp in open {
        let mut answer = Vec::new();
        let cut = timeout(DEADLINE, tcp.read_to_end(&mut answer)).await;
        assert!(cut.is_ok(), "a half-open handshake is cut");
    }
    honest.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_bodies_that_drip_are_cut_and_hurt_nobody() {
    let (_origin, edge) = house().await;
    let honest = Honest::begin(&edge);
    let (mut headers, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..SLOW {
        let begun = format!("GET / HTTP/1.1\r\nHost: {KNOWN}\r\nX: ");
        let pace = Duration::from_millis(100);
        headers.push(tokio::spawn(dripping(connected(&edge).await, begun, b'x', pace)));
        bodies.push(tokio::spawn(dripping(connected(&edge).await, post(), b'x', pace)));
    }
    for header in headers {
        header.await.unwrap();
    }
    for body in bodies {
        let answer = body.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    honest.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_is_answered_with_408() {
    let (_origin, edge) = house().await;
    let answer = dripping(connected(&edge).await, post(), b'x', DEADLINE).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_are_cut_and_hurt_nobody() {
    let (_origin, edge) = house().await;
    let http2 = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let mut deaf = Vec::new();
    for number in 0..SLOW {
        if number % 5 == 0 {
            // One that never says what it wants.
            deaf.push(http2.handshake(edge.https, KNOWN).await.unwrap());
            continue;
        }
        let mut served = connected(&edge).await;
        let request = format!("GET /large HTTP/1.1\r\nHost: {KNOWN}\r\n\r\n");
        served.stream.write_all(request.as_bytes()).await.unwrap();
        deaf.push(served);
    }
    let honest = Honest::begin(&edge);
    honest.end().await;
    eventually("all of them are cut", async || edge.metric(r#"connections{listener="https"}"#).await == 0.0)
        .await;
    drop(deaf);
}
