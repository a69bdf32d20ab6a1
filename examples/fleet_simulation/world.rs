//! Names, when they are due, and what is ordered for them minute by minute.

use std::collections::VecDeque;
use std::time::Duration;

use nameplate::certs::back_off;
use nameplate::domain::budget::{Due, Purpose};
use nameplate::domain::certificate::{Source, Validity};
use nameplate::domain::clock::UnixTime;
use nameplate::domain::renewal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::authority::{Authority, MINUTE};
use crate::scenario::Scenario;

/// Rows that an order touches which comes to a certificate: the claim, the lease taken and given back, the
/// order, the unfinished order kept and forgotten, the challenge published and withdrawn, the certificate,
/// the attempt, two changes, the event, and what the authority suggests.
const ROWS: u64 = 14;
/// Rows of one that fails: without the unfinished order, the certificate and its change.
const ROWS_OF_A_FAILURE: u64 = 10;
/// One order in so many fails for reasons of the name's own, and is tried again.
const FAILS: u32 = 300;
/// How long an order takes, in seconds.
const ORDER_SECONDS: u64 = 4;

/// A name: moments in minutes, 0 where it has no certificate yet.
#[derive(Clone, Copy, Default)]
struct Name {
    at: i32,
    late_at: i32,
    end: i32,
    failures: u8,
    life: u8,
    /// Whether it waits for an order.
    waits: bool,
}

/// What happened in an hour.
#[derive(Clone, Copy, Default)]
pub struct Hour {
    pub orders: u64,
    pub renewals: u64,
    pub rows: u64,
    pub backlog: u64,
    pub late: u64,
    pub expired: u64,
    pub used: f64,
}

/// All of it.
pub struct World {
    names: Vec<Name>,
    /// Names that become due, and late, and end, by the minute.
    due_at: Vec<Vec<u32>>,
    late_at: Vec<Vec<u32>>,
    ends_at: Vec<Vec<u32>>,
    new: VecDeque<(u32, i64)>,
    due: VecDeque<u32>,
    late: VecDeque<u32>,
    pub authorities: Vec<Authority>,
    source: Source,
    draws: StdRng,
    pub hours: Vec<Hour>,
    pub expired: u64,
    /// The longest time a new name waited, in minutes.
    pub longest_wait: i64,
}

impl World {
    pub fn new(scenario: &Scenario) -> Self {
        let minutes = scenario.days as usize * 24 * 60;
        let empty = || vec![Vec::new(); minutes];
        let mut world = Self {
            names: vec![Name::default(); scenario.names as usize],
            due_at: empty(),
            late_at: empty(),
            ends_at: empty(),
            new: VecDeque::new(),
            due: VecDeque::new(),
            late: VecDeque::new(),
            authorities: scenario.authorities(),
            source: Source::Authority("simulated".into()),
            draws: StdRng::seed_from_u64(1),
            hours: Vec::new(),
            expired: 0,
            longest_wait: 0,
        };
        for number in 0..scenario.names {
            world.names[number as usize].life = scenario.life_of(number);
            if !scenario.arrives_later(number) {
                // As if it had been renewed at some moment before it is due again, whichever.
                let life = f64::from(scenario.life_of(number)) * 24.0 * 60.0;
                // A twentieth of its life is between the first and the last moment at which it may be due.
                let first_due = (scenario.part_of_life(number) - 0.025) * life;
                let age = world.draws.random::<f64>() * first_due;
                world.certify(number, -(age as i64));
            }
        }
        world
    }

    /// What is left once all is over: the hours.
    pub fn without_names(mut self) -> Self {
        (self.names, self.due_at) = (Vec::new(), Vec::new());
        (self.late_at, self.ends_at) = (Vec::new(), Vec::new());
        self
    }

    pub fn run(&mut self, scenario: &Scenario) {
        for minute in 0..i64::from(scenario.days) * 24 * 60 {
            if minute % 60 == 0 {
                self.hours.push(Hour::default());
            }
            self.arrive(scenario, minute);
            self.pass(minute);
            self.order(scenario, minute);
            let (backlog, late, expired) = (self.backlog(), self.late.len() as u64, self.expired);
            let used = self.authorities[0].used(UnixTime(minute * MINUTE));
            let hour = self.hours.last_mut().expect("one was pushed");
            hour.backlog = hour.backlog.max(backlog);
            hour.late = hour.late.max(late);
            (hour.expired, hour.used) = (expired, hour.used.max(used));
        }
    }

    fn backlog(&self) -> u64 {
        (self.new.len() + self.due.len() + self.late.len()) as u64
    }

    fn arrive(&mut self, scenario: &Scenario, minute: i64) {
        for number in scenario.arrivals(minute) {
            self.new.push_back((number, minute));
        }
    }

    /// What becomes due, late and ends in this minute.
    fn pass(&mut self, minute: i64) {
        let place = minute as usize;
        let now = minute as i32;
        for number in std::mem::take(&mut self.due_at[place]) {
            let name = &mut self.names[number as usize];
            if name.at == now && !name.waits {
                name.waits = true;
                // It may have become late while it was put off.
                let queue = if name.late_at <= now { &mut self.late } else { &mut self.due };
                queue.push_back(number);
            }
        }
        for number in std::mem::take(&mut self.late_at[place]) {
            let name = &self.names[number as usize];
            // Those that wait among the others are passed over there.
            if name.late_at == now && name.waits {
                self.late.push_back(number);
            }
        }
        for number in std::mem::take(&mut self.ends_at[place]) {
            self.expired += u64::from(self.names[number as usize].end == now);
        }
    }

