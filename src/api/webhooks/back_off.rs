//! When a delivery is tried again.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Pauses after the first, second, … failed try (Standard Webhooks, "Deliverability and
/// reliability"); behind the last one it is given up, after more than three days.
pub const PAUSES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];
/// The longest time that a receiver may ask to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * HOUR);
/// A pause is longer by up to this part of it, so that what failed together is not tried together.
const JITTER: f64 = 0.1;

/// The pause after a try that failed; `None`: it is given up.
///
/// - `failures`: failed tries before this one
/// - `asked`: how long the receiver asks to be left alone; a day counts at most
/// - `draw`: from 0 to 1, uniform
pub fn pause(failures: u32, asked: Option<Duration>, draw: f64) -> Option<Duration> {
    let pause = PAUSES.get(usize::try_from(failures).ok()?)?;
    let pause = asked.map_or(*pause, |asked| asked.min(LONGEST_ASKED).max(*pause));
    Some(pause.mul_f64(1.0 + JITTER * draw.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_seconds_to_a_day_and_differ_a_little_then_it_is_given_up() {
        let seconds = |failures, draw| pause(failures, None, draw).map(|pause| pause.as_secs());
        assert_eq!([seconds(0, 0.0), seconds(1, 0.0), seconds(8, 0.0)], [Some(5), Some(300), Some(86_400)]);
        assert_eq!([seconds(1, 1.0), seconds(1, 7.0), seconds(1, -1.0)], [Some(330), Some(330), Some(300)]);
        assert_eq!([seconds(9, 0.0), seconds(u32::MAX, 0.0)], [None, None]);
        assert!(PAUSES.is_sorted());
        assert!(PAUSES.iter().sum::<Duration>() > Duration::from_secs(3 * 24 * HOUR));
    }

    #[test]
    fn a_receiver_may_ask_for_longer_and_not_for_shorter_pauses() {
        let seconds = |asked| pause(1, Some(Duration::from_secs(asked)), 0.0).map(|pause| pause.as_secs());
        assert_eq!([seconds(0), seconds(301), seconds(u64::MAX)], [Some(300), Some(301), Some(86_400)]);
    }
}
