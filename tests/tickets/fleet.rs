//! Machines in this process: a store that they share, a clock that stands still, TLS by their keys.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nameplate::certs::tickets::{Parts, Tickets};
use nameplate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::edge::tls::Alert;
use nameplate::edge::tls::acceptor::{acceptor, handshake};
use nameplate::edge::tls::decision::{Decision, Gate};
use nameplate::edge::tls::hello::{Hello, ServerName};
use nameplate::edge::tls::ready::{Preparer, ReadyCertificate};
use nameplate::edge::tls::tickets::TicketUse;
use nameplate::store::local::LocalTier;
use nameplate::store::seal::SealingKey;
use nameplate::store::steady::SteadyStore;
use nameplate::telemetry::metrics::Metrics;
use openssl::ssl::SslSession;
use pingora_core::tls::tokio_ssl::SslStream;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::bed::client::{self, Client};

pub const PERIOD: Duration = Duration::from_secs(12 * 60 * 60);
pub const HOUR: Duration = Duration::from_secs(60 * 60);
/// What the machines serve.
pub const NAMES: [&str; 2] = ["a.test", "b.test"];

/// What its machines have in common.
pub struct Fleet {
    pub store: Arc<SteadyStore>,
    pub clock: Arc<HeldClock>,
    pub key: SealingKey,
    pub data: TempDir,
    gate: Arc<Names>,
}

/// A machine: its own folder, its keys, a TLS port.
pub struct Machine {
    pub tickets: Arc<Tickets>,
    pub metrics: Arc<Metrics>,
    pub folder: Arc<TempDir>,
    pub address: SocketAddr,
}

impl Fleet {
    pub async fn new() -> Self {
        let (data, key, clock) = (TempDir::new().unwrap(), SealingKey::random(), HeldClock::new());
        let local = LocalTier::open(&data.path().join("unused"), key.clone()).unwrap();
        let metrics = Arc::new(Metrics::new("test"));
        let store = SteadyStore::open(
            (&nameplate::config::Engine::Embedded, data.path()),
            key.clone(),
            local,
            clock.clone(),
            metrics,
            None,
        );
        let store = Arc::new(store.await.unwrap());
        let gate = Arc::new(Names::new());
        Self { store, clock, key, data, gate }
    }

    /// Another machine, which has looked at the store once.
    pub async fn machine(&self) -> Machine {
        let machine = self.machine_in(Arc::new(TempDir::new().unwrap())).await;
        machine.tickets.look_again().await;
        machine
    }

    /// A machine that begins in `folder` and has not looked at the store.
    pub async fn machine_in(&self, folder: Arc<TempDir>) -> Machine {
        self.machine_with(PERIOD, folder).await
    }

    /// The same with keys that encrypt for `period`.
    pub async fn machine_with(&self, period: Duration, folder: Arc<TempDir>) -> Machine {
        let metrics = Arc::new(Metrics::new("test"));
        let parts = Parts {
            store: self.store.clone(),
            local: LocalTier::open(folder.path(), self.key.clone()).unwrap(),
            clock: self.clock.clone(),
            metrics: metrics.clone(),
            period,
        };
        let tickets = Tickets::begin(parts).await;
        let ticket_use = TicketUse::new(tickets.ring(), self.clock.clone(), period, &metrics);
        let address = serve(self.gate.clone(), ticket_use).await;
        Machine { tickets, metrics, folder, address }
    }
}

impl Machine {
    /// A session of a full handshake.
    pub async fn session(&self, client: &Client, name: &str) -> SslSession {
        client::session(client, self.address, name, 1).await
    }

    /// Whether `session` is resumed here under `name`.
    pub async fn resumes(&self, client: &Client, session: &SslSession, name: &str) -> bool {
        let client = Client { session: Some(session.clone()), ..client.clone() };
        let mut served = client.handshake(self.address, name).await.unwrap();
        let resumed = served.stream.ssl().session_reused();
        if !resumed {
            assert_eq!(served.names(), [name]);
        }
        // OpenSSL does not resume a session once more whose connection was not closed in order.
        let _gone = served.stream.shutdown().await;
        resumed
    }

    /// The name of the key that encrypts, and whether it is the fleet's.
    pub fn encrypting(&self, fleet: &Fleet) -> ([u8; 16], bool) {
        let ring = self.tickets.ring().load_full();
        let held = ring.encrypting(fleet.clock.now()).expect("one always does");
        (*held.key.name(), held.shared)
    }

    /// How many tickets came to this.
    pub fn counted(&self, result: &str) -> u64 {
        self.metrics.session_tickets.with_label_values(&[result]).get()
    }
}

/// A TLS server that answers each request line by line, for as long as the test.
async fn serve(gate: Arc<dyn Gate>, tickets: TicketUse) -> SocketAddr {
    let acceptor = acceptor(gate, tickets).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut stream = SslStream::new(handshake(&acceptor).unwrap(), tcp).unwrap();
            tokio::spawn(async move {
                if Pin::new(&mut stream).accept().await.is_ok() {
                    let (mut octets, mut answered) = ([0; 1024], true);
                    while answered && stream.read(&mut octets).await.is_ok_and(|read| read > 0) {
                        answered = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok();
                    }
                    let _gone = stream.shutdown().await;
                }
            });
        }
    });
    address
}

/// A certificate for each name.
struct Names(HashMap<String, Arc<ReadyCertificate>>);

impl Names {
    fn new() -> Self {
        let ready = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            let certificate = Certificate {
                name: name.parse().unwrap(),
                chain: vec![made.cert.der().to_vec()],
                key: PrivateKey::from_der(made.signing_key.serialize_der()),
                key_type: KeyType::P256,
                validity: Validity { not_before: UnixTime(0), not_after: UnixTime(i64::MAX) },
                source: Source::File,
            };
            Arc::new(Preparer::default().ready(&[&certificate]).unwrap())
        };
        Self(NAMES.iter().map(|name| ((*name).to_owned(), ready(name))).collect())
    }
}

impl Gate for Names {
    fn decide(&self, hello: &Hello) -> Option<Decision> {
        let found = match &hello.name {
            ServerName::Hostname(hostname) => self.0.get(hostname.as_str()),
            ServerName::Absent | ServerName::Invalid(_) => None,
        };
        let refused = Decision::Refuse(Alert::UnrecognizedName);
        Some(found.cloned().map_or(refused, Decision::Present))
    }
}

/// A clock that stands still until it is told.
pub struct HeldClock(AtomicI64);

impl HeldClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_800_000_000)))
    }

    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_secs() as i64, Ordering::SeqCst);
    }
}

impl Clock for HeldClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}