    /// The orders of this minute: new names first, then what is late, then what is due.
    fn order(&mut self, scenario: &Scenario, minute: i64) {
        let now = UnixTime(minute * MINUTE);
        let mut capacity = scenario.slots() * MINUTE as u64 / ORDER_SECONDS;
        while let Some(&(number, since)) = self.new.front().filter(|_| capacity > 0) {
            let Some(authority) = self.place(number, Purpose::NewName, now) else { break };
            self.new.pop_front();
            capacity -= 1;
            if self.finish(scenario, number, authority, minute) {
                self.longest_wait = self.longest_wait.max(minute - since);
            } else {
                self.names[number as usize].failures = 0;
                self.new.push_back((number, since));
                if !self.authorities[authority].is_open(now) {
                    break;
                }
            }
        }
        while capacity > 0 {
            let Some((number, purpose)) = self.next(now) else { break };
            let Some(authority) = self.place(number, purpose, now) else { break };
            match purpose {
                Purpose::LateRenewal => drop(self.late.pop_front()),
                _ => drop(self.due.pop_front()),
            }
            capacity -= 1;
            if let Some(hour) = self.hours.last_mut() {
                hour.renewals += 1;
            }
            if !self.finish(scenario, number, authority, minute) {
                let down = authority == 0 && scenario.is_out(minute);
                self.again_later(number, minute, down);
            }
        }
    }

    /// Who is next of those that wait, by the order in which the store hands them out.
    fn next(&mut self, now: UnixTime) -> Option<(u32, Purpose)> {
        let minute = (now.0 / MINUTE) as i32;
        let names = &self.names;
        let stale = |number: &u32, late: bool| {
            let name = &names[*number as usize];
            !name.waits || (name.late_at <= minute) != late
        };
        while self.late.front().is_some_and(|number| stale(number, true)) {
            self.late.pop_front();
        }
        while self.due.front().is_some_and(|number| stale(number, false)) {
            self.due.pop_front();
        }
        let due = |number: &u32| {
            let name = &names[*number as usize];
            let moment = |minute: i32| UnixTime(i64::from(minute) * MINUTE);
            (*number, Due { at: moment(name.at), late_at: moment(name.late_at) })
        };
        let waiting = self.late.front().into_iter().chain(self.due.front()).map(due);
        let (number, due) = waiting.min_by_key(|(_, due)| due.place(now))?;
        Some((number, due.purpose(now)))
    }

    /// The first authority that is asked and has room.
    fn place(&mut self, number: u32, purpose: Purpose, now: UnixTime) -> Option<usize> {
        self.authorities.iter_mut().position(|one| one.is_open(now) && one.place(number, purpose, now))
    }

    /// Whether the order came to a certificate.
    fn finish(&mut self, scenario: &Scenario, number: u32, authority: usize, minute: i64) -> bool {
        let now = UnixTime(minute * MINUTE);
        let down = authority == 0 && scenario.is_out(minute);
        let fails = down || self.draws.random_range(0..FAILS) == 0;
        let hour = self.hours.last_mut().expect("one was pushed");
        hour.orders += 1;
        hour.rows += if fails { ROWS_OF_A_FAILURE } else { ROWS };
        if down {
            self.authorities[authority].failed(now, self.draws.random());
        } else {
            self.authorities[authority].succeeded();
        }
        if !fails {
            self.certify(number, minute);
        }
        !fails
    }

    /// Puts a name off whose order failed.
    ///
    /// - `down`: the authority's failure says nothing of the name
    fn again_later(&mut self, number: u32, minute: i64, down: bool) {
        let draw = self.draws.random();
        let name = &mut self.names[number as usize];
        let pause = if down {
            back_off::blameless_pause(None, draw)
        } else {
            back_off::pause(u32::from(name.failures), draw)
        };
        name.failures = name.failures.saturating_add(u8::from(!down));
        name.waits = false;
        name.at = (minute + i64::try_from(pause.as_secs()).unwrap_or(0) / MINUTE).max(minute + 1) as i32;
        if let Some(due) = self.due_at.get_mut(name.at as usize) {
            due.push(number);
        }
    }

    /// A certificate that was given at this minute.
    fn certify(&mut self, number: u32, minute: i64) {
        let (begin, draw) = (UnixTime(minute * MINUTE), self.draws.random());
        let name = &mut self.names[number as usize];
        let life = Duration::from_secs(u64::from(name.life) * 24 * 60 * 60);
        let validity = Validity { not_before: begin, not_after: begin.plus(life) };
        let at = renewal::due(&self.source, validity, begin, draw);
        let late_at = renewal::late(at, validity);
        let minute_of = |moment: UnixTime| (moment.0 / MINUTE) as i32;
        name.at = minute_of(at).max(0);
        (name.late_at, name.end) = (minute_of(late_at), minute_of(validity.not_after));
        (name.failures, name.waits) = (0, false);
        let moments = (name.at, name.late_at, name.end);
        let put = |buckets: &mut Vec<Vec<u32>>, minute: i32| {
            if let Some(bucket) = usize::try_from(minute).ok().and_then(|place| buckets.get_mut(place)) {
                bucket.push(number);
            }
        };
        put(&mut self.due_at, moments.0);
        put(&mut self.late_at, moments.1);
        put(&mut self.ends_at, moments.2);
    }
}
