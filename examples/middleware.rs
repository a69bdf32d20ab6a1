//! A step of one's own on the request path: it sends a browser's language to the origin, keeps
//! `/internal` from the world, and marks every answer.
//!
//! `cargo run --example middleware -- 127.0.0.1:3000`, then
//! `curl -i http://127.0.0.1:8080/ -H 'Host: shop.test'`. To stay small it serves without TLS,
//! as if a certificate for `shop.test` had been presented.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, StatusCode};
use nameplate::config::Limits;
use nameplate::domain::hostname::{CertificateName, Hostname};
use nameplate::domain::site::{Origin, OriginTimeouts, Scheme, Site};
use nameplate::edge::connection::{Connection, Listener};
use nameplate::edge::middleware::{Middleware, Outcome, Outgoing, RequestContext, Response, ResponseHeaders};
use nameplate::edge::proxy::{EdgeProxy, https_proxy};
use nameplate::edge::route::Routes;
use nameplate::edge::settings::Settings;
use nameplate::edge::stream::ClientStream;
use nameplate::edge::well_known::ChallengeAnswers;
use nameplate::sites::table::Names;
use nameplate::telemetry::metrics::Metrics;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream;
use tokio::net::TcpListener;

/// The step. It holds no state; one that does shares it between all requests.
struct House;

impl Middleware for House {
    fn request(&self, request: &RequestContext<'_>) -> Outcome {
        if request.path().starts_with("/internal") {
            return Response::with_body(StatusCode::FORBIDDEN, "text/plain", "not for you\n").into();
        }
        Outcome::Continue
    }

    fn outgoing(&self, request: &RequestContext<'_>, outgoing: &mut Outgoing<'_>) {
        let language = request.header("accept-language").map_or("en", |value| value.to_str().unwrap_or("en"));
        let german = language.starts_with("de");
        outgoing.set("X-Language", HeaderValue::from_static(if german { "de" } else { "en" }));
    }

    fn response(&self, request: &RequestContext<'_>, headers: &mut ResponseHeaders<'_>) {
        if let Ok(hostname) = HeaderValue::from_str(request.hostname().as_str()) {
            headers.set("X-Served-For", hostname);
        }
    }
}

/// Nobody orders a certificate here.
struct NoChallenges;

#[async_trait]
impl ChallengeAnswers for NoChallenges {
    async fn http01(&self, _: &Hostname, _: &str) -> Option<String> {
        None
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let origin = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let origin: SocketAddr = origin.parse()?;
    let name: CertificateName = "shop.test".parse()?;
    let site = Site {
        name: "shop".into(),
        organization: "default".into(),
        hostnames: vec![name.clone()],
        origins: vec![Origin {
            scheme: Scheme::Http,
            host: origin.ip().to_string().into(),
            port: origin.port(),
        }],
        files: None,
        hsts: None,
        timeouts: OriginTimeouts::default(),
    };
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let routes = Arc::new(Routes::new(&Names::of_sites(&[site]), Arc::default(), &metrics));
    let limits = Limits::default();
    let settings = Settings {
        keep_alive: limits.keep_alive,
        body_idle: limits.body_idle,
        body_rate: limits.body_rate,
        write_idle: limits.write_idle,
        https_port: 443,
        access_log: false,
        origin_connections: 64,
        origin_ca_file: None,
    };
    let edge = EdgeProxy::new(routes, Arc::new(NoChallenges), vec![Arc::new(House)], metrics, settings);
    let proxy = Arc::new(https_proxy(edge));

    let socket = TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i http://{}/ -H 'Host: shop.test'", socket.local_addr()?);
    let (_running, stopped) = tokio::sync::watch::channel(false);
    let presented: Arc<[CertificateName]> = [name].into();
    loop {
        let (tcp, client) = socket.accept().await?;
        let local = tcp.local_addr()?;
        let connection = Connection::new(Listener::Https, client, local, None, presented.clone());
        let header = Duration::from_secs(10);
        let stream = ClientStream::new(Stream::from(tcp), Arc::new(connection), header);
        let (proxy, stopped) = (proxy.clone(), stopped.clone());
        tokio::spawn(async move { proxy.process_new(Box::new(stream), &stopped).await });
    }
}
