//! Composition root: chooses implementations, wires them, starts and stops them in order.

mod doors;
mod engine;
pub mod hand_over;
mod keys;
mod machine;
mod news;
mod tickets;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use pingora_core::apps::HttpServerApp;
use pingora_proxy::HttpProxy;
use serde::Serialize;
use tokio::task::JoinHandle;

use self::doors::{Door, Serves};
use self::engine::Engine;
use self::hand_over::Inheritance;
use crate::api::admin::Admin;
use crate::api::listener::{self, TlsError};
use crate::api::routes::Api;
use crate::api::webhooks::client::Client;
use crate::certs::files::{FilesError, Watched};
use crate::certs::revoke::Outcome;
use crate::certs::tickets::Rotated;
use crate::certs::{Refusal, in_full};
use crate::config::Config;
use crate::domain::hostname::Hostname;
use crate::domain::revocation::Reason;
use crate::edge::admission::Admission;
use crate::edge::ending::{Ending, Until};
use crate::edge::listener::{Entrance, Ports};
use crate::edge::middleware::Middleware;
use crate::edge::plain::PlainProxy;
use crate::edge::proxy::EdgeProxy;
use crate::edge::sockets::{BindError, Inherited};
use crate::edge::threads::Threads;
use crate::sites::plan::Plan;
use crate::store::files::write_new;
use crate::store::rekey::Rekeyed;

/// File in `data_dir` with the addresses that are listened on, as JSON.
pub const LISTENING_FILE: &str = "listening.json";

/// What clients reach HTTPS at unless we or the configuration say otherwise.
const HTTPS_PORT: u16 = 443;

