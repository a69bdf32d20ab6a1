//! What clients, and this machine itself, may use up.

use std::time::Duration;

/// Limits of this machine and of its clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// A client's time for its part of the handshake.
    pub handshake: Duration,
    /// For a whole request header, from its first octet.
    pub request_header: Duration,
    /// A kept-alive connection without a request is closed after this time.
    pub keep_alive: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one client address (IPv6: a /64).
    pub connections_per_client: usize,
    /// Certificates ready to use in memory.
    pub hot_certificates: u64,
    /// Orders under way on this machine.
    pub orders: usize,
    /// How long a stop waits for running requests and orders.
    pub drain: Duration,
    /// How long a process that another one replaced may finish what it serves.
    pub hand_over: Duration,
    /// Names never seen before, for one client address (IPv6: a /64).
    pub new_names_per_client: Rate,
    /// Names never seen before, for one registrable domain.
    pub new_names_per_domain: Rate,
    /// Names never seen before, in all.
    pub new_names: Rate,
    /// Labels below the registrable domain of a name never seen before.
    pub label_depth: usize,
    /// TLS handshakes under way at once.
    pub handshakes: usize,
    /// Silence of a client within a request's body.
    pub body_idle: Duration,
    /// Octets a second of a request's body whose length was announced, at least, on average.
    pub body_rate: u64,
    /// Time in which a client must take a piece of an answer.
    pub write_idle: Duration,
    /// Octets of memory above which new names and connections are refused; 0: none.
    pub memory: u64,
}

/// So many in a time, as in `"500/1m"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// How many; never zero.
    pub count: u32,
    /// In this time; never zero.
    pub per: Duration,
}

impl Rate {
    /// The time that one of them takes; never zero.
    pub fn each(self) -> Duration {
        (self.per / self.count.max(1)).max(Duration::from_nanos(1))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            request_header: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            connections: 100_000,
            connections_per_client: 1_000,
            hot_certificates: 100_000,
            orders: 256,
            drain: Duration::from_secs(30),
            hand_over: Duration::from_secs(600),
            new_names_per_client: Rate { count: 500, per: Duration::from_secs(60) },
            new_names_per_domain: Rate { count: 500, per: Duration::from_secs(60) },
            new_names: Rate { count: 3_000, per: Duration::from_secs(60) },
            label_depth: 5,
            handshakes: 20_000,
            body_idle: Duration::from_secs(30),
            body_rate: 128,
            write_idle: Duration::from_secs(60),
            memory: 0,
        }
    }
}
