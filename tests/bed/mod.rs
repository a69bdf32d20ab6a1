//! What end-to-end tests stand on: a real ACME CA, an approval endpoint, an origin.
//!
//! - [`bind::Bind`]: BIND, with the zones that a test writes.
//! - [`ca::Ca`]: Pebble with pebble-challtestsrv; every name resolves to 127.0.0.1.
//! - [`approval::ApprovalEndpoint`]: an HTTP server that behaves as a test says, name by name.
//! - [`edge::Edge`]: answers the CA's challenges in this process and places orders.
//! - [`origin::Origin`]: an HTTP server that tells what reached it.
//! - [`program::Edge`]: the `nameplate` program itself, as a process; [`house`]: with all of these.
//! - [`meddler::Meddler`]: stands before the CA and disturbs what it says.
//! - [`network::Network`]: a network for one machine, which can be cut off from all others.
//! - [`postgres::PostgresServer`]: PostgreSQL, with databases as a test wants them.
//! - [`power::PowerDns`]: PowerDNS, whose zone is changed by its API.
//! - [`pem`]: certificates that an operator brings.
//! - [`redis::Redis`]: Redis, with what a test puts there.
//! - [`relay::Relay`]: a cable to cut, or one address for several machines.
//! - [`client::Client`]: TLS clients; [`hello`]: ClientHellos that no TLS library sends.
//!
//! Everything listens on loopback and ends with the value that started it.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod approval;
pub mod bind;
pub mod ca;
pub mod client;
pub mod edge;
pub mod hello;
pub mod house;
pub mod meddler;
pub mod network;
pub mod origin;
pub mod pem;
pub mod postgres;
pub mod power;
pub mod program;
pub mod redis;
pub mod relay;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nameplate::domain::clock::SystemClock;
use nameplate::store::Store;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::SqliteStore;
use nameplate::telemetry::metrics::Metrics;

/// Longest that anything in a test may take; a machine under load is slow.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A TCP port on loopback that nobody listens on, and that nobody else is given: it lies below
/// the ports that the system hands out for port 0, and each call takes the next one.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(1_009);
    loop {
        let offset = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).expect("below 30,000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The embedded store in `data_dir`, sealed with a key of its own.
pub async fn store(data_dir: &Path) -> Arc<dyn Store> {
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new("test")));
    Arc::new(SqliteStore::open(data_dir, SealingKey::random(), clock, metrics).await.expect("a fresh store"))
}

/// Waits until `holds`; panics with `what` after [`DEADLINE`].
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looks = async {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        while !holds().await {
            pace.tick().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, looks).await.is_ok(), "{what}: not within {DEADLINE:?}");
}

/// Waits until `look` finds something; panics with `what` after [`DEADLINE`].
pub async fn appears<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(what, async || {
        found = look().await;
        found.is_some()
    })
    .await;
    found.expect("`eventually` ends only once something was found")
}

/// One GET over plain HTTP with `Connection: close`; the whole answer as text.
pub async fn plain(server: std::net::SocketAddr, host: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut tcp = tokio::net::TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}
