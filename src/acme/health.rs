//! When an authority is asked and when it is left alone: a circuit breaker that outlives a restart.

use std::time::Duration;

use parking_lot::Mutex;

use super::{Cause, Failure, Step};
use crate::domain::budget::{LONGEST_LIMIT, PATIENCE};
use crate::domain::clock::UnixTime;
use crate::store::Health;

/// The first time; each trial that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// The longest time.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How long others are kept waiting while one order tries whether it is well again.
const TRIAL: Duration = Duration::from_secs(10);
/// Pause where it limits the rate without saying for how long.
const LIMITED: Duration = Duration::from_secs(60);

/// Whether an authority is asked now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Turn {
    /// In its place.
    Ask,
    /// After the others, as it failed a moment ago.
    AskLast,
    /// Not before this moment, for this reason.
    Wait(UnixTime, String),
}

/// The breaker of one authority.
#[derive(Default)]
pub struct Breaker {
    state: Mutex<State>,
}

struct State {
    health: Health,
    /// Until then it is asked after the others.
    last_until: UnixTime,
    /// Until when it wants to be left alone, however well it does, and in its own words why.
    limit: (UnixTime, String),
    /// Whether an order was let through after its last pause, and none has failed since.
    tried: bool,
}

impl Default for State {
    fn default() -> Self {
        let health = Health { failures: 0, closed_until: UnixTime(0), reason: String::new() };
        Self { health, last_until: UnixTime(0), limit: (UnixTime(0), String::new()), tried: false }
    }
}

impl Breaker {
    /// Goes on from what was kept, by this machine or another one.
    pub fn resume(&self, health: Health) {
        let mut state = self.state.lock();
        if health.failures == 0 {
            state.last_until = UnixTime(0);
        }
        if health.failures < PATIENCE {
            state.limit = (health.closed_until, health.reason.clone());
        }
        state.health = health;
    }

    /// Whether it is asked at `now`. Once its pause is over, the first who asks tries it, and the
    /// others wait for how that ends.
    pub fn turn(&self, now: UnixTime) -> Turn {
        let mut state = self.state.lock();
        if is_closed(&state.health, now) {
            return Turn::Wait(state.health.closed_until, state.health.reason.clone());
        }
        if state.health.failures >= PATIENCE {
            state.health.closed_until = now.plus(TRIAL);
            state.tried = true;
            return Turn::AskLast;
        }
        if now < state.last_until { Turn::AskLast } else { Turn::Ask }
    }

    /// Until when it is left alone, if it is at `now`.
    pub fn closed_until(&self, now: UnixTime) -> Option<UnixTime> {
        let state = self.state.lock();
        is_closed(&state.health, now).then_some(state.health.closed_until)
    }

    /// It did its part; what to keep, where that changed. An order that was placed before it limited the
    /// rate may succeed after that: the limit stays.
    pub fn succeeded(&self) -> Option<Health> {
        let mut state = self.state.lock();
        let was_well = state.health.failures == 0;
        let limit = std::mem::replace(&mut state.limit, (UnixTime(0), String::new()));
        let health = Health { failures: 0, closed_until: limit.0, reason: limit.1.clone() };
        *state = State { health, limit, ..State::default() };
        (!was_well).then(|| state.health.clone())
    }

    /// An order failed; what to keep, where that was the authority's own doing. Many orders that were under
    /// way as it went away fail together: they tell of one fault, and lengthen no pause.
    ///
    /// - `of_the_name`: whether a limit that it speaks of is about the name alone
    /// - `draw`: from 0 to 1, uniform: lengthens the pause by up to a fifth
    pub fn failed(&self, now: UnixTime, failure: &Failure, of_the_name: bool, draw: f64) -> Option<Health> {
        let limited = match &failure.cause {
            Cause::RateLimited { .. } if of_the_name => return None,
            Cause::RateLimited { retry_after, .. } => Some(retry_after.unwrap_or(LIMITED)),
            Cause::Unreachable(_) | Cause::Answer(_) => None,
            Cause::TimedOut { .. } if failure.step != Step::Validation => None,
            _ => return None,
        };
        let mut state = self.state.lock();
        if limited.is_none() && state.health.failures >= PATIENCE && !std::mem::take(&mut state.tried) {
            return None;
        }
        let State { health, limit, .. } = &mut *state;
        health.reason = failure.cause.to_string();
        let standing = if limit.0 <= now.plus(LONGEST_LIMIT) { limit.0 } else { now };
        match limited {
            Some(wait) => {
                let before = if is_closed(health, now) { health.closed_until } else { now };
                health.closed_until = before.max(now.plus(wait));
                *limit = (standing.max(now.plus(wait)), health.reason.clone());
            }
            None => {
                health.failures = health.failures.saturating_add(1);
                if let Some(beyond) = health.failures.checked_sub(PATIENCE) {
                    let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_PAUSE);
                    let until = now.plus(pause.mul_f64(1.0 + draw.clamp(0.0, 1.0) / 5.0));
                    health.closed_until = until.max(standing);
                }
            }
        }
        let health = health.clone();
        state.last_until = now.plus(FIRST_PAUSE);
        Some(health)
    }
}

