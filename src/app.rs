//! Composition root: chooses implementations, wires them, starts and stops them in order.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_proxy::HttpProxy;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::acme::authority::Authorities;
use crate::acme::challenge::Challenges;
use crate::api::admin::{self, Admin};
use crate::approval::cache::Approvals;
use crate::certs::budget::NewNames;
use crate::certs::files::{self, FilesError};
use crate::certs::find::{Certificates, Parts};
use crate::certs::obtain::Obtain;
use crate::certs::{Refusal, in_full};
use crate::config::{Config, ListenAddress};
use crate::domain::clock::{Clock, SystemClock};
use crate::edge::admission::Admission;
use crate::edge::connection::Listener;
use crate::edge::gate::EdgeGate;
use crate::edge::handshake::Handshakes;
use crate::edge::listener::{self, BindError, Entrance, Ports};
use crate::edge::middleware::Middleware;
use crate::edge::plain::{self, PlainProxy};
use crate::edge::proxy::{self, EdgeProxy};
use crate::edge::redirects::Redirects;
use crate::edge::route::Routes;
use crate::edge::settings::Settings;
use crate::edge::threads::Threads;
use crate::edge::tls::ready::Preparer;
use crate::sites::table::Names;
use crate::store::Store;
use crate::store::files::write_new;
use crate::store::local::{LOCAL_TIER, LocalTier};
use crate::store::seal::SealingKey;
use crate::store::steady::SteadyStore;
use crate::telemetry::memory::Memory;
use crate::telemetry::metrics::Metrics;

/// File in `data_dir` with the addresses that are listened on, as JSON.
pub const LISTENING_FILE: &str = "listening.json";

