//! When a certificate is due to be renewed.

use std::time::Duration;

use super::certificate::{Source, Validity};
use super::clock::UnixTime;

/// Certificates that live for less are renewed at half of their life.
const SHORT: Duration = Duration::from_secs(10 * 24 * 60 * 60);

/// A time in which an authority suggests to renew (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// Its first second.
    pub start: UnixTime,
    /// Its last second; after `start`.
    pub end: UnixTime,
}

impl Window {
    /// A window that makes sense: it ends after it starts.
    pub fn new(start: UnixTime, end: UnixTime) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The moment at `draw` of it, from 0 to 1.
    pub fn moment(&self, draw: f64) -> UnixTime {
        self.start.plus(self.start.until(self.end).mul_f64(draw.clamp(0.0, 1.0)))
    }
}

/// The least age at which an authority's suggestion makes a certificate due.
const FIRST_AGE: Duration = Duration::from_secs(60 * 60);

/// When a certificate is due by its authority's suggestion.
///
/// A new certificate whose window has passed again is renewed at once only the first time: an
/// authority with broken suggestions would get orders without end. Then its age must be an hour,
/// ten hours, and so on, up to when it would be due without any suggestion.
///
/// - `saved`: when it was filed
/// - `early`: how often in a row the ones before were replaced in the first third of their life
/// - `otherwise`: when it is due without a suggestion
/// - `draw`: from 0 to 1, uniform: where in the window
pub fn due_by(window: Window, saved: UnixTime, early: u32, otherwise: UnixTime, draw: f64) -> UnixTime {
    let age = match early {
        0 => Duration::ZERO,
        early => FIRST_AGE.saturating_mul(10_u32.saturating_pow(early - 1)),
    };
    window.moment(draw).max(saved.plus(age).min(otherwise))
}

/// When the renewal of a certificate is late: half of what was left when it was due has passed.
pub fn late(due: UnixTime, validity: Validity) -> UnixTime {
    due.plus(due.until(validity.not_after) / 2)
}

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

/// The longest time before a certificate's end in which its fallback is obtained.
const FALL_BACK: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// When another certificate is to be obtained for the end of one that is not renewed here, as
/// somebody else brings the next one: a third of its life before its end, 30 days at most. That is time
/// enough for a DNS that has to be mended.
pub fn fall_back(validity: Validity) -> UnixTime {
    let life = validity.not_before.until(validity.not_after);
    validity.not_after.minus(FALL_BACK.min(life / 3))
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
    fn a_window_that_has_passed_makes_it_due_at_once_but_not_again_and_again() {
        let window = Window::new(UnixTime(100), UnixTime(200)).unwrap();
        let due = |early| due_by(window, UnixTime(1_000), early, UnixTime(1_000_000), 0.5).0;
        assert_eq!(due(0), 1_000, "not before it was filed");
        assert_eq!(due(1), 1_000 + 3_600);
        assert_eq!(due(2), 1_000 + 36_000);
        assert_eq!(due(9), 1_000_000, "as without a suggestion");
        let ahead = Window::new(UnixTime(5_000), UnixTime(7_000)).unwrap();
        assert_eq!(due_by(ahead, UnixTime(1_000), 0, UnixTime(4_000), 0.5), UnixTime(6_000));
        assert_eq!(Window::new(UnixTime(7), UnixTime(7)), None);
    }

    #[test]
    fn it_is_late_when_half_of_the_time_left_has_passed() {
        let validity = Validity { not_before: UnixTime(0), not_after: UnixTime(90 * DAY) };
        assert_eq!(late(UnixTime(60 * DAY), validity), UnixTime(75 * DAY));
    }

    #[test]
    fn a_fallback_is_wanted_a_month_before_the_end_and_sooner_after_a_short_life() {
        let of = |days| Validity { not_before: UnixTime(0), not_after: UnixTime(days * DAY) };
        assert_eq!(fall_back(of(365)), UnixTime(335 * DAY));
        assert_eq!(fall_back(of(9)), UnixTime(6 * DAY));
    }

    #[test]
    fn one_that_has_ended_is_due_at_once() {
        assert!(days(&Source::Authority("a".into()), -90, -1, 0.5) <= 0);
        assert!(days(&Source::Imported, -90, -1, 0.5) <= 0);
    }
}
