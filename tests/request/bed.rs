//! The edge under test, clients that write octets, and origins that note what they got.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nameplate::certs::Refusal;
use nameplate::config::{Config, Dns, Limits, Listen, OnDemand, Store, Webhooks};
use nameplate::domain::hostname::{CertificateName, Hostname};
use nameplate::domain::site::{Origin, OriginTimeouts, Scheme, Site};
use nameplate::edge::connection::{Connection, Listener};
use nameplate::edge::ending::{Ending, Until};
use nameplate::edge::http1;
use nameplate::edge::idle::Idle;
use nameplate::edge::middleware::Middleware;
use nameplate::edge::plain::{PlainProxy, Reachable, http_proxy};
use nameplate::edge::proxy::{EdgeProxy, https_proxy};
use nameplate::edge::redirects::{Ended, Redirects};
use nameplate::edge::route::Routes;
use nameplate::edge::settings::Settings;
use nameplate::edge::stream::ClientStream;
use nameplate::edge::well_known::ChallengeAnswers;
use nameplate::sites::table::Names;
use nameplate::telemetry::metrics::Metrics;
use parking_lot::Mutex;
use pingora_core::apps::{HttpServerOptions, ServerApp};
use pingora_core::protocols::l4::stream::Stream as L4;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nothing here takes longer, unless it hangs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `work`, but not for ever.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

pub fn name(text: &str) -> Hostname {
    text.parse().unwrap()
}

/// An origin on loopback, as a configuration writes it.
pub fn origin(address: SocketAddr) -> Origin {
    Origin { scheme: Scheme::Http, host: address.ip().to_string().into(), port: address.port() }
}

/// A site `name` for `hostnames`.
pub fn site(name: &str, hostnames: &[&str], origins: Vec<Origin>) -> Site {
    Site {
        name: name.into(),
        organization: "default".into(),
        hostnames: hostnames.iter().map(|name| name.parse().unwrap()).collect(),
        origins,
        files: None,
        hsts: None,
        timeouts: OriginTimeouts::default(),
    }
}

pub fn config(sites: Vec<Site>) -> Config {
    Config {
        data_dir: "/nonexistent".into(),
        listen: Listen {
            http: vec![],
            https: vec![],
            admin: ([127, 0, 0, 1], 0).into(),
            admin_certificate: None,
            metrics: None,
            proxy_protocol_from: vec![],
            default_certificate: None,
            https_port: None,
        },
        store: Store {
            engine: nameplate::config::Engine::Embedded,
            key: nameplate::config::KeySource::File("/nonexistent/key".into()),
        },
        authorities: vec![],
        on_demand: OnDemand {
            approval: None,
            approval_timeout: Duration::from_secs(1),
            approval_concurrency: 1,
            approval_cache: Duration::from_secs(1),
            approval_cache_size: 1,
            site: "default".into(),
            handshake_wait: Duration::from_secs(1),
        },
        platforms: vec![],
        certificates: vec![],
        api: nameplate::config::Api::default(),
        limits: Limits::default(),
        sites,
        access_log: true,
        dns_zones: Vec::new(),
        dns_server: None,
        dns: Dns::default(),
        webhooks: Webhooks::default(),
        ocsp: nameplate::config::Ocsp::default(),
        tickets: nameplate::config::Tickets::default(),
        bridge: None,
    }
}

/// Answers the challenge `known` and says of hostnames what their first label says.
pub struct Answers;

#[async_trait]
impl ChallengeAnswers for Answers {
    async fn http01(&self, _: &Hostname, token: &str) -> Option<String> {
        (token == "known").then(|| "known.thumbprint".to_owned())
    }
}

#[async_trait]
impl Reachable for Answers {
    async fn reach(&self, hostname: &Hostname, _: IpAddr) -> Result<(), Refusal> {
        use nameplate::domain::approval::DenyReason;
        match hostname.as_str().split('.').next() {
            Some("pending") => Err(Refusal::Pending),
            Some("denied") => Err(Refusal::Denied(DenyReason::Endpoint { status: 404 })),
            Some("unasked") => Err(Refusal::CouldNotAsk("secret words of the endpoint".into())),
            Some("busy") => Err(Refusal::Busy),
            _ => Ok(()),
        }
    }

    fn is_reachable(&self, hostname: &Hostname) -> bool {
        !["pending", "denied", "unasked", "busy", "later"]
            .iter()
            .any(|label| hostname.as_str().starts_with(label))
    }
}

