//! How much a client may ask, and how many connections there may be.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;
use parking_lot::Mutex;

use super::Transport;
use crate::config::Rate;

/// Clients remembered, each way. One that a flood pushed out starts anew.
const REMEMBERED: u64 = 65_536;
/// Connections in all.
const CONNECTIONS: usize = 1_000;
/// Connections of one client.
const CONNECTIONS_PER_CLIENT: usize = 50;

/// Whether a question is heard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is.
    Hear,
    /// Only by TCP, where nobody can ask in another one's name.
    ByTcp,
    /// It is not.
    Drop,
}

/// How much each client has asked.
pub struct Flood {
    quota: Quota,
    udp: Cache<IpAddr, Arc<DefaultDirectRateLimiter>>,
    tcp: Cache<IpAddr, Arc<DefaultDirectRateLimiter>>,
    slip: AtomicBool,
}

impl Flood {
    /// With this many questions of a client by UDP, and as many by TCP.
    pub fn new(rate: Rate) -> Self {
        let count = NonZeroU32::new(rate.count).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(rate.each()).unwrap_or(Quota::per_second(count)).allow_burst(count);
        let kept = || Cache::builder().max_capacity(REMEMBERED).time_to_idle(rate.per * 2).build();
        Self { quota, udp: kept(), tcp: kept(), slip: AtomicBool::new(false) }
    }

    /// Counts a question of `client`.
    ///
    /// Of what is too much by UDP every second one is answered with word to come by TCP: whoever is in
    /// earnest does, and whoever was asked for in his name by another one gets no more than was sent.
    pub fn hear(&self, client: IpAddr, transport: Transport) -> Verdict {
        let kept = if transport == Transport::Udp { &self.udp } else { &self.tcp };
        let limiter = kept.get_with(network(client), || Arc::new(RateLimiter::direct(self.quota)));
        match limiter.check() {
            Ok(()) => Verdict::Hear,
            Err(_) if transport == Transport::Udp && self.slip.fetch_xor(true, Ordering::Relaxed) => {
                Verdict::ByTcp
            }
            Err(_) => Verdict::Drop,
        }
    }
}

/// The network that a client's limits count for: its /24, for IPv6 its /56.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (u32::MAX << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 72)).into(),
    }
}

/// The connections that are open.
#[derive(Default)]
pub struct Connections(Mutex<HashMap<IpAddr, usize>>);

impl Connections {
    /// A place for a connection of `client`, if there is one.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let client = network(client);
        let mut open = self.0.lock();
        let all: usize = open.values().sum();
        let own = open.entry(client).or_default();
        if all >= CONNECTIONS || *own >= CONNECTIONS_PER_CLIENT {
            if *own == 0 {
                open.remove(&client);
            }
            return None;
        }
        *own += 1;
        Some(Place { connections: self.clone(), client })
    }
}

/// A connection's place; given back when dropped.
pub struct Place {
    connections: Arc<Connections>,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.0.lock();
        if let Some(own) = open.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_that_asks_too_much_by_udp_is_told_now_and_then_to_come_by_tcp() {
        let flood = Flood::new(Rate { count: 3, per: Duration::from_secs(3600) });
        let ask = |client: &str, transport| flood.hear(ip(client), transport);
        let of_a_network: Vec<_> =
            (1..=7).map(|host| ask(&format!("192.0.2.{host}"), Transport::Udp)).collect();
        use Verdict::{ByTcp, Drop, Hear};
        assert_eq!(of_a_network, [Hear, Hear, Hear, Drop, ByTcp, Drop, ByTcp]);
        assert_eq!(ask("192.0.2.1", Transport::Tcp), Hear, "by TCP it has as much again");
        assert_eq!(ask("192.0.3.1", Transport::Udp), Hear);
        assert_eq!(ask("::ffff:192.0.2.9", Transport::Udp), Drop);
        assert_eq!(network(ip("2001:db8:0:1ff::1")), ip("2001:db8:0:100::"));
    }

    #[test]
    fn connections_are_counted_in_all_and_by_client_and_come_back() {
        let connections = Arc::new(Connections::default());
        let own: Vec<_> = (0..=CONNECTIONS_PER_CLIENT).map(|_| connections.enter(ip("192.0.2.1"))).collect();
        assert_eq!(own.iter().flatten().count(), CONNECTIONS_PER_CLIENT);
        let client = |number: usize| ip(&format!("10.{}.{}.1", number / 256, number % 256));
        let others: Vec<_> = (0..CONNECTIONS).map(|number| connections.enter(client(number))).collect();
        assert_eq!(others.iter().flatten().count(), CONNECTIONS - CONNECTIONS_PER_CLIENT);
        drop((own, others));
        assert!(connections.0.lock().is_empty());
        assert!(connections.enter(ip("192.0.2.1")).is_some());
    }
}