/// How long the end of the process waits for questions by DNS that are looked up.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long the end of the process waits for the store to forget this machine.
const SIGNING_OFF: Duration = Duration::from_secs(1);

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
    /// The system's DNS servers are not known.
    #[error("DNS cannot be asked; give [dns] resolvers")]
    Dns(#[from] crate::dns::LookupFailed),
    /// The access to a zone for dns-01 cannot be set up.
    #[error(transparent)]
    Zone(#[from] crate::dns::WriteFailed),
    /// The approval endpoint's client cannot be set up.
    #[error("the approval endpoint's client cannot be set up")]
    Approval(#[from] crate::approval::Error),
    /// The client for webhooks cannot be set up.
    #[error("webhooks cannot be spoken to")]
    Webhooks(#[from] crate::api::webhooks::ClientError),
    /// The client for OCSP responders cannot be set up.
    #[error("OCSP responders cannot be asked")]
    Ocsp(#[from] crate::edge::StaplerError),
    /// A certificate file cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A certificate from files cannot be used by the TLS library.
    #[error("a certificate from files cannot be used: {0}")]
    Certificate(Refusal),
    /// The admin listener's certificate cannot be used.
    #[error(transparent)]
    Admin(#[from] TlsError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] crate::edge::tls::Error),
    /// The zone's records cannot be made.
    #[error("the zone of [dns_server] cannot be answered for; give shorter names")]
    NameServer(#[source] hickory_server::proto::ProtoError),
    /// The system gives no thread.
    #[error("a serving thread cannot be started")]
    Thread(#[source] io::Error),
    /// An address is taken or does not exist.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// systemd gave a socket that the configuration does not listen on.
    #[error(
        "systemd handed over a socket at {address}, which the configuration does not listen on; \
         name it in [listen], or take it out of the socket unit"
    )]
    Unwanted {
        /// Where it listens.
        address: SocketAddr,
    },
    /// The key file lost the key that everything is sealed with.
    #[error(
        "the sealing keys at hand lack {now}, which everything is sealed with; put it back, behind the new one"
    )]
    KeyGone {
        /// Its short name.
        now: String,
    },
    /// A reload changes what a running process cannot change.
    #[error("{} cannot change in a running process; upgrade or restart it instead", .keys.join(", "))]
    Fixed {
        /// The keys.
        keys: Vec<&'static str>,
    },
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
    /// The name server, by UDP and TCP.
    pub dns: Vec<SocketAddr>,
}

/// A process at work.
pub struct Running {
    /// Where it listens.
    pub bound: Bound,
    config: Config,
    engine: Engine,
    doors: Vec<Arc<Door>>,
    entrance: Entrance<HttpProxy<EdgeProxy>, HttpProxy<PlainProxy>>,
    admin: Admin,
    ending: Ending,
    until: Until,
    proxies: Vec<Proxies>,
    /// Those of configurations before, which some connections still use.
    former: Vec<WeakProxies>,
    orders: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    /// What goes by the configuration.
    watches: Vec<JoinHandle<()>>,
}

/// The request paths of one serving thread, with pools of connections to origins of its own.
#[derive(Clone)]
struct Proxies {
    https: Arc<HttpProxy<EdgeProxy>>,
    http: Arc<HttpProxy<PlainProxy>>,
}

struct WeakProxies {
    https: Weak<HttpProxy<EdgeProxy>>,
    http: Weak<HttpProxy<PlainProxy>>,
}

type ThreadPorts = Ports<HttpProxy<EdgeProxy>, HttpProxy<PlainProxy>>;

/// Starts everything that `config` asks for. `middlewares` run in the request path, in order,
/// after our own steps.
pub async fn start(config: Config, middlewares: Vec<Arc<dyn Middleware>>) -> Result<Running, StartError> {
    let running = start_with(config, middlewares, Inheritance::default()).await?;
    running.report();
    Ok(running)
}

/// As [`start`], with what is there already; it reports nothing yet.
pub async fn start_with(
    config: Config,
    middlewares: Vec<Arc<dyn Middleware>>,
    inheritance: Inheritance,
) -> Result<Running, StartError> {
    private_folder(&config.data_dir)?;
    let Inheritance { mut sockets, lock } = inheritance;
    let doors = doors::plan(&config, &[], &mut sockets)?;
    refuse_unwanted(sockets)?;
    let bound = doors::bound(&doors);
    let engine = Engine::build(&config, middlewares, lock).await?;
    let watched = Watched::of(&config);
    engine.load_files(&config)?;
    engine.certificates.recall_revoked().await;
    let https_port = https_port(&config, &bound);
    let proxies = engine.proxies(&config, https_port);
    let (ending, until) = Ending::new();
    let threads = Threads::start(engine.ports(&config, &proxies, https_port), &until);
    let (metrics, ready) = (engine.metrics.clone(), Arc::new(AtomicBool::new(true)));
    let tls = config.listen.admin_certificate.as_ref().map(listener::tls).transpose()?;
    let api = Api::new(
        &config,
        engine.sites.clone(),
        engine.store.clone(),
        engine.webhooks.clone(),
        Arc::new(engine.certificates.clone()),
    );
    let running = Running {
        bound,
        doors,
        entrance: Entrance {
            admission: Admission::new(&config.limits, engine.memory.clone()),
            threads: Arc::new(threads.map_err(StartError::Thread)?),
            metrics: metrics.clone(),
        },
        admin: Admin { metrics, ready, api: Some(api.clone()), tls: Arc::new(ArcSwapOption::new(tls)) },
        ending,
        until,
        proxies,
        former: Vec::new(),
        orders: engine.orders(),
        background: engine.background().into_iter().chain([tokio::spawn(api.clone().tidy())]).collect(),
        watches: engine.watches(&config, watched),
        engine,
        config,
    };
    running.open_doors();
    Ok(running)
}

/// The port that redirects name.
fn https_port(config: &Config, bound: &Bound) -> u16 {
    let first = bound.https.first().map_or(HTTPS_PORT, SocketAddr::port);
    config.listen.https_port.unwrap_or(first)
}

/// A socket of systemd's that nobody answers would leave its clients waiting; one that the process
/// before had is no longer configured.
fn refuse_unwanted(sockets: Vec<Inherited>) -> Result<(), StartError> {
    match sockets.into_iter().find(|socket| socket.role.is_none()) {
        Some(socket) => Err(StartError::Unwanted { address: socket.address }),
        None => Ok(()),
    }
}

impl Running {
    fn open_doors(&self) {
        let Self { entrance, admin, until, engine, .. } = self;
        let serves = Serves { entrance, admin, dns: &engine.name_server, until };
        self.doors.iter().for_each(|door| door.serve(&serves));
    }

    /// Tells scripts and the log where it listens. To be called once commands reach this process too.
    pub fn report(&self) {
        if let Err(error) = report(&self.config.data_dir, &self.bound) {
            // A full disk must not keep us from serving.
            tracing::error!(error = in_full(&error), "scripts cannot read where it listens");
        }
    }

    /// Puts `config` in force, whole or not at all. No connection is closed: requests take the
    /// new sites at once, connections keep the time-outs they began with.
    ///
    /// Fails where something of `config` cannot be had, or changed in a running process; then
    /// everything is as before.
    pub fn reload(&mut self, config: Config) -> Result<(), StartError> {
        let fixed = fixed_keys(&self.config, &config);
        if !fixed.is_empty() {
            return Err(StartError::Fixed { keys: fixed });
        }
        let doors = doors::plan(&config, &self.doors, &mut Vec::new())?;
        let bound = doors::bound(&doors);
        let rules = self.engine.rules(&config)?;
        let plan = Plan::new(&config)?;
        let zone =
            self.engine.name_server.plan(config.dns_server.as_ref()).map_err(StartError::NameServer)?;
        let tls = config.listen.admin_certificate.as_ref().map(listener::tls).transpose()?;
        let webhooks = Client::new(&config.webhooks)?;
        let key = self.engine.read_key(&config.store.key)?;
        let watched = Watched::of(&config);
        self.engine.load_files(&config)?;
        // From here on nothing fails.
        self.engine.take_key(key);
        for gone in self
            .config
            .authorities
            .iter()
            .filter(|old| config.authorities.iter().all(|new| new.name != old.name))
        {
            // Where it never had anything to tell there is nothing to take away.
            let _absent = self.engine.metrics.authority_up.remove_label_values(&[&*gone.name]);
        }
        self.engine.follow(&config, rules, plan, zone, webhooks);
        self.admin.tls.store(tls);
        if let Some(api) = &self.admin.api {
            api.follow(&config);
        }
        let https_port = https_port(&config, &bound);
        let proxies = self.engine.proxies(&config, https_port);
        self.entrance.threads.replace(self.engine.ports(&config, &proxies, https_port));
        self.entrance.admission.set(&config.limits);
        self.former.retain(|former| former.https.strong_count() + former.http.strong_count() > 0);
        for Proxies { https, http } in std::mem::replace(&mut self.proxies, proxies) {
            self.former.push(WeakProxies { https: Arc::downgrade(&https), http: Arc::downgrade(&http) });
        }
        self.watches.iter().for_each(JoinHandle::abort);
        self.watches = self.engine.watches(&config, watched);
        (self.doors, self.bound, self.config) = (doors, bound, config);
        self.open_doors();
        self.report();
        Ok(())
    }

    /// What the process that follows this one needs; this one serves on until [`Running::leave`].
    pub fn hand_over(&self) -> io::Result<Inheritance> {
        let sockets = self.doors.iter().map(|door| door.hand_over()).collect::<io::Result<_>>()?;
        Ok(Inheritance { sockets, lock: self.engine.store.lock()? })
    }

    /// Ends service after another process has taken over: takes no new connection, lets those that
    /// are there end by themselves. Returns when all are gone and all orders under way have ended,
    /// at the latest after `limits.hand_over`; may be given up for [`Running::stop`].
    pub async fn leave(&mut self) {
        self.admin.ready.store(false, Ordering::Relaxed);
        for door in std::mem::take(&mut self.doors) {
            door.close().await;
        }
        self.orders.iter().for_each(JoinHandle::abort);
        self.ending.leave();
        if tokio::time::timeout(self.config.limits.hand_over, self.drained()).await.is_err() {
            self.warn_of_the_rest("limits.hand_over");
        }
    }

    /// Stops gracefully: no new connections, running requests and orders finish, idle
    /// connections close at once. Returns when all is done, at the latest after `limits.drain`.
    pub async fn stop(mut self) {
        self.admin.ready.store(false, Ordering::Relaxed);
        let machine = self.engine.machine.clone();
        let leaving = tokio::spawn(async move { machine.leave().await });
        for door in self.doors.extract_if(.., |door| !door.is_last()) {
            door.close().await;
        }
        self.ending.stop();
        for task in self.orders.iter().chain(&self.background).chain(&self.watches) {
            task.abort();
        }
        let former = |former: &WeakProxies| Some((former.https.upgrade()?, former.http.upgrade()?));
        let current = self.proxies.iter().map(|proxies| (proxies.https.clone(), proxies.http.clone()));
        for (https, http) in current.chain(self.former.iter().filter_map(former)) {
            https.http_cleanup().await;
            http.http_cleanup().await;
        }
        if tokio::time::timeout(self.config.limits.drain, self.drained()).await.is_err() {
            self.warn_of_the_rest("limits.drain");
        }
        let signing_off = async {
            // What it says last is not put over that it has gone.
            let _ended = leaving.await;
            self.engine.machine.sign_off().await;
        };
        // However the store does, the process ends.
        drop(tokio::time::timeout(SIGNING_OFF, signing_off).await);
    }

    async fn drained(&self) {
        self.entrance.admission.all_closed().await;
        self.engine.certificates.all_landed().await;
        self.engine.name_server.answered(LAST_ANSWERS).await;
    }

    fn warn_of_the_rest(&self, limit: &str) {
        tracing::warn!(
            connections = self.entrance.admission.open(),
            orders = self.engine.certificates.flights(),
            limit,
            "not everything finished within the limit; stopping anyway"
        );
    }

    /// Revokes the certificate of `hostname`, as [`Certificates::revoke`](crate::certs::find::Certificates::revoke) says; the work goes on
    /// without this value.
    pub fn revoke(
        &self,
        hostname: Hostname,
        reason: Reason,
    ) -> impl Future<Output = Result<Option<Outcome>, Refusal>> + use<> {
        let certificates = self.engine.certificates.clone();
        async move { certificates.revoke(&hostname, reason).await }
    }

    /// Changes the sealing key, as [`rekey`](crate::store::rekey::rekey) says.
    pub fn rekey(&self) -> impl Future<Output = Result<Rekeyed, crate::store::Error>> + use<> {
        let store = &self.config.store;
        self.engine.rekey(&store.key, store.engine != crate::config::Engine::Embedded)
    }

    /// Makes a new key of session tickets, as [`Tickets::rotate`](crate::certs::tickets::Tickets::rotate) says.
    pub fn rotate_tickets(&self, discard: bool) -> impl Future<Output = Rotated> + use<> {
        self.engine.rotate_tickets(discard)
    }

    /// Counts a reload of the configuration file.
    pub fn note_reload(&self, done: bool) {
        let metrics = &self.engine.metrics;
        metrics.reloads.with_label_values(&[if done { "done" } else { "failed" }]).inc();
        metrics.configuration_current.set(i64::from(done));
    }
}

/// The keys that differ and that only another process can follow.
fn fixed_keys(now: &Config, next: &Config) -> Vec<&'static str> {
    let same = [
        ("data_dir", now.data_dir == next.data_dir),
        ("store.url", now.store.engine == next.store.engine),
        ("store.key_file", now.store.key == next.store.key),
        ("ocsp", now.ocsp == next.ocsp),
        ("limits.hot_certificates", now.limits.hot_certificates == next.limits.hot_certificates),
    ];
    same.into_iter().filter_map(|(key, same)| (!same).then_some(key)).collect()
}

/// Tells where we listen: in the log, and in a file for scripts.
fn report(data_dir: &Path, bound: &Bound) -> Result<(), StartError> {
    tracing::info!(http = ?bound.http, https = ?bound.https, admin = %bound.admin, dns = ?bound.dns, "listening");
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