/// What an edge under test is made of; start it with [`Bed::start`].
pub struct Bed {
    pub config: Config,
    pub steps: Vec<Arc<dyn Middleware>>,
    pub settings: Settings,
    pub header: Duration,
    /// HTTP/2 by prior knowledge, in place of HTTP/1.1.
    pub http2: bool,
    presented: Vec<CertificateName>,
}

/// A running edge; it ends with its test.
pub struct Edge {
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
    _ending: Ending,
}

impl Bed {
    /// An HTTPS listener that presents a certificate for all hostnames of `sites`.
    pub fn of(sites: Vec<Site>) -> Self {
        let presented = sites.iter().flat_map(|site| site.hostnames.clone()).collect();
        let config = config(sites);
        let settings = Settings::new(&config, 443);
        Self { config, steps: vec![], settings, header: Duration::from_secs(10), http2: false, presented }
    }

    /// One site `shop` with the hostname `shop.test`.
    pub fn shop(origins: &[SocketAddr]) -> Self {
        Self::of(vec![site("shop", &["shop.test"], origins.iter().map(|&at| origin(at)).collect())])
    }

    pub fn presenting(mut self, names: &[&str]) -> Self {
        self.presented = names.iter().map(|name| name.parse().unwrap()).collect();
        self
    }

    pub fn shop_site(&mut self) -> &mut Site {
        &mut self.config.sites[0]
    }

    pub async fn start(self) -> Edge {
        let metrics = Arc::new(Metrics::new("test"));
        let routes = Arc::new(Routes::new(&Names::of(&self.config), Arc::default(), &metrics));
        let edge =
            EdgeProxy::new(routes, Arc::new(Answers), self.steps, metrics.clone(), self.settings.clone());
        let mut proxy = https_proxy(edge);
        if self.http2 {
            let mut options = HttpServerOptions::default();
            options.h2c = true;
            proxy.server_options = Some(options);
        }
        let (app, http2, header) = (Arc::new(proxy), self.http2, self.header);
        let (keep_alive, presented): (_, Arc<[_]>) = (self.settings.keep_alive, self.presented.into());
        let floods = metrics.http2_floods.clone();
        serve(metrics, move |tcp, client, until| {
            let (app, presented, floods) = (app.clone(), presented.clone(), floods.clone());
            async move {
                let connection = connection(Listener::Https, &tcp, client, presented);
                if http2 {
                    let stream = ClientStream::of_frames(L4::from(tcp), connection, header, floods);
                    app.process_new(Box::new(stream), &until.leave).await;
                } else {
                    let stream = ClientStream::new(L4::from(tcp), connection.clone(), header);
                    let idle = Idle::new(keep_alive, &until.stop);
                    http1::serve(&app, Box::new(stream), &connection, idle, &until.leave).await;
                }
            }
        })
        .await
    }
}

/// A plain HTTP listener whose redirects lead to `https_port`.
pub async fn plain(https_port: u16) -> Edge {
    let metrics = Arc::new(Metrics::new("test"));
    let settings = Settings::new(&config(vec![]), 443);
    let (keep_alive, answers) = (settings.keep_alive, Arc::new(Answers));
    let redirects = Redirects::new(answers.clone(), https_port, keep_alive, true, metrics.clone());
    let proxy = PlainProxy::new(answers.clone(), answers, https_port, metrics.clone(), settings);
    let app = Arc::new(http_proxy(proxy));
    serve(metrics, move |mut tcp, client, until| {
        let (app, redirects) = (app.clone(), redirects.clone());
        async move {
            // So small that answers to many requests at once do not go out at once.
            SockRef::from(&tcp).set_send_buffer_size(4096).unwrap();
            let Ended::GoesOn(read) = redirects.serve(&mut tcp, client, &until).await else { return };
            let connection = connection(Listener::Http, &tcp, client, [].into());
            let mut l4 = L4::from(tcp);
            l4.rewind(&read);
            let stream = ClientStream::new(l4, connection.clone(), Duration::from_secs(10));
            let idle = Idle::new(keep_alive, &until.stop);
            http1::serve(&app, Box::new(stream), &connection, idle, &until.leave).await;
        }
    })
    .await
}

fn connection(
    listener: Listener,
    tcp: &TcpStream,
    client: SocketAddr,
    presented: Arc<[CertificateName]>,
) -> Arc<Connection> {
    let sni = presented.first().and_then(|name| name.hostname());
    Arc::new(Connection::new(listener, client, tcp.local_addr().unwrap(), sni, presented))
}

