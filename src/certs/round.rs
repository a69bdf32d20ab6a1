//! How many renewals are tried at once, and when the index is looked at.

use std::time::Duration;

use tokio::time::Instant;

/// How often the index is looked at while nothing is due.
const LOOK: Duration = Duration::from_secs(5);
/// The shortest and the longest rest while no authority has room. Longer than the longest is none: a limit
/// may be raised, and another authority added.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A rest is longer by up to this part of it, so that machines that share the limits do not all come at once.
const JITTER: f64 = 0.25;

/// The pace of renewals. Where there was no room one renewal tries whether there is some now; each that
/// goes on lets twice as many follow.
pub(super) struct Round {
    due: Instant,
    /// `None`: as many as may be.
    at_once: Option<usize>,
}

impl Round {
    /// The index is looked at now.
    pub(super) fn begin(now: Instant) -> Self {
        Self { due: now, at_once: None }
    }

    /// How many are tried at once, where `most` may be.
    pub(super) fn at_once(&self, most: usize) -> usize {
        self.at_once.map_or(most, |at_once| at_once.min(most))
    }

    /// When the index is looked at next.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    /// The index was looked at and gave so many.
    pub(super) fn looked(&mut self, now: Instant, found: usize) {
        self.due = if found == 0 { now + LOOK } else { now };
    }

    /// One of them came to an end of its own.
    pub(super) fn went_on(&mut self) {
        self.at_once =
            self.at_once.map(|at_once| at_once.saturating_mul(2)).filter(|at_once| *at_once < 1024);
    }

    /// There was no room for one. How long none is tried.
    ///
    /// - `room_in`: when there may be some
    /// - `draw`: from 0 to 1, uniform
    pub(super) fn rest(&mut self, now: Instant, room_in: Duration, draw: f64) -> Duration {
        let rest = room_in.clamp(REST.0, REST.1).mul_f64(1.0 + JITTER * draw.clamp(0.0, 1.0));
        self.due = self.due.max(now + rest);
        self.at_once = Some(1);
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_looked_at_once_more_where_something_was_found() {
        let now = Instant::now();
        let mut round = Round::begin(now);
        assert!(round.is_due(now));
        round.looked(now, 2);
        assert!(round.is_due(now));
        round.looked(now, 0);
        assert!(!round.is_due(now + 4 * SECOND) && round.is_due(now + 5 * SECOND));
    }

    #[test]
    fn where_there_was_no_room_one_tries_and_then_twice_as_many() {
        let now = Instant::now();
        let mut round = Round::begin(now);
        assert_eq!(round.at_once(64), 64);
        assert_eq!(round.rest(now, 30 * SECOND, 0.0), 30 * SECOND);
        assert_eq!(round.at_once(64), 1);
        assert!(!round.is_due(now + 29 * SECOND) && round.is_due(now + 30 * SECOND));
        let counts = [(); 8].map(|()| {
            round.went_on();
            round.at_once(64)
        });
        assert_eq!(counts, [2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(round.at_once, Some(256));
        round.went_on();
        round.went_on();
        assert_eq!(round.at_once(10_000), 10_000);
    }

    #[test]
    fn a_rest_is_neither_none_nor_long_and_never_cut_short() {
        let now = Instant::now();
        let mut round = Round::begin(now);
        assert_eq!(round.rest(now, 3 * 3_600 * SECOND, 1.0), 75 * SECOND);
        assert_eq!(round.rest(now, Duration::ZERO, 0.0), SECOND);
        assert!(!round.is_due(now + 74 * SECOND), "the longer one holds");
    }
}
