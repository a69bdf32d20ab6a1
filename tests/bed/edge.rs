//! What an edge is to a CA, in this process: two ports that answer challenges, and authorities.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use axum::{Router, extract};
use http::StatusCode;
use nameplate::acme::authority::Authorities;
use nameplate::acme::challenge::{Challenges, alpn_certificate};
use nameplate::acme::order::Answers;
use nameplate::config::Authority;
use nameplate::domain::clock::SystemClock;
use nameplate::store::Store;
use nameplate::telemetry::metrics::Metrics;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::ca::Options;

/// It answers challenges at two ports of loopback, and places orders.
pub struct Edge {
    /// What is published.
    pub challenges: Arc<Challenges>,
    /// Where it is published too.
    pub store: Arc<dyn Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    http_port: u16,
    tls_port: u16,
    /// Store and internal CA.
    pub data_dir: TempDir,
    http: tokio::task::JoinHandle<()>,
}

impl Edge {
    /// One with a store of its own.
    pub async fn start() -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let store = super::store(data_dir.path()).await;
        Self::on(store, data_dir).await
    }

    /// Another machine on the same store.
    pub async fn beside(&self) -> Self {
        Self::on(self.store.clone(), tempfile::tempdir().unwrap()).await
    }

    async fn on(store: Arc<dyn Store>, data_dir: TempDir) -> Self {
        let metrics = Arc::new(Metrics::new("test"));
        let challenges = Challenges::new(store.clone(), Arc::new(SystemClock), metrics.clone());
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let http_port = listener.local_addr().unwrap().port();
        let app = Router::new()
            .route("/.well-known/acme-challenge/{token}", axum::routing::get(answer_http01))
            .with_state(challenges.clone());
        let http = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let tls_port = answer_tls_alpn01(challenges.clone());
        Self { challenges, store, metrics, http_port, tls_port, data_dir, http }
    }

    /// What a CA must know to validate here.
    pub fn ca_options(&self) -> Options {
        Options::validating_at(self.http_port, self.tls_port)
    }

    /// Authorities whose challenges it answers.
    pub fn authorities(&self, configured: &[Authority]) -> Authorities {
        Authorities::new(
            configured,
            self.data_dir.path(),
            self.store.clone(),
            &Answers { challenges: self.challenges.clone(), dns01: None },
            Arc::new(SystemClock),
            self.metrics.clone(),
        )
        .unwrap()
    }

    /// How many orders ended so.
    pub fn orders(&self, authority: &str, result: &str) -> u64 {
        self.metrics.orders.with_label_values(&[authority, result]).get()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.http.abort();
    }
}

async fn answer_http01(
    extract::Path(token): extract::Path<String>,
    extract::State(challenges): extract::State<Arc<Challenges>>,
) -> Result<String, StatusCode> {
    let hostname = "any.test".parse().expect("a hostname");
    challenges.http01(&hostname, &token).await.ok_or(StatusCode::NOT_FOUND)
}

/// A TLS server for `acme-tls/1`, in threads that end with the process.
fn answer_tls_alpn01(challenges: Arc<Challenges>) -> u16 {
    #[derive(Debug)]
    struct Answers(Arc<rustls::crypto::CryptoProvider>, Debugless<Arc<Challenges>>, Handle);
    impl ResolvesServerCert for Answers {
        fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            let hostname = hello.server_name()?.parse().ok()?;
            let answer = self.2.block_on(self.1.0.tls_alpn01(&hostname))?;
            let (der, key) = alpn_certificate(&hostname, &answer).unwrap();
            let key = PrivateKeyDer::Pkcs8(key.der().to_vec().into());
            // Not `from_der`, which refuses the critical extension it does not know.
            let key = self.0.key_provider.load_private_key(key).unwrap();
            Some(Arc::new(CertifiedKey::new(vec![der.into()], key)))
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Answers(provider, Debugless(challenges), Handle::current())));
    tls.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let tls = Arc::new(tls);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = tls.clone();
            std::thread::spawn(move || shake_hands(stream.unwrap(), tls));
        }
    });
    port
}

struct Debugless<T>(T);

impl<T> std::fmt::Debug for Debugless<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

fn shake_hands(mut stream: TcpStream, tls: Arc<rustls::ServerConfig>) {
    let mut connection = rustls::ServerConnection::new(tls).unwrap();
    // The CA closes when it has seen the certificate; what follows does not matter.
    while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
    let _closed = connection.complete_io(&mut stream);
}