fn is_closed(health: &Health, now: UnixTime) -> bool {
    now < health.closed_until && health.closed_until <= now.plus(LONGEST_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::Problem;

    fn failure(cause: Cause) -> Failure {
        Failure { authority: "a".into(), step: Step::NewOrder, cause, challenges: Vec::new() }
    }

    fn down() -> Failure {
        failure(Cause::Unreachable("refused".into()))
    }

    fn limited(seconds: u64) -> Failure {
        let retry_after = Some(Duration::from_secs(seconds));
        failure(Cause::RateLimited { problem: Problem::default(), retry_after })
    }

    #[test]
    fn one_that_fails_is_asked_last_then_not_at_all_then_by_one_order() {
        let breaker = Breaker::default();
        let now = UnixTime(1_000);
        assert_eq!(breaker.turn(now), Turn::Ask);
        breaker.failed(now, &down(), false, 0.0);
        assert_eq!(breaker.turn(now), Turn::AskLast);
        breaker.failed(now, &down(), false, 0.0);
        let kept = breaker.failed(now, &down(), false, 0.0).unwrap();
        assert_eq!((kept.failures, kept.closed_until), (3, UnixTime(1_030)));
        assert!(matches!(breaker.turn(UnixTime(1_029)), Turn::Wait(UnixTime(1_030), _)));
        assert_eq!(breaker.turn(UnixTime(1_030)), Turn::AskLast, "one tries");
        assert!(matches!(breaker.turn(UnixTime(1_031)), Turn::Wait(..)), "the others wait for it");
        let kept = breaker.failed(UnixTime(1_031), &down(), false, 0.0).unwrap();
        assert_eq!(kept.closed_until, UnixTime(1_091), "twice as long");
        assert_eq!(breaker.succeeded().unwrap().failures, 0);
        assert_eq!(breaker.turn(UnixTime(1_031)), Turn::Ask);
        assert_eq!(breaker.succeeded(), None, "nothing changed");
    }

    #[test]
    fn orders_that_were_under_way_together_lengthen_no_pause() {
        let breaker = Breaker::default();
        let now = UnixTime(1_000);
        let kept = (0..64).filter_map(|_| breaker.failed(now, &down(), false, 0.0)).last().unwrap();
        assert_eq!((kept.failures, kept.closed_until), (3, UnixTime(1_030)));
        assert_eq!(breaker.closed_until(now), Some(UnixTime(1_030)));
        assert_eq!(breaker.turn(UnixTime(1_030)), Turn::AskLast, "one tries");
        let kept =
            (0..64).filter_map(|_| breaker.failed(UnixTime(1_031), &down(), false, 0.0)).last().unwrap();
        assert_eq!((kept.failures, kept.closed_until), (4, UnixTime(1_091)), "its failure counts, once");
    }

    #[test]
    fn a_limit_stays_where_an_order_that_was_under_way_succeeds() {
        let breaker = Breaker::default();
        let now = UnixTime(1_000);
        breaker.failed(now, &limited(500), false, 0.0);
        assert_eq!(breaker.succeeded(), None, "nothing changed");
        assert!(matches!(breaker.turn(UnixTime(1_499)), Turn::Wait(UnixTime(1_500), _)));
        for _ in 0..PATIENCE + 2 {
            breaker.failed(now, &down(), false, 0.0);
        }
        assert_eq!(breaker.closed_until(now), Some(UnixTime(1_500)), "failures do not cut it short");
        let kept = breaker.succeeded().unwrap();
        assert_eq!((kept.failures, kept.closed_until), (0, UnixTime(1_500)));
        assert_eq!(kept.reason, limited(500).cause.to_string());
        let elsewhere = Breaker::default();
        elsewhere.failed(now, &down(), false, 0.0);
        elsewhere.resume(kept);
        assert_eq!(elsewhere.succeeded(), None);
        assert!(matches!(elsewhere.turn(UnixTime(1_499)), Turn::Wait(UnixTime(1_500), _)));
        assert_eq!(elsewhere.turn(UnixTime(1_500)), Turn::Ask);
    }

    #[test]
    fn a_limit_is_kept_to_at_once_and_over_a_restart_unless_it_is_the_names() {
        let breaker = Breaker::default();
        let now = UnixTime(1_000);
        assert_eq!(breaker.failed(now, &limited(500), true, 0.0), None);
        assert_eq!(breaker.turn(now), Turn::Ask);
        let kept = breaker.failed(now, &limited(500), false, 0.0).unwrap();
        let after_a_restart = Breaker::default();
        after_a_restart.resume(kept);
        assert!(matches!(after_a_restart.turn(UnixTime(1_499)), Turn::Wait(UnixTime(1_500), _)));
        assert_eq!(after_a_restart.turn(UnixTime(1_500)), Turn::Ask);
    }
}
