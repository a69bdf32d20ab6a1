//! When a name is tried again.

use std::time::Duration;

use crate::config::Rate;
use crate::domain::clock::UnixTime;

/// Pauses after the first, second, … failed attempt for a name; the last one from then on.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(100 * 60),
    Duration::from_secs(24 * 60 * 60),
];
/// A pause is longer by up to this part of it, so that names that failed together are not tried
/// together.
const JITTER: f64 = 0.1;

/// The pause after an attempt that failed.
///
/// - `failures`: failed attempts before this one, since the last success
/// - `draw`: from 0 to 1, uniform
pub fn pause(failures: u32, draw: f64) -> Duration {
    let index = usize::try_from(failures).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    jittered(PAUSES[index], draw)
}

/// The pause after an attempt that says nothing about the name: an authority was down or at its limit.
///
/// - `asked`: how long the authorities want to be left alone, where all of them said so
pub fn blameless_pause(asked: Option<Duration>, draw: f64) -> Duration {
    jittered(asked.unwrap_or_default().max(PAUSES[0]), draw)
}

fn jittered(pause: Duration, draw: f64) -> Duration {
    pause.mul_f64(1.0 + JITTER * draw.clamp(0.0, 1.0))
}

/// `next`, or the moment after it from which on an attempt keeps within the limit on failed
/// validations, even if it fails as often as the last one did.
///
/// - `failed`: when validations failed
/// - `may_fail`: how many validations an attempt may fail at
pub fn within(next: UnixTime, failed: &[UnixTime], may_fail: usize, limit: Option<Rate>) -> UnixTime {
    let Some(limit) = limit else { return next };
    let most = usize::try_from(limit.count).unwrap_or(usize::MAX).saturating_sub(may_fail);
    let mut newest_first = failed.to_vec();
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    // Once this one is old enough, at most `most` count.
    newest_first.get(most).map_or(next, |fills| next.max(fills.plus(limit.per)))
}

/// Those of `failed` that the limit may still count at `now`.
pub fn counted(failed: &[UnixTime], now: UnixTime, limit: Option<Rate>) -> Vec<UnixTime> {
    let Some(limit) = limit else { return Vec::new() };
    failed.iter().copied().filter(|at| at.plus(limit.per) > now).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn pauses_grow_to_a_day_and_differ_a_little() {
        let minutes = |failures| pause(failures, 0.0).as_secs() / 60;
        assert_eq!([minutes(0), minutes(1), minutes(2), minutes(3), minutes(9)], [1, 10, 100, 1_440, 1_440]);
        assert_eq!(pause(0, 1.0), Duration::from_secs(66));
        assert_eq!(blameless_pause(None, 0.0), Duration::from_secs(60));
        assert_eq!(blameless_pause(Some(HOUR), 0.0), HOUR);
    }

    #[test]
    fn an_attempt_waits_until_it_keeps_within_the_limit_even_if_it_fails() {
        let limit = Some(Rate { count: 5, per: HOUR });
        let at = |seconds: &[i64]| seconds.iter().map(|at| UnixTime(*at)).collect::<Vec<_>>();
        // Four failed, two more may: only once three at most count.
        assert_eq!(within(UnixTime(700), &at(&[0, 1, 60, 61]), 2, limit), UnixTime(3_600));
        assert_eq!(within(UnixTime(700), &at(&[0, 1, 60]), 2, limit), UnixTime(700));
        assert_eq!(within(UnixTime(700), &at(&[0, 1, 60, 61]), 1, limit), UnixTime(700));
        assert_eq!(within(UnixTime(700), &at(&[0; 9]), 2, None), UnixTime(700));
        assert_eq!(counted(&at(&[0, 3_000]), UnixTime(3_600), limit), at(&[3_000]));
    }
}
