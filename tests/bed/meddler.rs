//! Stands between an edge and its CA, under the CA's own certificate, and meddles with what they
//! say. Requests that it does not meddle with pass as they are.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use parking_lot::Mutex;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ca::{Ca, trusting};

/// What an ACME client asks for; told by the path that Pebble gives it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    Directory,
    NewOrder,
    Finalize,
    Certificate,
    RenewalInfo,
    Revocation,
    Other,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Meddling {
    /// It is not passed on; this is the answer: status, `Retry-After`, content type, body.
    Say(u16, Option<&'static str>, &'static str, String),
    /// It is passed on, but the connection ends in the place of the answer.
    Lose,
    /// It is passed on, and half of the answer's body comes back under the length of the whole.
    Truncate,
    /// It is not passed on, and nothing is ever answered.
    Hang,
}

/// A meddler in front of a CA.
pub struct Meddler {
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    upstream: String,
    client: reqwest::Client,
    /// For the next requests of a kind, in order.
    once: Mutex<VecDeque<(Asked, Meddling)>>,
    /// For all requests of a kind.
    always: Mutex<Vec<(Asked, Meddling)>>,
    /// What is said about every certificate's renewal.
    renewal: Mutex<Option<(String, &'static str)>>,
    seen: Mutex<Vec<(Asked, Value)>>,
}

impl Meddler {
    pub async fn start(ca: &Ca) -> Self {
        let inner = Arc::new(Inner {
            upstream: ca.directory().trim_end_matches("/dir").to_owned(),
            client: trusting(&ca.ca_file()),
            once: Mutex::default(),
            always: Mutex::default(),
            renewal: Mutex::default(),
            seen: Mutex::default(),
        });
        let app = Router::new().fallback(answer).with_state(inner.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Tls { listener, acceptor: acceptor(ca) };
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner }
    }

    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Meddles with the next request of this kind.
    pub fn once(&self, asked: Asked, meddling: Meddling) {
        self.inner.once.lock().push_back((asked, meddling));
    }

    /// Meddles with every request of this kind, or no more with any.
    pub fn always(&self, meddling: Option<(Asked, Meddling)>) {
        *self.inner.always.lock() = meddling.into_iter().collect();
    }

    /// Offers renewal information (RFC 9773): this body, with this `Retry-After`.
    pub fn suggest(&self, body: impl Into<String>, retry_after: &'static str) {
        *self.inner.renewal.lock() = Some((body.into(), retry_after));
    }

    /// Requests of this kind that arrived.
    pub fn asked(&self, asked: Asked) -> usize {
        self.inner.seen.lock().iter().filter(|(kind, _)| *kind == asked).count()
    }

    /// What `replaces` was in each order that was placed (RFC 9773 §5).
    pub fn replaced(&self) -> Vec<Option<String>> {
        let seen = self.inner.seen.lock();
        let orders = seen.iter().filter(|(kind, _)| *kind == Asked::NewOrder);
        orders.map(|(_, payload)| payload["replaces"].as_str().map(str::to_owned)).collect()
    }
}

/// TLS connections, one after the other.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn acceptor(ca: &Ca) -> TlsAcceptor {
    let (certificate, key) = ca.https_files();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(tls))
}

fn kind(method: &Method, path: &str) -> Asked {
    match path {
        "/dir" => Asked::Directory,
        "/order-plz" => Asked::NewOrder,
        _ if path.starts_with("/finalize-order/") => Asked::Finalize,
        _ if path.starts_with("/certZ/") && method == Method::POST => Asked::Certificate,
        _ if path.starts_with("/renewal-info/") => Asked::RenewalInfo,
        "/revoke-cert" => Asked::Revocation,
        _ => Asked::Other,
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let asked = kind(&parts.method, &path);
    let payload = payload(&body);
    inner.seen.lock().push((asked, payload.clone()));
    let meddling = inner.meddling(asked);
    match &meddling {
        Some(Meddling::Say(status, retry_after, content_type, text)) => {
            let mut response = (StatusCode::from_u16(*status).unwrap(), text.clone()).into_response();
            response.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
            if let Some(retry_after) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, retry_after.parse().unwrap());
            }
            return response;
        }
        Some(Meddling::Hang) => std::future::pending().await,
        _ => {}
    }
    if asked == Asked::RenewalInfo {
        let (body, retry_after) = inner.renewal.lock().clone().unwrap();
        return ([(RETRY_AFTER, retry_after)], body).into_response();
    }
    let mut headers = parts.headers.clone();
    headers.remove(CONTENT_LENGTH);
    let host = headers.remove(HOST).unwrap();
    let passed = inner
        .client
        .request(parts.method, format!("{}{path}", inner.upstream))
        .headers(headers)
        // The CA makes its URLs of it.
        .header(HOST, host)
        .body(body);
    let Ok(answered) = passed.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut response = Response::builder().status(answered.status());
    *response.headers_mut().unwrap() = answered.headers().clone();
    for header in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        response.headers_mut().unwrap().remove(header);
    }
    let text = answered.bytes().await.unwrap();
    let text = inner.changed(asked, &payload, text.to_vec());
    let body = match meddling {
        Some(Meddling::Lose) => broken(Vec::new()),
        Some(Meddling::Truncate) => {
            response.headers_mut().unwrap().insert(CONTENT_LENGTH, text.len().into());
            broken(text[..text.len() / 2].to_vec())
        }
        _ => Body::from(text),
    };
    response.body(body).unwrap()
}

/// A body that breaks off after `begin`.
fn broken(begin: Vec<u8>) -> Body {
    let parts: [Result<Vec<u8>, std::io::Error>; 2] =
        [Ok(begin), Err(std::io::Error::other("broken off on purpose"))];
    Body::from_stream(futures::stream::iter(parts))
}

/// The payload of a signed request (RFC 7515 §7.2.2); null where there is none.
fn payload(body: &[u8]) -> Value {
    let signed: Value = serde_json::from_slice(body).unwrap_or_default();
    let octets = URL_SAFE_NO_PAD.decode(signed["payload"].as_str().unwrap_or_default()).unwrap_or_default();
    serde_json::from_slice(&octets).unwrap_or_default()
}

impl Inner {
    fn meddling(&self, asked: Asked) -> Option<Meddling> {
        let mut once = self.once.lock();
        if let Some(index) = once.iter().position(|(kind, _)| *kind == asked) {
            return once.remove(index).map(|(_, meddling)| meddling);
        }
        let always = self.always.lock();
        always.iter().find(|(kind, _)| *kind == asked).map(|(_, meddling)| meddling.clone())
    }

    /// Adds what Pebble lacks of RFC 9773.
    fn changed(&self, asked: Asked, payload: &Value, text: Vec<u8>) -> Vec<u8> {
        if self.renewal.lock().is_none() {
            return text;
        }
        let Ok(mut said) = serde_json::from_slice::<Value>(&text) else { return text };
        match asked {
            Asked::Directory => {
                let directory = said["newOrder"].as_str().unwrap();
                said["renewalInfo"] = directory.replace("/order-plz", "/renewal-info").into();
            }
            Asked::NewOrder if !payload["replaces"].is_null() && said["status"].is_string() => {
                said["replaces"] = payload["replaces"].clone();
            }
            _ => return text,
        }
        said.to_string().into_bytes()
    }
}
