//! An origin that tells what reached it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;

/// A running origin. It answers every request with 200 and `METHOD TARGET` as text.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Seen>>>,
    server: tokio::task::JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and target, as in `GET /a?b`.
    pub line: String,
    /// Its header fields.
    pub headers: http::HeaderMap,
}

impl Origin {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let app = Router::new().fallback(move |request: Request| {
            let line = format!("{} {}", request.method(), request.uri());
            seen.lock().unwrap().push(Seen { line: line.clone(), headers: request.headers().clone() });
            async move { line }
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, requests, server }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.server.abort();
    }
}
