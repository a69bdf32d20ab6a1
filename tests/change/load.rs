//! Many connections with running requests, while the configuration and the program change.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bed::client::{Client, Http2};
use crate::bed::program::{Edge, run};
use crate::bed::{DEADLINE, eventually};
use crate::config;

/// Connections that ask again and again, half of them by HTTP/2.
const CONNECTIONS: usize = 480;
/// Downloads that last from the beginning to the end, half of them by HTTP/2.
const DOWNLOADS: usize = 20;
/// Requests in all, at least.
const REQUESTS: usize = 20_000;
const RELOADS: usize = 10;
/// What a download is sent at once.
const PIECE: &[u8] = &[b'x'; 1000];

/// What the clients share.
struct Clients {
    address: SocketAddr,
    client: Client,
    answered: AtomicUsize,
    connected: AtomicUsize,
    done: AtomicBool,
}

/// An origin with short answers, and with long ones that end when `until` says so.
async fn origin(until: watch::Receiver<bool>) -> SocketAddr {
    let down = move || {
        let mut until = until.clone();
        let pieces = async_stream(move |send| async move {
            let mut pace = tokio::time::interval(Duration::from_millis(50));
            while !*until.borrow_and_update() {
                pace.tick().await;
                if send.send(PIECE).await.is_err() {
                    return;
                }
            }
            let _gone = send.send(b"end").await;
        });
        async move { pieces }
    };
    let app = Router::new().route("/", get(async || "short")).route("/down", get(down));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn async_stream<F>(make: impl FnOnce(tokio::sync::mpsc::Sender<&'static [u8]>) -> F) -> Body
where
    F: Future<Output = ()> + Send + 'static,
{
    let (send, pieces) = tokio::sync::mpsc::channel(1);
    tokio::spawn(make(send));
    let pieces = futures::stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from_static(piece)), pieces))
    });
    Body::from_stream(Box::pin(pieces))
}

impl Clients {
    async fn connect(&self) -> BufStream<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> {
        let served = self.client.handshake(self.address, "own.test").await.expect("a handshake");
        self.connected.fetch_add(1, Ordering::Relaxed);
        BufStream::new(served.stream)
    }

    async fn connect_http2(&self) -> Http2 {
        let client = Client { alpn: Some(b"\x02h2"), ..self.client.clone() };
        let served = client.handshake(self.address, "own.test").await.expect("a handshake");
        self.connected.fetch_add(1, Ordering::Relaxed);
        served.http2().await.0
    }

    /// Requests one after the other; a connection is left only where an answer says that it ends.
    async fn ask_by_http1(&self) {
        let mut stream = self.connect().await;
        while !self.done.load(Ordering::Relaxed) {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: own.test\r\n\r\n").await.expect("a request is taken");
            stream.flush().await.expect("a request is taken");
            let head = header(&mut stream).await;
            let mut body = [0; 5];
            stream.read_exact(&mut body).await.expect("a body");
            assert!(head.starts_with("http/1.1 200") && body == *b"short", "{head}");
            self.answered.fetch_add(1, Ordering::Relaxed);
            if head.contains("connection: close") {
                stream = self.connect().await;
            }
        }
    }

    /// Requests one after the other; a connection is left only where it takes no more streams.
    async fn ask_by_http2(&self) {
        let mut send = self.connect_http2().await;
        while !self.done.load(Ordering::Relaxed) {
            if send.ready().await.is_err() {
                send = self.connect_http2().await;
                continue;
            }
            let request = http::Request::get("https://own.test/").body(Body::empty()).unwrap();
            match send.try_send_request(request).await {
                Ok(answer) => {
                    assert_eq!(answer.status(), StatusCode::OK);
                    let body = answer.into_body().collect().await.expect("a body").to_bytes();
                    assert_eq!(&body[..], b"short");
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(mut refused) => {
                    // GOAWAY came between the two: it did not leave the client.
                    let unsent = refused.take_message().is_some();
                    assert!(unsent, "a request is lost: {:?}", refused.into_error());
                }
            }
        }
    }

    async fn download_by_http1(&self) {
        let mut stream = self.connect().await;
        stream.write_all(b"GET /down HTTP/1.0\r\nHost: own.test\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let head = header(&mut stream).await;
        assert!(head.contains(" 200 "), "{head}");
        let mut body = Vec::new();
        stream.read_to_end(&mut body).await.expect("the whole download");
        whole(&body);
    }

    async fn download_by_http2(&self) {
        let mut send = self.connect_http2().await;
        let request = http::Request::get("https://own.test/down").body(Body::empty()).unwrap();
        let answer = send.send_request(request).await.expect("an answer");
        whole(&answer.into_body().collect().await.expect("the whole download").to_bytes());
    }
}

fn whole(body: &[u8]) {
    assert!(
        body.ends_with(b"end") && (body.len() - 3).is_multiple_of(PIECE.len()),
        "{} octets, then {:?}",
        body.len(),
        &body[body.len().saturating_sub(40)..]
    );
}

async fn header(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.expect("an answer"), 0, "closed without an answer");
    }
    head.to_lowercase()
}

