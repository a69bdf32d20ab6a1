//! Where a request goes: the choice among a site's origins, their addresses, their connections.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::sync::Mutex;

use super::Error;
use super::route::Route;
use crate::domain::site::{Origin, OriginTimeouts, Scheme};

/// Tries at origins for one request at most.
pub const MAX_TRIES: usize = 4;
/// How long an origin that refused a connection comes last.
const REST: Duration = Duration::from_secs(5);
/// How long an origin's addresses are used before its name is looked up again, in the background.
const ADDRESSES_FRESH: Duration = Duration::from_secs(10);
/// Streams at once on an HTTP/2 connection to an origin.
const STREAMS: usize = 100;
/// What an origin may send ahead of a slow client on one HTTP/2 stream, in octets.
const STREAM_WINDOW: u32 = 256 * 1024;
/// And on one HTTP/2 connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Whose turn it is among the origins of a site.
#[derive(Debug, Default)]
pub struct Turn(AtomicUsize);

/// An origin made ready to be connected to.
#[derive(Debug)]
pub struct Target {
    label: Arc<str>,
    /// For any request; its address is a placeholder where the origin has a name.
    peer: HttpPeer,
    /// For gRPC over TLS, which needs HTTP/2.
    peer_http2: Option<HttpPeer>,
    address: Address,
    connect: Duration,
    /// Milliseconds on [`uptime`]'s clock.
    rests_until: AtomicU64,
}

#[derive(Debug)]
enum Address {
    Fixed(SocketAddr),
    Named(Arc<Named>),
}

impl Target {
    /// Makes `origin` ready; looks nothing up yet.
    pub fn new(origin: &Origin, timeouts: OriginTimeouts) -> Self {
        let (address, placeholder) = match origin.address() {
            Some(address) => (Address::Fixed(address), address),
            None => (Address::Named(Arc::new(Named::new(origin))), SocketAddr::from(([0, 0, 0, 0], 0))),
        };
        let peer = |alpn: ALPN| {
            let tls = origin.scheme == Scheme::Https;
            let sni = if tls { origin.host.to_string() } else { String::new() };
            let mut peer = HttpPeer::new(placeholder, tls, sni);
            peer.options.connection_timeout = Some(timeouts.connect);
            peer.options.total_connection_timeout = Some(timeouts.connect);
            peer.options.read_timeout = Some(timeouts.read);
            peer.options.write_timeout = Some(timeouts.write);
            peer.options.idle_timeout = Some(timeouts.idle);
            peer.options.max_h2_streams = STREAMS;
            peer.options.h2_stream_window_size = Some(STREAM_WINDOW);
            peer.options.h2_connection_window_size = Some(CONNECTION_WINDOW);
            peer.options.alpn = alpn;
            peer
        };
        Self {
            label: origin.to_string().into(),
            peer: peer(if origin.scheme == Scheme::H2c { ALPN::H2 } else { ALPN::H1 }),
            peer_http2: (origin.scheme == Scheme::Https).then(|| peer(ALPN::H2)),
            address,
            connect: timeouts.connect,
            rests_until: AtomicU64::new(0),
        }
    }

    /// A peer for one try.
    ///
    /// - `http2`: whether the request needs HTTP/2, as gRPC does.
    pub(super) async fn peer(&self, http2: bool) -> Result<Box<HttpPeer>, Error> {
        let address = match &self.address {
            Address::Fixed(address) => *address,
            Address::Named(named) => named.address(self.connect).await?,
        };
        let template = self.peer_http2.as_ref().filter(|_| http2).unwrap_or(&self.peer);
        let mut peer = Box::new(template.clone());
        peer._address = address.into();
        Ok(peer)
    }

