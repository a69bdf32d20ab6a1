//! What is simulated, and the row of the table that it comes to.

use std::time::Duration;

use nameplate::acme::limits;
use nameplate::config::{AuthorityLimits, Directory, Rate};

use crate::authority::Authority;
use crate::world::{Hour, World};

/// Machines of the fleet.
const MACHINES: u64 = 100;
/// Orders that a machine has under way for renewals: a quarter of `limits.orders`.
const SLOTS: u64 = 256 / 4;
const DAY: i64 = 24 * 60;
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Let's Encrypt's limit counts in this time.
const PER: Duration = Duration::from_secs(3 * 60 * 60);

/// The heads of the table.
pub const HEADS: [&str; 11] = [
    "scenario",
    "expired",
    "orders an hour, mean",
    "peak",
    "peak / mean",
    "renewals an hour in the last third: peak / mean",
    "late at most",
    "longest wait of a new name",
    "rows an hour at peak",
    "limit used at most",
    "orders beyond a limit",
];

/// How names come.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Arrival {
    /// Most are there; one in a hundred comes, evenly over the time.
    Steady,
    /// All of them come on the first day.
    OneDay,
}

/// A limit on orders.
#[derive(Clone, Copy, PartialEq)]
pub enum Limit {
    None,
    /// So many times as much as is ordered on average.
    Times(f64),
    /// Let's Encrypt's, for each account.
    LetsEncrypt,
}

/// One simulation.
pub struct Scenario {
    pub title: &'static str,
    pub names: u32,
    pub days: u32,
    /// Lifetimes in days; names are spread over them evenly.
    pub lives: &'static [u8],
    pub arrival: Arrival,
    /// The first authority's outage: its first minute, its length in minutes.
    pub outage: (i64, i64),
    /// The limit of all accounts together.
    pub limit: Limit,
    pub accounts: usize,
    /// Whether renewals count for nothing.
    pub renewals_are_free: bool,
    /// Whether there is a second authority, with as large a limit.
    pub second: bool,
}

impl Scenario {
    fn new(title: &'static str, names: u32, days: u32, lives: &'static [u8]) -> Self {
        Self {
            title,
            names,
            days,
            lives,
            arrival: Arrival::Steady,
            outage: (0, 0),
            limit: Limit::Times(2.0),
            accounts: 1,
            renewals_are_free: false,
            second: false,
        }
    }

    pub fn life_of(&self, number: u32) -> u8 {
        self.lives[number as usize % self.lives.len()]
    }

    /// The part of its life after which a certificate is renewed, on average.
    pub fn part_of_life(&self, number: u32) -> f64 {
        if self.life_of(number) < 10 { 0.475 } else { 0.64 }
    }

    /// Whether the name is not there from the beginning.
    pub fn arrives_later(&self, number: u32) -> bool {
        match self.arrival {
            Arrival::Steady => number % 100 == 99,
            Arrival::OneDay => true,
        }
    }

    /// The names that come in this minute.
    pub fn arrivals(&self, minute: i64) -> impl Iterator<Item = u32> + use<> {
        let (over, step, first) = match self.arrival {
            Arrival::Steady => (i64::from(self.days) * DAY, 100, 99),
            Arrival::OneDay => (DAY, 1, 0),
        };
        let all = i64::from(self.names / step);
        let until = |minute: i64| (all * minute.min(over) / over) as u32;
        (until(minute)..until(minute + 1)).map(move |place| place * step + first)
    }

    /// Whether the first authority answers nobody.
    pub fn is_out(&self, minute: i64) -> bool {
        (self.outage.0..self.outage.0 + self.outage.1).contains(&minute)
    }

    /// Orders that may be under way at once.
    pub fn slots(&self) -> u64 {
        MACHINES * SLOTS
    }

    /// What is ordered on average in the time that limits count in, where each is renewed when two thirds
    /// of its life are over, or half of a short one.
    fn mean(&self) -> f64 {
        let lives = (0_u32..).zip(self.lives);
        let rates = lives.map(|(number, &days)| 1.0 / (self.part_of_life(number) * f64::from(days)));
        let rates = rates.sum::<f64>() / self.lives.len() as f64;
        f64::from(self.names) * rates / 24.0 * 3.0
    }

