//! An authority as the fleet knows it: its limits, counted as the store counts them, and its breaker.

use nameplate::acme::health::{Breaker, Turn};
use nameplate::acme::limits;
use nameplate::acme::{Cause, Failure, Step};
use nameplate::config::{OrderLimits, Rate};
use nameplate::domain::budget::Purpose;
use nameplate::domain::clock::UnixTime;
use nameplate::domain::orders::{Bound, Scope};

/// One minute, in seconds.
pub const MINUTE: i64 = 60;

/// An authority with some accounts.
pub struct Authority {
    bound: Option<Bound>,
    accounts: Vec<Window>,
    breaker: Breaker,
    /// Whether renewals count for nothing (RFC 9773 orders at Let's Encrypt).
    pub renewals_are_free: bool,
}

/// The orders of an account in the last minutes.
struct Window {
    minutes: Vec<u32>,
    last: i64,
    sum: u64,
    /// Every order that counts, by the minute.
    all: Vec<u32>,
}

impl Window {
    fn new(bound: Option<Bound>) -> Self {
        let minutes = bound.map_or(1, |bound| bound.per.as_secs() as usize / MINUTE as usize);
        Self { minutes: vec![0; minutes.max(1)], last: 0, sum: 0, all: Vec::new() }
    }

    fn advance(&mut self, minute: i64) {
        let length = self.minutes.len() as i64;
        for passed in (self.last + 1..=minute).take(self.minutes.len()) {
            let place = (passed % length) as usize;
            self.sum -= u64::from(self.minutes[place]);
            self.minutes[place] = 0;
        }
        self.last = self.last.max(minute);
    }

    fn add(&mut self, minute: i64) {
        let place = (minute % self.minutes.len() as i64) as usize;
        self.minutes[place] += 1;
        self.sum += 1;
        let minute = usize::try_from(minute).unwrap_or(0);
        self.all.resize(self.all.len().max(minute + 1), 0);
        self.all[minute] += 1;
    }
}

impl Authority {
    /// - `orders`: what each account may order
    pub fn new(orders: Option<Rate>, accounts: usize, renewals_are_free: bool) -> Self {
        let limits = OrderLimits { orders, ..OrderLimits::default() };
        let bound = limits::bounds(&limits).into_iter().find(|bound| bound.scope == Scope::Authority);
        let accounts = (0..accounts).map(|_| Window::new(bound)).collect();
        Self { bound, accounts, breaker: Breaker::default(), renewals_are_free }
    }

    /// Whether it is asked at all now.
    pub fn is_open(&self, now: UnixTime) -> bool {
        !matches!(self.breaker.turn(now), Turn::Wait(..))
    }

    /// Notes an order for this purpose; `false` where no account has room for it.
    pub fn place(&mut self, name: u32, purpose: Purpose, now: UnixTime) -> bool {
        let Some(bound) = self.bound else { return true };
        if self.renewals_are_free && purpose != Purpose::NewName {
            return true;
        }
        let (minute, count) = (now.0 / MINUTE, bound.for_purpose(purpose).count);
        let accounts = self.accounts.len();
        for turn in 0..accounts {
            let account = &mut self.accounts[(name as usize + turn) % accounts];
            account.advance(minute);
            if account.sum < u64::from(count) {
                account.add(minute);
                return true;
            }
        }
        false
    }

    /// An order came to its end.
    pub fn succeeded(&self) {
        // What is to be kept is told to the other machines at once.
        let _kept = self.breaker.succeeded();
    }

    /// It did not answer.
    pub fn failed(&self, now: UnixTime, draw: f64) {
        let failure = Failure {
            authority: "simulated".into(),
            step: Step::NewOrder,
            cause: Cause::Unreachable("an outage".into()),
            challenges: Vec::new(),
        };
        let _kept = self.breaker.failed(now, &failure, false, draw);
    }

    /// How full the fullest account is now, of one.
    pub fn used(&mut self, now: UnixTime) -> f64 {
        let Some(bound) = self.bound else { return 0.0 };
        let fullest = self.accounts.iter_mut().map(|account| {
            account.advance(now.0 / MINUTE);
            account.sum
        });
        fullest.max().unwrap_or(0) as f64 / f64::from(bound.count)
    }

    /// The limit of an account, and every order that counts for it, by the minute.
    pub fn ordered(&self) -> impl Iterator<Item = (Bound, &[u32])> {
        let bound = self.bound;
        self.accounts.iter().filter_map(move |account| Some((bound?, account.all.as_slice())))
    }

    /// By how many orders a limit was ever exceeded.
    pub fn exceeded(&self) -> u64 {
        let most = |(bound, orders): (Bound, &[u32])| {
            let minutes = bound.per.as_secs() as usize / MINUTE as usize;
            let (mut sum, mut most) = (0, 0);
            for (minute, count) in orders.iter().enumerate() {
                let passed = minute.checked_sub(minutes).map_or(0, |passed| orders[passed]);
                sum = sum + u64::from(*count) - u64::from(passed);
                most = most.max(sum);
            }
            most.saturating_sub(u64::from(bound.count))
        };
        self.ordered().map(most).sum()
    }
}