fn start(clients: &Arc<Clients>) -> (JoinSet<()>, JoinSet<()>) {
    let (mut asking, mut downloading) = (JoinSet::new(), JoinSet::new());
    for number in 0..CONNECTIONS {
        let clients = clients.clone();
        asking.spawn(async move {
            if number % 2 == 0 { clients.ask_by_http1().await } else { clients.ask_by_http2().await }
        });
    }
    for number in 0..DOWNLOADS {
        let clients = clients.clone();
        downloading.spawn(async move {
            if number % 2 == 0 {
                clients.download_by_http1().await
            } else {
                clients.download_by_http2().await
            }
        });
    }
    (asking, downloading)
}

/// Changes what can be changed: time-outs, names, the order of sites.
fn change(edge: &Edge, origin: SocketAddr, round: usize) {
    let data = edge.folder().join("data").display().to_string();
    let more = format!(
        "data_dir = {data:?}\n[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n\
         admin = \"127.0.0.1:0\"\n[limits]\nkeep_alive = \"{}s\"\n",
        60 + round
    );
    let name = format!("round{round}.test");
    std::fs::write(edge.config_file(), config(&["own.test", &name], origin, &more)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_reloads_and_an_upgrade_cost_no_request() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let (end, ended) = watch::channel(false);
    let origin = origin(ended).await;
    let mut edge = Edge::start(&config(&["own.test"], origin, "[limits]\nkeep_alive = \"60s\"")).await;
    drop(edge.handshake("own.test").await.expect("its certificate is there"));
    let clients = Arc::new(Clients {
        address: edge.https,
        client: edge.client.clone(),
        answered: AtomicUsize::new(0),
        connected: AtomicUsize::new(0),
        done: AtomicBool::new(false),
    });
    let (mut asking, downloading) = start(&clients);
    let all = CONNECTIONS + DOWNLOADS;
    let connected = || clients.connected.load(Ordering::Relaxed);
    eventually("all are connected", async || connected() >= all).await;
    let mut old = None;
    for round in 1..=RELOADS {
        let aim = REQUESTS / (RELOADS + 1) * round;
        eventually("requests go on", async || clients.answered.load(Ordering::Relaxed) >= aim).await;
        if round == RELOADS / 2 {
            let (leaving, new) = edge.upgraded().await;
            (edge, old) = (new, Some(leaving));
        }
        change(&edge, origin, round);
        let ran = run(&["reload", "--config", edge.config_file().to_str().unwrap()]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(asking.try_join_next().is_none(), "no client has ended");
    }
    eventually("all are answered", async || clients.answered.load(Ordering::Relaxed) >= REQUESTS).await;
    clients.done.store(true, Ordering::Relaxed);
    tokio::time::timeout(DEADLINE, asking.join_all()).await.expect("all end");
    let mut old = old.expect("there was an upgrade");
    assert!(old.goes_on(), "downloads keep it");
    end.send_replace(true);
    tokio::time::timeout(DEADLINE, downloading.join_all()).await.expect("all end");
    old.ended().await;
    // Each connection was made once, and once more by those that the old process sent away.
    assert!(connected() <= 2 * all, "a reload closes none: {}", connected());
    assert_eq!(edge.metric("configuration_current").await, 1.0);
    let _folder = edge.stop().await;
}