async fn serve<F>(
    metrics: Arc<Metrics>,
    converse: impl Fn(TcpStream, SocketAddr, Until) -> F + Send + 'static,
) -> Edge
where
    F: Future<Output = ()> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (ending, until) = Ending::new();
    tokio::spawn(async move {
        while let Ok((tcp, client)) = socket.accept().await {
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(converse(tcp, client, until.clone()));
        }
    });
    Edge { address, metrics, _ending: ending }
}

impl Edge {
    /// Sends `request` as it is and reads until the connection ends.
    pub async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }

    /// `GET path` for `host`, and nothing after it on this connection.
    pub async fn get(&self, host: &str, path: &str) -> String {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    pub async fn connect(&self) -> Client {
        Client { tcp: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// The value of the metric whose line begins with `line`.
    pub fn metric(&self, line: &str) -> f64 {
        let text = String::from_utf8(self.metrics.render()).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        value.unwrap_or(0.0)
    }
}

/// A client that writes octets.
pub struct Client {
    pub tcp: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.tcp.write_all(octets.as_ref()).await.unwrap();
    }

    /// Everything until the connection ends; a reset is an end too.
    pub async fn rest(mut self) -> String {
        let mut piece = vec![0; 16 * 1024];
        soon("the end of the connection", async {
            while let Ok(count @ 1..) = self.tcp.read(&mut piece).await {
                self.read.extend_from_slice(&piece[..count]);
            }
        })
        .await;
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads until `text` has come.
    pub async fn until(&mut self, text: &str) {
        soon(text, async {
            while !String::from_utf8_lossy(&self.read).contains(text) {
                let mut piece = vec![0; 16 * 1024];
                let count = self.tcp.read(&mut piece).await.unwrap();
                assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
                self.read.extend_from_slice(&piece[..count]);
            }
        })
        .await;
    }

    /// One header, and the body that its Content-Length announces, unless `bodiless`.
    pub async fn answer(&mut self, bodiless: bool) -> String {
        soon("an answer", async {
            loop {
                if let Some(end) = end_of_message(&self.read, bodiless) {
                    let rest = self.read.split_off(end);
                    let whole = std::mem::replace(&mut self.read, rest);
                    return String::from_utf8_lossy(&whole).into_owned();
                }
                let mut piece = vec![0; 16 * 1024];
                let count = self.tcp.read(&mut piece).await.unwrap();
                assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
                self.read.extend_from_slice(&piece[..count]);
            }
        })
        .await
    }
}

fn end_of_message(octets: &[u8], bodiless: bool) -> Option<usize> {
    let head = octets.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&octets[..head]).to_ascii_lowercase();
    let length =
        text.split("\r\n").find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let end = head + if bodiless { 0 } else { length.unwrap_or(0) };
    (octets.len() >= end).then_some(end)
}

/// The status of an answer.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The first header field `name` of a message.
pub fn field<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// An origin that answers every request with the same octets and notes what it got.
pub struct Scripted {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Answers `ok` with status 200.
    pub async fn ok() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await
    }

    /// Sends `answer` after each whole request; closes afterwards where it is not framed by a
    /// Content-Length, and where it is empty.
    pub async fn answering(answer: &str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, answer) = (seen.clone(), answer.to_owned());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = socket.accept().await {
                let (noted, answer) = (noted.clone(), answer.clone());
                tokio::spawn(async move { converse(tcp, &noted, &answer).await });
            }
        });
        Self { address, seen }
    }

    /// The requests it got, whole.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    /// The one request it got.
    pub fn only(&self) -> String {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().unwrap()
    }
}

async fn converse(mut tcp: TcpStream, noted: &Mutex<Vec<String>>, answer: &str) {
    let (mut read, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
    let whole = end_of_message(answer.as_bytes(), false) == Some(answer.len()) && !answer.is_empty();
    loop {
        match end_of_message(&read, false) {
            Some(end) => {
                let rest = read.split_off(end);
                noted.lock().push(String::from_utf8_lossy(&std::mem::replace(&mut read, rest)).into_owned());
                tcp.write_all(answer.as_bytes()).await.ok();
                if !whole {
                    return;
                }
            }
            None => match tcp.read(&mut piece).await {
                Ok(count @ 1..) => read.extend_from_slice(&piece[..count]),
                _ => return,
            },
        }
    }
}

/// An address where nothing listens.
pub async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