    /// Notes that no connection could be made.
    pub(super) fn failed(&self) {
        self.rests_until.store(millis(uptime() + REST), Ordering::Relaxed);
        if let Address::Named(named) = &self.address {
            named.first.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn rests(&self) -> bool {
        let until = self.rests_until.load(Ordering::Relaxed);
        until != 0 && millis(uptime()) < until
    }

    /// Addresses it is known to have.
    fn addresses(&self) -> usize {
        match &self.address {
            Address::Fixed(_) => 1,
            Address::Named(named) => named.resolved.load().as_ref().map_or(1, |r| r.addresses.len()),
        }
    }
}

impl fmt::Display for Target {
    /// As the configuration has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

fn uptime() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An origin's name and the addresses it had last.
#[derive(Debug)]
struct Named {
    host: Arc<str>,
    port: u16,
    resolved: ArcSwapOption<Resolved>,
    /// Held while looking up, so that simultaneous requests look up once.
    asking: Mutex<()>,
    refreshing: AtomicBool,
    /// Grows when a connection fails, so that the next address has its turn.
    first: AtomicUsize,
}

#[derive(Debug)]
struct Resolved {
    /// Never empty.
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Named {
    fn new(origin: &Origin) -> Self {
        Self {
            host: origin.host.clone(),
            port: origin.port,
            resolved: ArcSwapOption::empty(),
            asking: Mutex::new(()),
            refreshing: AtomicBool::new(false),
            first: AtomicUsize::new(0),
        }
    }

    async fn address(self: &Arc<Self>, limit: Duration) -> Result<SocketAddr, Error> {
        if let Some(resolved) = &*self.resolved.load() {
            if resolved.at.elapsed() > ADDRESSES_FRESH && !self.refreshing.swap(true, Ordering::AcqRel) {
                tokio::spawn(self.clone().refresh(limit));
            }
            return Ok(self.turn(resolved));
        }
        let _asking = self.asking.lock().await;
        if let Some(resolved) = &*self.resolved.load() {
            return Ok(self.turn(resolved));
        }
        let addresses = self.lookup(limit).await?;
        let resolved = Arc::new(Resolved { addresses, at: Instant::now() });
        self.resolved.store(Some(resolved.clone()));
        Ok(self.turn(&resolved))
    }

    fn turn(&self, resolved: &Resolved) -> SocketAddr {
        resolved.addresses[self.first.load(Ordering::Relaxed) % resolved.addresses.len()]
    }

    /// Keeps the addresses of before where the lookup fails.
    async fn refresh(self: Arc<Self>, limit: Duration) {
        let addresses = match self.lookup(limit).await {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::debug!(%error, "an origin's addresses of before stay in use");
                self.resolved.load().as_ref().map_or_else(Vec::new, |before| before.addresses.clone())
            }
        };
        if !addresses.is_empty() {
            self.resolved.store(Some(Arc::new(Resolved { addresses, at: Instant::now() })));
        }
        self.refreshing.store(false, Ordering::Release);
    }

    async fn lookup(&self, limit: Duration) -> Result<Vec<SocketAddr>, Error> {
        let unresolved =
            |report: String| Error::Unresolved { origin: self.host.clone(), report: report.into() };
        let found = tokio::time::timeout(limit, tokio::net::lookup_host((&*self.host, self.port)))
            .await
            .map_err(|_| unresolved(format!("the resolver took longer than {limit:?}")))?
            .map_err(|error| unresolved(error.to_string()))?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() {
            return Err(unresolved("the resolver knows none".to_owned()));
        }
        Ok(addresses)
    }
}

/// The tries that one request has made.
#[derive(Debug, Default)]
pub struct Tries {
    start: usize,
    count: usize,
    /// One bit for each of the first 64 targets.
    tried: u64,
    last: Option<Arc<Target>>,
}

impl Tries {
    /// The target of the last try.
    pub fn last(&self) -> Option<&Target> {
        self.last.as_deref()
    }

    /// The target of the next try at `route`: the next in turn that was not tried and does not
    /// rest; else one that rests; else, where names have several addresses, any again.
    pub(super) fn next(&mut self, route: &Route) -> Option<Arc<Target>> {
        let targets = &route.targets;
        if targets.is_empty() {
            return None;
        }
        if self.count == 0 {
            self.start = if targets.len() == 1 { 0 } else { route.turn.0.fetch_add(1, Ordering::Relaxed) };
        }
        let in_turn = (0..targets.len()).map(|step| (self.start.wrapping_add(step)) % targets.len());
        let fresh = |&place: &usize| self.tried & bit(place) == 0;
        let place = in_turn
            .clone()
            .filter(fresh)
            .find(|&place| !targets[place].rests())
            .or_else(|| in_turn.clone().find(fresh))
            .unwrap_or((self.start.wrapping_add(self.count)) % targets.len());
        self.tried |= bit(place);
        Some(self.take(targets[place].clone()))
    }

    /// Notes a try at `target`, which is returned.
    pub(super) fn take(&mut self, target: Arc<Target>) -> Arc<Target> {
        self.count += 1;
        self.last = Some(target.clone());
        target
    }

    /// Whether another try at `route` makes sense after a connection failed.
    pub(super) fn may_go_on(&self, route: &Route) -> bool {
        let addresses: usize = route.targets.iter().map(|target| target.addresses()).sum();
        self.count < addresses.min(MAX_TRIES)
    }
}

fn bit(place: usize) -> u64 {
    1_u64.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0)
}
