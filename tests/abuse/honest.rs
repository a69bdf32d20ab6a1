//! Honest clients beside an attack, and what the process that is attacked uses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::bed::client::Client;
use crate::bed::program::Edge;

/// The hostname that honest clients ask for.
pub const KNOWN: &str = "known.test";
/// Octets of the origin's large answer: more than sockets hold.
pub const LARGE: usize = 64 << 20;

/// An origin that reads what it is sent; `/large` is [`LARGE`].
pub struct Origin {
    pub address: SocketAddr,
    server: JoinHandle<()>,
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let large = bytes::Bytes::from(vec![b'x'; LARGE]);
        let app = Router::new().fallback(move |request: Request| {
            let large = large.clone();
            async move {
                let is_large = request.uri().path() == "/large";
                let read = axum::body::to_bytes(request.into_body(), usize::MAX).await;
                if is_large { Body::from(large) } else { Body::from(format!("{}", read.is_ok())) }
            }
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, server }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An edge that serves [`KNOWN`] and has its certificate, with `more` configuration.
pub async fn edge(origin: &Origin, limits: &str, more: &str) -> Edge {
    let address = origin.address;
    let edge = Edge::start(&format!(
        r#"
[[authority]]
name = "internal"
directory = "internal"

[[site]]
name = "default"
hostnames = ["{KNOWN}"]
origins = ["{address}"]

[limits]
{limits}

{more}
"#
    ))
    .await;
    assert!(edge.get(KNOWN, "/").await.starts_with("HTTP/1.1 200"));
    edge
}

/// Octets of memory that the process holds.
pub fn resident(edge: &Edge) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// An honest client that asks again and again until it is told to stop.
pub struct Honest {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Duration>>,
}

impl Honest {
    pub fn begin(edge: &Edge) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, address) = (stop.clone(), edge.https);
        let task = tokio::spawn(async move {
            let mut took = Vec::new();
            while !stopped.load(Ordering::Relaxed) || took.len() < 20 {
                let begin = Instant::now();
                let served = Client::default().handshake(address, KNOWN).await.expect("an honest handshake");
                took.push(begin.elapsed());
                let answer = served.get(KNOWN, "/").await;
                assert!(answer.starts_with("HTTP/1.1 200"), "an honest request: {answer}");
            }
            took
        });
        Self { stop, task }
    }

    /// Ends it; how long its handshakes took at the 99th percentile. None may have failed.
    pub async fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let mut took = self.task.await.expect("nobody honest fails");
        took.sort_unstable();
        took[(took.len() - 1) * 99 / 100]
    }
}
