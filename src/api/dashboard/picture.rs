//! Pictures as SVG, drawn here and put into the page; each says in words what it shows.

use maud::{Markup, html};

use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::store::records::HourCount;

/// Hours that the picture of orders shows.
pub const HOURS: i64 = 48;
/// Seconds of an hour.
const HOUR: i64 = 3_600;
/// Width of an hour's column, the room between two, and the height of each half.
const COLUMN: i64 = 10;
const GAP: i64 = 2;
const HALF: u64 = 50;

/// A bar, `share` of the whole width long; something is seen of all that is more than nothing.
pub fn bar(count: u64, most: u64, class: &str) -> Markup {
    let width = if count == 0 { 0 } else { (count * 1_000 / most.max(1)).max(8) };
    html! {
        svg.bar-line viewBox="0 0 1000 12" preserveAspectRatio="none" aria-hidden="true" {
            rect.track x="0" y="0" width="1000" height="12" {}
            rect.(class) x="0" y="0" width=(width) height="12" {}
        }
    }
}

/// Orders of an hour that came to a certificate, and those that did not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hour {
    /// Certificates.
    pub obtained: u64,
    /// Failures.
    pub failed: u64,
}

/// The first moment that the picture of orders shows at `now`.
pub fn begin(now: UnixTime) -> UnixTime {
    UnixTime(now.0 / HOUR * HOUR - (HOURS - 1) * HOUR)
}

/// The hours from the first to that of `now`.
pub fn hours(now: UnixTime, counts: &[HourCount]) -> Vec<Hour> {
    let begin = begin(now).0;
    let mut hours = vec![Hour::default(); HOURS as usize];
    for count in counts {
        let index = usize::try_from((count.hour.0 - begin) / HOUR).ok();
        let Some(hour) = index.and_then(|index| hours.get_mut(index)) else { continue };
        match count.kind {
            EventKind::CertificateIssued | EventKind::CertificateRenewed => hour.obtained += count.count,
            _ => hour.failed += count.count,
        }
    }
    hours
}

/// The hours as columns: what came to a certificate upwards, what failed downwards.
pub fn orders(hours: &[Hour], said: &str) -> Markup {
    let most = hours.iter().map(|hour| hour.obtained.max(hour.failed)).max().unwrap_or(0).max(1);
    let height = |count: u64| if count == 0 { 0 } else { (count * HALF / most).max(2) };
    let width = HOURS * COLUMN;
    html! {
        svg.orders viewBox={ "0 0 " (width) " " (2 * HALF + 2) } preserveAspectRatio="none" role="img" aria-label=(said) {
            @for (index, hour) in (0i64..).zip(hours) {
                @let (x, up, down) = (index * COLUMN + GAP / 2, height(hour.obtained), height(hour.failed));
                g {
                    title { (HOURS - 1 - index) " h ago: " (hour.obtained) " obtained, " (hour.failed) " failed" }
                    rect.ground x=(index * COLUMN) y="0" width=(COLUMN) height=(2 * HALF + 2) {}
                    rect.good x=(x) y=(HALF - up) width=(COLUMN - GAP) height=(up) {}
                    rect.bad x=(x) y=(HALF + 2) width=(COLUMN - GAP) height=(down) {}
                }
            }
            rect.axis x="0" y=(HALF) width=(width) height="1" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_falls_into_its_hour() {
        let now = UnixTime(1_000_000_000);
        let at = |hours_ago: i64, kind, count| HourCount {
            hour: UnixTime(now.0 / HOUR * HOUR - hours_ago * HOUR),
            kind,
            count,
        };
        let counts = [
            at(0, EventKind::CertificateIssued, 3),
            at(0, EventKind::CertificateRenewed, 2),
            at(47, EventKind::CertificateRenewalFailed, 4),
            at(48, EventKind::CertificateFailed, 9),
        ];
        let hours = hours(now, &counts);
        assert_eq!(hours.len(), 48);
        assert_eq!(hours[47], Hour { obtained: 5, failed: 0 });
        assert_eq!(hours[0], Hour { obtained: 0, failed: 4 });
        assert!(hours[1..47].iter().all(|hour| *hour == Hour::default()));
    }

    #[test]
    fn the_longest_bar_is_the_whole_width_and_one_of_many_is_seen() {
        assert!(bar(7, 7, "good").into_string().contains("width=\"1000\" height=\"12\"></rect></svg>"));
        assert!(bar(1, 1_000_000, "good").into_string().contains("width=\"8\""));
        assert!(bar(0, 0, "good").into_string().contains("width=\"0\""));
    }
}
