//! A receiver of webhooks that behaves as a test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What it does with a message.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers with this status.
    Status(u16),
    /// 503, and to come again after so many seconds.
    Busy(u64),
    /// 302 to this location.
    Redirect(String),
    /// 200 with a body that never ends.
    EndlessBody,
    /// Answers nothing while this is so.
    Silent,
}

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Message {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The hostname and what happened to it.
    pub fn told(&self) -> (String, String) {
        let json = self.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (text(&json["data"]["hostname"]), text(&json["type"]))
    }
}

pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    behaviour: watch::Sender<Behaviour>,
    messages: Mutex<Vec<Message>>,
    connections: AtomicUsize,
    bodies_open: AtomicUsize,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Receiver {
    pub async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            behaviour: watch::Sender::new(behaviour),
            messages: Mutex::default(),
            connections: AtomicUsize::new(0),
            bodies_open: AtomicUsize::new(0),
        });
        let address = listener.local_addr().unwrap();
        Self { address, server: tokio::spawn(serve(listener, shared.clone())), shared }
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn messages(&self) -> Vec<Message> {
        self.shared.messages.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub fn bodies_open(&self) -> usize {
        self.shared.bodies_open.load(Ordering::SeqCst)
    }

    /// From now on nobody listens at its address.
    pub async fn stop(&mut self) {
        self.server.abort();
        let _aborted = (&mut self.server).await;
    }

    /// Listens again.
    pub async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.server = tokio::spawn(serve(listener, self.shared.clone()));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Ends the connections with the server.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, shared.clone()));
            // An error is a client that went away.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let message = Message { path: parts.uri.path().to_owned(), headers: parts.headers, body };
    shared.messages.lock().unwrap().push(message);
    let loud = |behaviour: &Behaviour| !matches!(behaviour, Behaviour::Silent);
    let behaviour = shared.behaviour.subscribe().wait_for(loud).await.unwrap().clone();
    let full = |text: &'static str| Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync();
    let said = match behaviour {
        Behaviour::Status(status) => Response::builder().status(status).body(full("as scripted")),
        Behaviour::Busy(seconds) => {
            Response::builder().status(503).header("retry-after", seconds).body(full("busy"))
        }
        Behaviour::Redirect(to) => {
            Response::builder().status(302).header("location", to).body(full("elsewhere"))
        }
        Behaviour::EndlessBody => Response::builder().body(without_end(&shared)),
        Behaviour::Silent => unreachable!("waited for another one"),
    };
    Ok(said.unwrap())
}

/// Counts as open until the connection is closed.
fn without_end(shared: &Arc<Shared>) -> Body {
    struct Open(Arc<Shared>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.bodies_open.fetch_sub(1, Ordering::SeqCst);
        }
    }
    shared.bodies_open.fetch_add(1, Ordering::SeqCst);
    let open = Open(shared.clone());
    let frames = futures::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'x'; 4096]))));
    let frames = frames.map(move |frame| {
        let _held = &open;
        frame
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}
