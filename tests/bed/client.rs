//! TLS clients: what a browser does, and what it is told when it is refused.

use std::net::SocketAddr;
use std::pin::Pin;

use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslSession, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use pingora_core::tls::tokio_ssl::SslStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why a handshake failed.
#[derive(Debug)]
pub enum Refused {
    /// By an alert of this number (RFC 8446 §6).
    Alert(i32),
    /// In some other way, such as a closed connection.
    Otherwise(String),
}

/// An established connection.
pub struct Served {
    pub stream: SslStream<TcpStream>,
}

/// What a client does differently from others.
#[derive(Clone, Default)]
pub struct Client {
    pub version: Option<SslVersion>,
    pub alpn: Option<&'static [u8]>,
    pub session: Option<SslSession>,
    pub groups: Option<&'static str>,
    /// Signature algorithms, in place of all.
    pub signatures: Option<&'static str>,
    /// Roots to verify against; nothing is verified without them.
    pub roots: Vec<X509>,
}

impl Client {
    fn context(&self) -> SslContextBuilder {
        let mut builder = SslContext::builder(SslMethod::tls_client()).unwrap();
        if let Some(version) = self.version {
            builder.set_min_proto_version(Some(version)).unwrap();
            builder.set_max_proto_version(Some(version)).unwrap();
        }
        if let Some(protocols) = self.alpn {
            builder.set_alpn_protos(protocols).unwrap();
        }
        if let Some(groups) = self.groups {
            builder.set_groups_list(groups).unwrap();
        }
        if let Some(signatures) = self.signatures {
            builder.set_sigalgs_list(signatures).unwrap();
        }
        if !self.roots.is_empty() {
            builder.set_verify(SslVerifyMode::PEER);
            for root in &self.roots {
                builder.cert_store_mut().add_cert(root.clone()).unwrap();
            }
        }
        builder
    }

    /// One handshake; `sni` empty sends none.
    pub async fn handshake(&self, address: SocketAddr, sni: &str) -> Result<Served, Refused> {
        let tcp = TcpStream::connect(address).await.map_err(|e| Refused::Otherwise(e.to_string()))?;
        self.handshake_on(tcp, sni).await
    }

    /// One handshake on an open connection.
    pub async fn handshake_on(&self, tcp: TcpStream, sni: &str) -> Result<Served, Refused> {
        let mut ssl = Ssl::new(&self.context().build()).unwrap();
        if !sni.is_empty() {
            ssl.set_hostname(sni).unwrap();
            if !self.roots.is_empty() {
                ssl.param_mut().set_host(sni.trim_end_matches('.')).unwrap();
            }
        }
        if let Some(session) = &self.session {
            // SAFETY: the session comes from a context with the same settings.
            unsafe { ssl.set_session(session).unwrap() };
        }
        let mut stream = SslStream::new(ssl, tcp).unwrap();
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(Served { stream }),
            Err(error) => Err(refusal(&error)),
        }
    }
}

fn refusal(error: &openssl::ssl::Error) -> Refused {
    // OpenSSL's reason for an alert is 1000 and the alert's number.
    let reason = error.ssl_error().and_then(|stack| stack.errors().first().map(|e| e.reason_code()));
    match reason {
        Some(reason) if reason > 1000 => Refused::Alert(reason - 1000),
        _ => Refused::Otherwise(error.to_string()),
    }
}

impl Served {
    /// The DNS names of the certificate that was shown.
    pub fn names(&self) -> Vec<String> {
        let certificate = self.stream.ssl().peer_certificate().expect("a server shows a certificate");
        let names = certificate.subject_alt_names().expect("the certificate has names");
        names.iter().filter_map(|name| name.dnsname().map(str::to_owned)).collect()
    }

    /// What was sent of the chain, leaf first, each in PEM.
    pub fn chain(&self) -> Vec<String> {
        let chain = self.stream.ssl().peer_cert_chain().expect("a server shows a certificate");
        chain.iter().map(|one| String::from_utf8(one.to_pem().unwrap()).unwrap()).collect()
    }

    /// Serial number of the certificate, in hex.
    pub fn serial(&self) -> String {
        let certificate = self.stream.ssl().peer_certificate().unwrap();
        certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
    }

    /// One HTTP/1.1 request with `Connection: close`; the whole answer as text.
    pub async fn get(mut self, host: &str, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server may close without close_notify; what came before counts.
        let _closed = self.stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Requests by HTTP/2.
pub type Http2 = hyper::client::conn::http2::SendRequest<axum::body::Body>;

impl Served {
    /// Goes on by HTTP/2, which must have been chosen by ALPN; with the end of the connection.
    pub async fn http2(self) -> (Http2, tokio::task::JoinHandle<hyper::Result<()>>) {
        assert_eq!(self.stream.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
        let io = hyper_util::rt::TokioIo::new(self.stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (send, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        (send, tokio::spawn(connection))
    }
}

/// The session of a served handshake for `sni`, whose server sends exactly `tickets` tickets.
pub async fn session(client: &Client, address: SocketAddr, sni: &str, tickets: usize) -> SslSession {
    use std::sync::{Arc, Mutex};
    let sessions = Arc::new(Mutex::new(Vec::new()));
    let mut builder = client.context();
    let kept = sessions.clone();
    // Sessions in a context's own cache end with the context.
    let mode = openssl::ssl::SslSessionCacheMode::CLIENT | openssl::ssl::SslSessionCacheMode::NO_INTERNAL;
    builder.set_session_cache_mode(mode);
    builder.set_new_session_callback(move |_, session| kept.lock().unwrap().push(session));
    let mut ssl = Ssl::new(&builder.build()).unwrap();
    ssl.set_hostname(sni).unwrap();
    if let Some(session) = &client.session {
        // SAFETY: the session comes from a context with the same settings.
        unsafe { ssl.set_session(session).unwrap() };
    }
    let mut stream = SslStream::new(ssl, TcpStream::connect(address).await.unwrap()).unwrap();
    Pin::new(&mut stream).connect().await.unwrap();
    // In TLS 1.3 tickets come with the first octets after the handshake: an answer that ends.
    let request = format!("GET / HTTP/1.1\r\nHost: {sni}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    // OpenSSL does not resume a TLS 1.2 session whose connection was not closed in order.
    let _gone = stream.shutdown().await;
    let mut sessions = sessions.lock().unwrap();
    assert_eq!(sessions.len(), tickets, "tickets sent in one handshake");
    sessions.pop().unwrap()
}