/// What clients reach HTTPS at unless we or the configuration say otherwise.
const HTTPS_PORT: u16 = 443;

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or file of ours cannot be made.
    #[error("cannot {operation} {}", .path.display())]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The sealing key or the store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] crate::store::Error),
    /// An authority cannot be set up.
    #[error("an authority cannot be set up")]
    Authority(#[from] crate::acme::Error),
    /// The approval endpoint's client cannot be set up.
    #[error("the approval endpoint's client cannot be set up")]
    Approval(#[from] crate::approval::Error),
    /// A certificate file cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A certificate from files cannot be used by the TLS library.
    #[error("a certificate from files cannot be used: {0}")]
    Certificate(Refusal),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] crate::edge::tls::Error),
    /// The system gives no thread.
    #[error("a serving thread cannot be started")]
    Thread(#[source] io::Error),
    /// An address is taken or does not exist.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// The addresses that are listened on; port 0 is replaced by the one that the system picked.
#[derive(Clone, Debug, Serialize)]
pub struct Bound {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub admin: SocketAddr,
    /// `/metrics` alone, where it is configured.
    pub metrics: Option<SocketAddr>,
}

/// A process at work.
pub struct Running {
    /// Where it listens.
    pub bound: Bound,
    stop: watch::Sender<bool>,
    ready: Arc<AtomicBool>,
    admission: Arc<Admission>,
    certificates: Arc<Certificates<Preparer>>,
    proxies: Vec<Proxies>,
    drain: Duration,
    /// What begins work of its own, such as renewals.
    background: Vec<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
    /// Last, as connections end with them.
    _threads: Arc<Threads>,
}

/// The request paths of one serving thread, with pools of connections to origins of its own.
#[derive(Clone)]
struct Proxies {
    https: Arc<HttpProxy<EdgeProxy>>,
    http: Arc<HttpProxy<PlainProxy>>,
}

type ThreadPorts = Ports<HttpProxy<EdgeProxy>, HttpProxy<PlainProxy>>;

/// Sockets that are open but not served yet.
struct Sockets {
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    admin: TcpListener,
    metrics: Option<TcpListener>,
}

/// Starts everything that `config` asks for. `middlewares` run in the request path, in order,
/// after our own steps.
pub async fn start(config: Config, middlewares: Vec<Arc<dyn Middleware>>) -> Result<Running, StartError> {
    private_folder(&config.data_dir)?;
    let sockets = bind(&config)?;
    let bound = sockets.bound().map_err(|source| StartError::File {
        operation: "read the address of a socket for",
        path: config.data_dir.join(LISTENING_FILE),
        source,
    })?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = Engine::build(&config, clock.clone(), metrics.clone()).await?;
    engine.load_files(&config, &*clock)?;
    let bound_port = bound.https.first().map_or(HTTPS_PORT, SocketAddr::port);
    let https_port = config.listen.https_port.unwrap_or(bound_port);
    let proxies = engine.proxies(&config, &middlewares, https_port, &metrics);
    let admission = Admission::new(&config.limits, engine.memory.clone());
    let (stop, until) = watch::channel(false);
    let ports = engine.ports(&config, &proxies, https_port, &metrics)?;
    let threads = Threads::start(ports, &until).map_err(StartError::Thread)?;
    let threads = Arc::new(threads);
    let ready = Arc::new(AtomicBool::new(true));
    let certificates = engine.certificates.clone();
    let background = engine.background(&config, clock);
    let entrance =
        Entrance { admission: admission.clone(), threads: threads.clone(), metrics: metrics.clone() };
    let tasks = sockets.serve(&entrance, Admin { metrics, ready: ready.clone() }, &until);
    if let Err(error) = report(&config.data_dir, &bound) {
        // A full disk must not keep us from serving.
        tracing::error!(error = in_full(&error), "scripts cannot read where it listens");
    }
    let drain = config.limits.drain;
    Ok(Running {
        bound,
        stop,
        ready,
        admission,
        certificates,
        proxies,
        drain,
        background,
        tasks,
        _threads: threads,
    })
}

impl Running {
    /// Stops gracefully: no new connections, running requests and orders finish, idle
    /// connections close at once. Returns when all is done, at the latest after `limits.drain`.
    pub async fn stop(self) {
        self.ready.store(false, Ordering::Relaxed);
        self.stop.send_replace(true);
        for task in &self.background {
            task.abort();
        }
        for proxies in &self.proxies {
            proxies.https.http_cleanup().await;
            proxies.http.http_cleanup().await;
        }
        let drained = async {
            self.admission.all_closed().await;
            self.certificates.all_landed().await;
        };
        if tokio::time::timeout(self.drain, drained).await.is_err() {
            tracing::warn!(
                connections = self.admission.open(),
                orders = self.certificates.flights(),
                "not everything finished within limits.drain; stopping anyway"
            );
        }
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What decides about certificates.
struct Engine {
    certificates: Arc<Certificates<Preparer>>,
    approvals: Arc<Approvals>,
    challenges: Arc<Challenges>,
    gate: Arc<EdgeGate>,
    store: Arc<SteadyStore>,
    memory: Arc<Memory>,
}

impl Engine {
    async fn build(
        config: &Config,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let key = SealingKey::load_or_make(&config.store.key_file)?;
        let local = LocalTier::open(&config.data_dir.join(LOCAL_TIER), key.clone())?;
        let steady =
            SteadyStore::open(&config.data_dir, key, local.clone(), clock.clone(), metrics.clone()).await?;
        let steady = Arc::new(steady);
        let store: Arc<dyn Store> = steady.clone();
        let challenges = Challenges::new(store.clone(), clock.clone(), metrics.clone());
        let authorities = Arc::new(Authorities::new(
            &config.authorities,
            &config.data_dir,
            store.clone(),
            challenges.clone(),
            clock.clone(),
            metrics.clone(),
        )?);
        let approvals = Arc::new(Approvals::new(config, clock.clone(), metrics.clone())?);
        let memory = Memory::new(config.limits.memory);
        let certificates = Certificates::new(Parts {
            prepare: Preparer::default(),
            local: Arc::new(local),
            approvals: approvals.clone(),
            obtain: Obtain {
                store: store.clone(),
                authorities,
                clock: clock.clone(),
                slots: Semaphore::new(config.limits.orders),
            },
            store,
            clock,
            metrics: metrics.clone(),
            budget: NewNames::new(&config.limits, memory.clone()),
            hot: config.limits.hot_certificates,
            orders: config.limits.orders,
            wait: config.on_demand.handshake_wait,
            runtime: Handle::current(),
        });
        let gate = EdgeGate::new(certificates.clone(), challenges.clone(), metrics);
        Ok(Self { certificates, approvals, challenges, gate, store: steady, memory })
    }

    /// Certificates from files: those of platforms, and the default one.
    fn load_files(&self, config: &Config, clock: &dyn Clock) -> Result<(), StartError> {
        load_files(config, clock, &self.certificates, &self.gate)
    }

    /// One set for each serving thread: as many as this runtime has workers.
    fn proxies(
        &self,
        config: &Config,
        middlewares: &[Arc<dyn Middleware>],
        https_port: u16,
        metrics: &Arc<Metrics>,
    ) -> Vec<Proxies> {
        let settings = Settings::new(config);
        let routes = Arc::new(Routes::new(&Names::of(config), metrics));
        let challenges = self.challenges.clone();
        let edge = EdgeProxy::new(
            routes,
            challenges.clone(),
            middlewares.to_vec(),
            metrics.clone(),
            settings.clone(),
        );
        let reachable = Arc::new(self.certificates.clone());
        let plain = PlainProxy::new(challenges, reachable, https_port, metrics.clone(), settings);
        let proxies = || Proxies {
            https: Arc::new(proxy::https_proxy(edge.clone())),
            http: Arc::new(plain::http_proxy(plain.clone())),
        };
        (0..Handle::current().metrics().num_workers()).map(|_| proxies()).collect()
    }

    fn ports(
        &self,
        config: &Config,
        proxies: &[Proxies],
        https_port: u16,
        metrics: &Arc<Metrics>,
    ) -> Result<Vec<ThreadPorts>, StartError> {
        let limits = &config.limits;
        let handshakes = Arc::new(Handshakes::new(self.gate.clone(), limits.handshake, metrics)?);
        let proxy_protocol_from: Arc<[_]> = config.listen.proxy_protocol_from.clone().into();
        let redirects = Redirects::new(
            Arc::new(self.certificates.clone()),
            https_port,
            limits.keep_alive,
            config.access_log,
            metrics.clone(),
        );
        let ports = |proxies: &Proxies| Ports {
            handshakes: handshakes.clone(),
            https: proxies.https.clone(),
            redirects: redirects.clone(),
            http: proxies.http.clone(),
            proxy_protocol_from: proxy_protocol_from.clone(),
            handshake: limits.handshake,
            request_header: limits.request_header,
            keep_alive: limits.keep_alive,
            metrics: metrics.clone(),
        };
        Ok(proxies.iter().map(ports).collect())
    }

    /// What runs beside serving.
    fn background(&self, config: &Config, clock: Arc<dyn Clock>) -> Vec<JoinHandle<()>> {
        let store = self.store.clone();
        let store = tokio::spawn(async move { store.keep_open().await });
        let certificates = self.certificates.clone();
        let names = tokio::spawn(async move { certificates.follow_names().await });
        let (certificates, orders) = (self.certificates.clone(), config.limits.orders);
        let renewals = tokio::spawn(async move { certificates.renew_due(orders).await });
        let certificates = self.certificates.clone();
        let suggestions = tokio::spawn(async move { certificates.follow_suggestions().await });
        let certificates = self.certificates.clone();
        let ends = tokio::spawn(async move { certificates.count_ends().await });
        let approvals = self.approvals.clone();
        let canary = tokio::spawn(async move {
            approvals.warn_if_it_says_yes_to_everything().await;
        });
        let watched: Vec<_> = config
            .platforms
            .iter()
            .map(|platform| platform.certificate.clone())
            .chain(config.listen.default_certificate.clone())
            .collect();
        let (config, certificates, gate) = (config.clone(), self.certificates.clone(), self.gate.clone());
        let files = tokio::spawn(files::watch(watched, move || {
            match load_files(&config, &*clock, &certificates, &gate) {
                Ok(()) => tracing::info!("changed certificate files are in force"),
                Err(error) => tracing::error!(
                    error = in_full(&error),
                    "changed certificate files cannot be used; the certificates before them stay in force"
                ),
            }
        }));
        let (memory, metrics) = (self.memory.clone(), self.certificates.metrics());
        let memory = tokio::spawn(async move { memory.follow(&metrics).await });
        vec![store, names, renewals, suggestions, ends, canary, files, memory]
    }
}

fn load_files(
    config: &Config,
    clock: &dyn Clock,
    certificates: &Certificates<Preparer>,
    gate: &EdgeGate,
) -> Result<(), StartError> {
    let platforms = files::platforms(&config.platforms, clock)?;
    let default = config.listen.default_certificate.as_ref();
    let default = default.map(|files| files::read(files, clock)).transpose()?.unwrap_or_default();
    let default = default.first().map(|certificate| certificates.ready(certificate)).transpose();
    certificates.pin(&platforms).map_err(StartError::Certificate)?;
    gate.set_default(default.map_err(StartError::Certificate)?);
    Ok(())
}

fn bind(config: &Config) -> Result<Sockets, StartError> {
    let all = |addresses: &[ListenAddress]| -> Result<Vec<TcpListener>, BindError> {
        addresses.iter().filter_map(|address| listener::bind(address).transpose()).collect()
    };
    let given = |address| ListenAddress { address, defaulted: false };
    let one = |address: SocketAddr| match listener::bind(&given(address)) {
        Ok(Some(listener)) => Ok(listener),
        Ok(None) => Err(BindError { address, source: io::ErrorKind::Unsupported.into() }),
        Err(error) => Err(error),
    };
    Ok(Sockets {
        http: all(&config.listen.http)?,
        https: all(&config.listen.https)?,
        admin: one(config.listen.admin)?,
        metrics: config.listen.metrics.map(one).transpose()?,
    })
}

impl Sockets {
    fn bound(&self) -> io::Result<Bound> {
        let addresses = |listeners: &[TcpListener]| -> io::Result<Vec<SocketAddr>> {
            listeners.iter().map(TcpListener::local_addr).collect()
        };
        Ok(Bound {
            http: addresses(&self.http)?,
            https: addresses(&self.https)?,
            admin: self.admin.local_addr()?,
            metrics: self.metrics.as_ref().map(TcpListener::local_addr).transpose()?,
        })
    }

    fn serve(self, entrance: &Entrance, admin: Admin, until: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let http = self.http.into_iter().map(|socket| (socket, Listener::Http));
        let https = self.https.into_iter().map(|socket| (socket, Listener::Https));
        let mut tasks: Vec<_> = http
            .chain(https)
            .map(|(socket, kind)| tokio::spawn(entrance.clone().accept(socket, kind, until.clone())))
            .collect();
        for socket in [Some(self.admin), self.metrics].into_iter().flatten() {
            // The admin listener tells `/readyz` to the end: it goes with the process.
            tasks.push(tokio::spawn(admin::serve(socket, admin.clone(), std::future::pending())));
        }
        tasks
    }
}

/// Tells where we listen: in the log, and in a file for scripts.
fn report(data_dir: &Path, bound: &Bound) -> Result<(), StartError> {
    tracing::info!(http = ?bound.http, https = ?bound.https, admin = %bound.admin, "listening");
    let path = data_dir.join(LISTENING_FILE);
    let failed = |source| StartError::File { operation: "write", path: path.clone(), source };
    let text = serde_json::to_vec(bound).map_err(|error| failed(error.into()))?;
    let whole = path.with_extension("json.new");
    // One that a crash left behind has no reader.
    match std::fs::remove_file(&whole) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(source)),
        _ => {}
    }
    write_new(&whole, &text).and_then(|()| std::fs::rename(&whole, &path)).map_err(failed)
}

fn private_folder(path: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| StartError::File {
        operation: "make the folder",
        path: path.to_owned(),
        source,
    })
}