    pub fn authorities(&self) -> Vec<Authority> {
        let times = |times: f64| (self.mean() * times / self.accounts as f64).ceil() as u32;
        let orders = match self.limit {
            Limit::None => None,
            Limit::Times(number) => Some(Rate { count: times(number).max(4), per: PER }),
            Limit::LetsEncrypt => {
                let url = LETS_ENCRYPT.parse().expect("a constant URL");
                limits::limits(AuthorityLimits::Auto, &Directory::Acme(url)).orders
            }
        };
        let one = || Authority::new(orders, self.accounts, self.renewals_are_free);
        (0..if self.second { 2 } else { 1 }).map(|_| one()).collect()
    }

    /// The row of the table.
    pub fn row(&self, world: &World) -> Vec<String> {
        let hours = &world.hours;
        let orders = |hour: &Hour| hour.orders;
        let (mean, peak) = mean_and_peak(hours, orders);
        let (end_mean, end_peak) = mean_and_peak(&hours[hours.len() * 2 / 3..], |hour| hour.renewals);
        let most = |value: fn(&Hour) -> u64| hours.iter().map(value).max().unwrap_or(0);
        let used = hours.iter().map(|hour| hour.used).fold(0.0, f64::max);
        let exceeded: u64 = world.authorities.iter().map(Authority::exceeded).sum();
        vec![
            self.title.to_owned(),
            world.expired.to_string(),
            format!("{mean:.0}"),
            peak.to_string(),
            format!("{:.2}", peak as f64 / mean),
            format!("{:.2}", end_peak as f64 / end_mean.max(1.0)),
            most(|hour| hour.late).to_string(),
            format!("{} min", world.longest_wait),
            most(|hour| hour.rows).to_string(),
            if self.limit == Limit::None { "-".to_owned() } else { format!("{:.0} %", used * 100.0) },
            exceeded.to_string(),
        ]
    }
}

fn mean_and_peak(hours: &[Hour], value: impl Fn(&Hour) -> u64) -> (f64, u64) {
    let sum: u64 = hours.iter().map(&value).sum();
    (sum as f64 / hours.len().max(1) as f64, hours.iter().map(&value).max().unwrap_or(0))
}

/// Every scenario.
pub fn all(names: u32) -> Vec<Scenario> {
    let of = |title, days, lives| Scenario::new(title, names, days, lives);
    let out = |days: i64, begin: i64| (begin * DAY, days);
    let hours = 60;
    vec![
        of("90 days", 180, &[90]),
        of("45 days", 90, &[45]),
        of("6 days", 24, &[6]),
        of("90, 45 and 6 days", 90, &[90, 45, 6]),
        Scenario {
            renewals_are_free: true,
            limit: Limit::LetsEncrypt,
            ..of("90 days, Let's Encrypt's limit, renewals free of it", 180, &[90])
        },
        Scenario { accounts: 10, ..of("90 days, ten accounts", 180, &[90]) },
        Scenario {
            arrival: Arrival::OneDay,
            limit: Limit::None,
            ..of("90 days, all came in one day", 540, &[90])
        },
        Scenario { arrival: Arrival::OneDay, ..of("90 days, all came in one day, limited", 540, &[90]) },
        Scenario { outage: out(6 * hours, 40), ..of("90 days, 6 h outage", 90, &[90]) },
        Scenario { outage: out(24 * hours, 40), ..of("90 days, 1 day outage", 90, &[90]) },
        Scenario { outage: out(72 * hours, 40), ..of("90 days, 3 days outage", 90, &[90]) },
        Scenario { outage: out(6 * hours, 8), ..of("6 days, 6 h outage", 24, &[6]) },
        Scenario { outage: out(24 * hours, 8), ..of("6 days, 1 day outage", 24, &[6]) },
        Scenario {
            outage: out(24 * hours, 8),
            second: true,
            ..of("6 days, 1 day outage, two authorities", 24, &[6])
        },
        Scenario {
            outage: out(96 * hours, 8),
            ..of("6 days, 4 days outage: longer than the margin", 24, &[6])
        },
    ]
}
