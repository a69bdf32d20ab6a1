//! How many connections there may be: in all, and of one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::certs::budget::client_network;
use crate::config::Limits;
use crate::telemetry::memory::Memory;

/// Maps by client are split so that clients seldom wait for each other.
const SHARDS: usize = 64;

/// Why a connection is closed unheard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// `limits.connections` are open.
    Total,
    /// `limits.connections_per_client` of this client are open.
    Client,
    /// `limits.handshakes` are under way.
    Handshakes,
    /// `limits.memory` is in use.
    Memory,
}

impl Refused {
    /// The value of the metrics' label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Client => "client",
            Self::Handshakes => "handshakes",
            Self::Memory => "memory",
        }
    }
}

/// Counts connections and lets them in.
pub struct Admission {
    most: AtomicUsize,
    most_per_client: AtomicUsize,
    most_handshakes: AtomicUsize,
    memory: Arc<Memory>,
    open: AtomicUsize,
    handshakes: AtomicUsize,
    clients: [Mutex<HashMap<IpAddr, usize, ahash::RandomState>>; SHARDS],
    hasher: ahash::RandomState,
    closed: Notify,
}

impl Admission {
    /// With the limits of the configuration.
    pub fn new(limits: &Limits, memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(limits.connections),
            most_per_client: AtomicUsize::new(limits.connections_per_client),
            most_handshakes: AtomicUsize::new(limits.handshakes),
            memory,
            open: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            clients: std::array::from_fn(|_| Mutex::default()),
            hasher: ahash::RandomState::new(),
            closed: Notify::new(),
        })
    }

    /// Takes other limits, which cut nothing off that is there.
    pub fn set(&self, limits: &Limits) {
        self.most.store(limits.connections, Ordering::Relaxed);
        self.most_per_client.store(limits.connections_per_client, Ordering::Relaxed);
        self.most_handshakes.store(limits.handshakes, Ordering::Relaxed);
    }

    /// A place among all connections, before the client is known.
    pub fn enter(self: &Arc<Self>) -> Result<Place, Refused> {
        if self.memory.sheds_connections() {
            return Err(Refused::Memory);
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) {
            self.leave();
            return Err(Refused::Total);
        }
        Ok(Place { admission: self.clone(), client: None })
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Waits until no connection is open.
    pub async fn all_closed(&self) {
        loop {
            let closed = self.closed.notified();
            if self.open() == 0 {
                return;
            }
            closed.await;
        }
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.closed.notify_waiters();
        }
    }

    fn shard(&self, client: &IpAddr) -> &Mutex<HashMap<IpAddr, usize, ahash::RandomState>> {
        let hash = usize::try_from(self.hasher.hash_one(client) % SHARDS as u64).unwrap_or(0);
        &self.clients[hash]
    }
}

/// A connection's place; given back when dropped.
pub struct Place {
    admission: Arc<Admission>,
    client: Option<IpAddr>,
}

impl Place {
    /// Counts the connection for its client.
    pub fn belongs_to(&mut self, client: IpAddr) -> Result<(), Refused> {
        let client = client_network(client);
        let mut clients = self.admission.shard(&client).lock();
        let open = clients.entry(client).or_default();
        if *open >= self.admission.most_per_client.load(Ordering::Relaxed) {
            return Err(Refused::Client);
        }
        *open += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Place {
    /// A place among the handshakes under way.
    pub fn begins_handshake(&self) -> Result<Handshaking, Refused> {
        let handshaking = Handshaking(self.admission.clone());
        let most = self.admission.most_handshakes.load(Ordering::Relaxed);
        if self.admission.handshakes.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(Refused::Handshakes);
        }
        Ok(handshaking)
    }
}

/// A place among the handshakes under way; given back when dropped.
pub struct Handshaking(Arc<Admission>);

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            let mut clients = self.admission.shard(&client).lock();
            if let Some(open) = clients.get_mut(&client) {
                *open -= 1;
                if *open == 0 {
                    clients.remove(&client);
                }
            }
        }
        self.admission.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_client_and_come_back() {
        let limits = Limits { connections: 3, connections_per_client: 2, handshakes: 1, ..Limits::default() };
        let admission = Admission::new(&limits, Memory::new(0));
        let ip = |raw: &str| raw.parse::<IpAddr>().unwrap();
        let enter = |client: &str| {
            let mut place = admission.enter()?;
            place.belongs_to(ip(client))?;
            Ok(place)
        };
        let first = enter("2001:db8::1").unwrap();
        let _second = enter("2001:db8::2").unwrap();
        assert_eq!(enter("2001:db8::3").err(), Some(Refused::Client), "a /64 is one client");
        let third = enter("2001:db8:0:1::1").unwrap();
        assert_eq!(enter("192.0.2.1").err(), Some(Refused::Total));
        let handshaking = first.begins_handshake().unwrap();
        assert_eq!(third.begins_handshake().err(), Some(Refused::Handshakes));
        drop(handshaking);
        assert!(third.begins_handshake().is_ok());
        drop((first, third));
        assert_eq!(admission.open(), 1);
        let _mapped = enter("::ffff:192.0.2.1").unwrap();
        let _plain = enter("192.0.2.1").unwrap();
        assert_eq!(admission.open(), 3);
    }
}
