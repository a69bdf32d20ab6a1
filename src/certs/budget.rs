//! How many names that nobody knows yet may be asked about in a time. Names with a certificate and
//! names that are approved already never come here.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use super::Spent;
use crate::config::{Limits, Rate};
use crate::domain::hostname::Hostname;
use crate::telemetry::memory::Memory;

/// Clients and domains remembered, each. One that a flood pushed out starts anew, still within
/// the bound on all.
const REMEMBERED: u64 = 65_536;

/// The budgets for new names. Their memory is bounded, whoever asks for whatever.
pub struct NewNames {
    depth: usize,
    all: (Spacing, Bucket),
    clients: Buckets,
    domains: Buckets,
    memory: Arc<Memory>,
    hasher: ahash::RandomState,
    begin: Instant,
}

impl NewNames {
    /// With the limits of the configuration.
    pub fn new(limits: &Limits, memory: Arc<Memory>) -> Self {
        Self {
            depth: limits.label_depth,
            all: (Spacing::of(limits.new_names), Bucket::default()),
            clients: Buckets::new(limits.new_names_per_client),
            domains: Buckets::new(limits.new_names_per_domain),
            memory,
            hasher: ahash::RandomState::new(),
            begin: Instant::now(),
        }
    }

    /// Why a new name is refused whoever asks for it; takes nothing. It spares a handshake all
    /// that comes after its first message.
    pub fn refuses(&self, hostname: &Hostname, now: Instant) -> Option<Spent> {
        let domain = hostname.registrable_domain();
        if below(hostname.as_str(), domain) > self.depth {
            return Some(Spent::Depth);
        }
        if self.memory.sheds_new_names() {
            return Some(Spent::Memory);
        }
        let (spacing, all) = &self.all;
        // Nothing is remembered of clients and domains that could not go on anyway.
        (!all.has_room(*spacing, self.since(now))).then_some(Spent::All)
    }

    /// Takes one name of `client` out of the budgets at the moment `now`.
    pub fn take(&self, hostname: &Hostname, client: IpAddr, now: Instant) -> Result<(), Spent> {
        if let Some(spent) = self.refuses(hostname, now) {
            return Err(spent);
        }
        let now = self.since(now);
        if !self.clients.take(self.hash(client_network(client)), now) {
            return Err(Spent::Client);
        }
        if !self.domains.take(self.hash(hostname.registrable_domain()), now) {
            return Err(Spent::Domain);
        }
        let (spacing, all) = &self.all;
        all.take(*spacing, now).then_some(()).ok_or(Spent::All)
    }

    /// Nanoseconds since the beginning.
    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begin).as_nanos()).unwrap_or(u64::MAX)
    }

    fn hash(&self, key: impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// Labels of `hostname` below `domain`.
fn below(hostname: &str, domain: &str) -> usize {
    hostname.strip_suffix(domain).unwrap_or_default().matches('.').count()
}

/// The network a client's limit counts for: its address, or for IPv6 its /64.
pub fn client_network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

/// A rate in nanoseconds.
#[derive(Clone, Copy)]
struct Spacing {
    each: u64,
    burst: u64,
}

impl Spacing {
    fn of(rate: Rate) -> Self {
        let burst = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX / 4).max(1);
        Self { each: (burst / u64::from(rate.count)).max(1), burst }
    }
}

/// A leaky bucket in one number (the generic cell rate algorithm): the moment at which everything
/// taken so far will have flowed out.
#[derive(Default)]
struct Bucket(AtomicU64);

impl Bucket {
    fn has_room(&self, spacing: Spacing, now: u64) -> bool {
        after(self.0.load(Ordering::Relaxed), spacing, now).is_some()
    }

    fn take(&self, spacing: Spacing, now: u64) -> bool {
        let next = |until| after(until, spacing, now);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

fn after(until: u64, spacing: Spacing, now: u64) -> Option<u64> {
    let next = until.max(now).saturating_add(spacing.each);
    (next - now <= spacing.burst).then_some(next)
}

/// A bucket for each key; those that have flowed out are forgotten.
struct Buckets {
    spacing: Spacing,
    kept: Cache<u64, Arc<Bucket>>,
}

impl Buckets {
    fn new(rate: Rate) -> Self {
        let idle = rate.per.max(Duration::from_secs(1));
        let kept = Cache::builder().max_capacity(REMEMBERED).time_to_idle(idle).build();
        Self { spacing: Spacing::of(rate), kept }
    }

    fn take(&self, key: u64, now: u64) -> bool {
        self.kept.get_with(key, Arc::default).take(self.spacing, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(change: impl FnOnce(&mut Limits)) -> NewNames {
        let mut limits = Limits::default();
        change(&mut limits);
        NewNames::new(&limits, Memory::new(0))
    }

    fn take(budget: &NewNames, name: &str, client: &str, after: Duration) -> Result<(), Spent> {
        budget.take(&name.parse().unwrap(), client.parse().unwrap(), budget.begin + after)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    fn rate(count: u32) -> Rate {
        Rate { count, per: MINUTE }
    }

    #[test]
    fn a_client_has_its_budget_and_gets_it_back_with_time() {
        let budget = budget(|limits| limits.new_names_per_client = rate(2));
        let ask = |name: &str, client: &str, after| take(&budget, name, client, after);
        assert_eq!(ask("a.one.test", "2001:db8::1", Duration::ZERO), Ok(()));
        assert_eq!(ask("a.two.test", "2001:db8::2", Duration::ZERO), Ok(()));
        assert_eq!(ask("a.three.test", "2001:db8::3", Duration::ZERO), Err(Spent::Client), "one /64");
        assert_eq!(ask("a.three.test", "2001:db8:0:1::1", Duration::ZERO), Ok(()));
        assert_eq!(ask("a.three.test", "2001:db8::3", MINUTE / 2), Ok(()));
        assert_eq!(ask("a.four.test", "2001:db8::3", MINUTE / 2), Err(Spent::Client));
    }

    #[test]
    fn a_domain_and_all_names_have_theirs() {
        let of_domain = budget(|limits| limits.new_names_per_domain = rate(1));
        assert_eq!(take(&of_domain, "a.example.co.uk", "192.0.2.1", Duration::ZERO), Ok(()));
        assert_eq!(take(&of_domain, "b.example.co.uk", "192.0.2.2", Duration::ZERO), Err(Spent::Domain));
        assert_eq!(take(&of_domain, "b.other.co.uk", "192.0.2.2", Duration::ZERO), Ok(()));
        let all = budget(|limits| limits.new_names = rate(1));
        assert_eq!(take(&all, "a.one.test", "192.0.2.1", Duration::ZERO), Ok(()));
        assert_eq!(take(&all, "a.two.test", "192.0.2.2", Duration::ZERO), Err(Spent::All));
    }

    #[test]
    fn names_with_too_many_labels_cost_no_budget() {
        let budget = budget(|limits| {
            limits.label_depth = 2;
            limits.new_names = rate(1);
        });
        let ask = |name: &str| take(&budget, name, "192.0.2.1", Duration::ZERO);
        assert_eq!(ask("www.www.www.example.com"), Err(Spent::Depth));
        assert_eq!(ask("www.www.example.com"), Ok(()));
    }

    #[test]
    fn a_flood_of_keys_is_not_remembered_without_end() {
        let buckets = Buckets::new(rate(1));
        for key in 0..4 * REMEMBERED {
            buckets.take(key, 0);
        }
        buckets.kept.run_pending_tasks();
        assert!(buckets.kept.entry_count() <= REMEMBERED);
    }
}
