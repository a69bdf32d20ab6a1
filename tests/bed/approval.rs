//! An approval endpoint that behaves as a test says, name by name.

use std::collections::HashMap;
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
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the endpoint does when it is asked about a name.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// 200.
    Yes,
    /// 404.
    No,
    /// This status.
    Status(u16),
    /// This status with this `Cache-Control`.
    Cached(u16, &'static str),
    /// 302 to this location.
    Redirect(String),
    /// Never answers.
    Silent,
    /// 200 with a body that never ends.
    EndlessBody,
    /// 200 with a body that begins and then nothing more comes.
    HangingBody,
    /// Closes the connection without an answer.
    Close,
    /// The first of these, then the next one at the next question; the last one stays.
    InTurn(Vec<Behaviour>),
    /// Waits until [`ApprovalEndpoint::open_gate`], then goes on as this says.
    Gated(Box<Behaviour>),
}

/// One question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// Path and query as they came.
    pub target: String,
    /// The `X-Nameplate-Client` header.
    pub client: Option<String>,
}

/// A running endpoint; unscripted names get 404.
pub struct ApprovalEndpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    behaviours: Mutex<HashMap<String, Behaviour>>,
    questions: Mutex<Vec<Question>>,
    gate: watch::Sender<bool>,
    bodies_open: AtomicUsize,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl ApprovalEndpoint {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            behaviours: Mutex::default(),
            questions: Mutex::default(),
            gate: watch::Sender::new(false),
            bodies_open: AtomicUsize::new(0),
        });
        let server = tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared, server }
    }

    /// Scripts what it says about `name`, from now on.
    pub fn says(&self, name: &str, behaviour: Behaviour) {
        self.shared.behaviours.lock().unwrap().insert(name.to_owned(), behaviour);
    }

    /// The configuration's URL with `{hostname}` in the path.
    pub fn template(&self) -> String {
        format!("http://{}/approvalendpoint/{{hostname}}", self.address)
    }

    /// A URL without `{hostname}`, so that `domain=` is appended.
    pub fn plain_url(&self) -> String {
        format!("http://{}/ask?token=t", self.address)
    }

    /// All questions so far.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.questions.lock().unwrap().clone()
    }

    /// How often it was asked about `name`.
    pub fn questions_about(&self, name: &str) -> usize {
        self.questions().iter().filter(|question| name_in(&question.target) == name).count()
    }

    /// Lets every [`Behaviour::Gated`] go on, also later ones.
    pub fn open_gate(&self) {
        self.shared.gate.send_replace(true);
    }

    /// Bodies without an end that are being sent at this moment.
    pub fn bodies_open(&self) -> usize {
        self.shared.bodies_open.load(Ordering::SeqCst)
    }

    /// Ends it; from now on nobody listens at its address.
    pub async fn stop(&mut self) {
        self.server.abort();
        let _aborted = (&mut self.server).await;
    }
}

impl Drop for ApprovalEndpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Ends the connections with the server.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, shared.clone()));
            // An error is a client that went away, or a scripted close.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, std::io::Error> {
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let client = request.headers().get("x-nameplate-client").map(|v| v.to_str().unwrap().to_owned());
    shared.questions.lock().unwrap().push(Question { target: target.clone(), client });
    let mut behaviour = next_behaviour(&shared, &name_in(&target));
    while let Behaviour::Gated(then) = behaviour {
        shared.gate.subscribe().wait_for(|open| *open).await.unwrap();
        behaviour = *then;
    }
    let response = |status: u16| Response::builder().status(status);
    let said = match behaviour {
        Behaviour::Yes => response(200).body(full("yes")),
        Behaviour::No => response(404).body(full("no")),
        Behaviour::Status(status) => response(status).body(full("as scripted")),
        Behaviour::Cached(status, how) => response(status).header("cache-control", how).body(full("kept")),
        Behaviour::Redirect(to) => response(302).header("location", to).body(full("elsewhere")),
        Behaviour::EndlessBody => response(200).body(without_end(&shared, true)),
        Behaviour::HangingBody => response(200).body(without_end(&shared, false)),
        Behaviour::Silent => std::future::pending().await,
        Behaviour::Close => return Err(std::io::Error::other("scripted close")),
        Behaviour::InTurn(_) | Behaviour::Gated(_) => unreachable!("resolved above"),
    };
    Ok(said.unwrap())
}

fn next_behaviour(shared: &Shared, name: &str) -> Behaviour {
    let mut behaviours = shared.behaviours.lock().unwrap();
    match behaviours.get_mut(name) {
        None => Behaviour::No,
        Some(Behaviour::InTurn(turns)) if turns.len() > 1 => turns.remove(0),
        Some(Behaviour::InTurn(turns)) => turns[0].clone(),
        Some(behaviour) => behaviour.clone(),
    }
}

/// The name a question is about: the value of `domain=`, else the last path segment.
fn name_in(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let domain = query.split('&').find_map(|pair| pair.strip_prefix("domain="));
    domain.or(path.rsplit('/').next()).unwrap_or_default().to_owned()
}

fn full(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync()
}

/// Counts as open until the server drops it, which it does when the connection is closed.
fn without_end(shared: &Arc<Shared>, flowing: bool) -> Body {
    struct Open(Arc<Shared>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.bodies_open.fetch_sub(1, Ordering::SeqCst);
        }
    }
    shared.bodies_open.fetch_add(1, Ordering::SeqCst);
    let open = Open(shared.clone());
    let part = || Ok(Frame::data(Bytes::from_static(&[b'x'; 4096])));
    let first = futures::stream::iter([part()]);
    let rest =
        if flowing { futures::stream::repeat_with(part).boxed() } else { futures::stream::pending().boxed() };
    let frames = first.chain(rest).map(move |frame| {
        let _held = &open;
        frame
    });
    BodyExt::boxed_unsync(StreamBody::new(frames))
}
