//! One process takes over from another.

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::approval::Behaviour;
use crate::bed::client::Client;
use crate::bed::house::{Plan, house};
use crate::bed::origin::Origin;
use crate::bed::program::{Edge, run};
use crate::bed::{DEADLINE, eventually};
use crate::{Ends, config};

/// No connection is closed for being idle.
const LONG: &str = "[limits]\nkeep_alive = \"1h\"\n";

/// An origin whose answers end when they are told to.
async fn held() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn request(origin: &TcpListener) -> TcpStream {
    let (mut tcp, _) = origin.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    tcp
}

#[tokio::test]
async fn a_new_process_serves_while_the_old_one_finishes() {
    let (origin, address) = held().await;
    let edge = Edge::start(&config(&["own.test"], address, LONG)).await;
    let mut download = edge.handshake("own.test").await.unwrap();
    download
        .stream
        .write_all(b"GET /held HTTP/1.1\r\nHost: own.test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answering = request(&origin).await;
    let mut idle = edge.handshake("own.test").await.unwrap();
    let mut in_the_clear = TcpStream::connect(edge.http).await.unwrap();
    let h2 = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let (mut send, connection) = h2.handshake(edge.https, "own.test").await.unwrap().http2().await;
    let https = edge.https;

    let (mut old, new) = edge.upgraded().await;
    assert_eq!(new.https, https, "the sockets are the same");
    // HTTP/2 without a stream is told to go away and closes.
    let closed = tokio::time::timeout(DEADLINE, connection).await.expect("GOAWAY closes it").unwrap();
    assert!(closed.is_ok(), "in order: {closed:?}");
    assert!(send.ready().await.is_err());
    // Requests on idle connections are answered, with word that they are the last.
    in_the_clear.write_all(b"GET /x HTTP/1.1\r\nHost: own.test\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    in_the_clear.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 301 ") && answer.to_lowercase().contains("connection: close"), "{answer}");
    idle.stream.write_all(b"GET /idle HTTP/1.1\r\nHost: own.test\r\n\r\n").await.unwrap();
    let mut tcp = request(&origin).await;
    tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast").await.unwrap();
    let mut answer = Vec::new();
    let _closed = idle.stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.to_lowercase().contains("connection: close") && answer.ends_with("last"), "{answer}");

    assert!(old.goes_on(), "the download is not over");
    let asks = tokio::spawn({
        let client = new.client.clone();
        async move { client.handshake(https, "own.test").await.unwrap().get("own.test", "/new").await }
    });
    let mut tcp = request(&origin).await;
    tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew").await.unwrap();
    assert!(asks.await.unwrap().ends_with("new"), "the new process serves from what the old one stored");
    answering.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
    let mut answer = Vec::new();
    let _closed = download.stream.read_to_end(&mut answer).await;
    assert!(answer.ends_with(b"done"), "{}", String::from_utf8_lossy(&answer));
    old.ended().await;
    let path = new.config_file();
    let ran = run(&["reload", "--config", path.to_str().unwrap()]).await;
    assert_eq!(ran.code, 0, "commands reach the new one: {}", ran.err);
    let second = run(&["run", "--config", path.to_str().unwrap()]).await;
    assert!(second.err.contains("another process already serves"), "its lock holds: {}", second.err);
}

#[tokio::test]
async fn the_command_starts_the_program_anew() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(&["own.test"], origin.address, "")).await;
    let (https, client, log) = (edge.https, edge.client.clone(), edge.folder().join("log"));
    let path = edge.config_file();
    let path = path.to_str().unwrap();
    // The new process cannot start: the one that serves goes on, and says so.
    let key = edge.folder().join("data/store.key");
    let (good, bad) = (std::fs::read(&key).unwrap(), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    std::fs::write(&key, bad).unwrap();
    let ran = run(&["upgrade", "--config", path]).await;
    assert!(ran.code == 1 && ran.err.contains("ended before it served"), "{}", ran.err);
    std::fs::write(&key, good).unwrap();
    assert!(edge.get("own.test", "/").await.starts_with("HTTP/1.1 200"));
    assert!(edge.log().contains("but the configured key is"), "the reason is in the log: {}", edge.log());

    let ran = run(&["upgrade", "--config", path]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let first = Ends::told_by(&ran);
    let folder = edge.ended().await;
    assert!(client.handshake(https, "own.test").await.unwrap().get("own.test", "/").await.contains(" 200 "));
    // And once more: the program that was started with --upgrade starts another one.
    let ran = run(&["upgrade", "--config", path]).await;
    assert_eq!(ran.code, 0, "{}: {}", ran.err, std::fs::read_to_string(&log).unwrap());
    let second = Ends::told_by(&ran);
    assert_ne!(first.0, second.0);
    assert!(client.handshake(https, "own.test").await.unwrap().get("own.test", "/").await.contains(" 200 "));
    drop(folder);
}

#[tokio::test]
async fn an_upgrade_with_nobody_to_follow_is_a_start() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(&["own.test"], origin.address, "")).await;
    let folder = edge.kill().await;
    let mut command = crate::bed::program::command(folder.path());
    command.arg("--upgrade");
    let edge = Edge::spawn_by(folder, command).await;
    assert!(edge.get("own.test", "/").await.starts_with("HTTP/1.1 200"));
    assert!(edge.log().contains("starting as the first one"));
}

#[tokio::test]
async fn orders_under_way_are_neither_lost_nor_doubled() {
    let house = house(Plan::default()).await;
    for name in ["first.test", "mid.test"] {
        house.endpoint.says(name, Behaviour::Yes);
    }
    // With a connection to the CA at hand, the next order only waits while the CA is halted.
    house.edge.handshake("first.test").await.unwrap();
    house.ca.halt();
    let (https, client) = (house.edge.https, house.edge.client.clone());
    let waits = tokio::spawn(async move { client.handshake(https, "mid.test").await.map(|_| ()) });
    eventually("it is ordered", async || house.edge.metric("orders_pending").await == 1.0).await;
    let (old, new) = house.edge.upgraded().await;
    let joins = new.handshake("mid.test");
    house.ca.resume();
    let (first, second) = tokio::join!(waits, joins);
    assert!(first.unwrap().is_ok() && second.is_ok(), "{}", new.log());
    assert_eq!(house.ca.orders(), 2, "the new process waits for the old one's lease");
    old.ended().await;
}

#[tokio::test]
async fn a_running_http2_stream_ends_well_after_goaway() {
    let (origin, address) = held().await;
    for stop in [false, true] {
        let edge = Edge::start(&config(&["own.test"], address, LONG)).await;
        let h2 = Client { alpn: Some(b"\x02h2"), ..Client::default() };
        let (mut send, connection) = h2.handshake(edge.https, "own.test").await.unwrap().http2().await;
        let get = http::Request::get("https://own.test/held").body(Body::empty()).unwrap();
        let answer = tokio::spawn(send.send_request(get));
        let mut answering = request(&origin).await;
        let ended: futures::future::BoxFuture<'_, ()> = if stop {
            edge.signal("TERM");
            Box::pin(async { drop(edge.ended().await) })
        } else {
            let (old, new) = edge.upgraded().await;
            Box::pin(async {
                old.ended().await;
                drop(new);
            })
        };
        answering.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
        let answer = answer.await.unwrap().expect("the stream goes on");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"done");
        let closed = tokio::time::timeout(DEADLINE, connection).await.expect("GOAWAY ends the connection");
        assert!(closed.unwrap().is_ok(), "in order");
        assert!(send.ready().await.is_err());
        ended.await;
    }
}
