//! When a certificate is due to be renewed.

use std::time::Duration;

use super::certificate::{Source, Validity};
use super::clock::UnixTime;

/// Certificates that live for less are renewed at half of their life.
const SHORT: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// When a certificate that is filed at `now` is due.
///
/// One that was obtained: after two thirds of its life, after half of it where that is shorter
/// than 10 days. An imported one: in the last tenth of its life, as whoever brought it may still
/// renew it by other means.
///
/// - `spread`: from 0 to 1; brings it forward by up to a twentieth of its life, so that
///   certificates made together are not renewed together.
pub fn due(source: &Source, validity: Validity, now: UnixTime, spread: f64) -> UnixTime {
    let obtained = matches!(source, Source::Authority(_));
    // Authorities date certificates back by up to an hour, which is much of a short life.
    let begin = if obtained { validity.not_before.max(now) } else { validity.not_before };
    let life = begin.until(validity.not_after);
    let part = match obtained {
        false => 0.9,
        true if life < SHORT => 0.5,
        true => 2.0 / 3.0,
    };
    begin.plus(life.mul_f64(part - spread.clamp(0.0, 1.0) / 20.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    fn days(source: &Source, not_before: i64, not_after: i64, spread: f64) -> i64 {
        let validity =
            Validity { not_before: UnixTime(not_before * DAY), not_after: UnixTime(not_after * DAY) };
        due(source, validity, UnixTime(0), spread).0 / DAY
    }

    #[test]
    fn a_third_of_a_long_life_and_half_of_a_short_one_are_left() {
        let obtained = Source::Authority("a".into());
        assert_eq!(days(&obtained, 0, 90, 0.0), 60);
        assert_eq!(days(&obtained, 0, 90, 1.0), 55);
        assert_eq!(days(&obtained, 0, 6, 0.0), 3);
        assert_eq!(days(&obtained, -1, 6, 0.0), 3, "its life begins when it is filed");
        assert_eq!(days(&Source::Imported, -30, 60, 0.0), 51);
    }

    #[test]
    fn one_that_has_ended_is_due_at_once() {
        assert!(days(&Source::Authority("a".into()), -90, -1, 0.5) <= 0);
        assert!(days(&Source::Imported, -90, -1, 0.5) <= 0);
    }
}
