//! Durations as people write them: `"250ms"`, `"20s"`, `"5m"`, `"2h"`, `"90d"`; and rates of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Rate;
use super::place::{Wrong, quoted};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Units with their milliseconds, longest first.
const UNITS: [(&str, u64); 5] = [("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1)];

/// From a millisecond, the least that can be written.
pub(super) const LEAST: Duration = Duration::from_millis(1);

/// So many minutes.
pub(super) const fn minutes(count: u64) -> Duration {
    Duration::from_millis(count * MINUTE)
}

/// So many hours.
pub(super) const fn hours(count: u64) -> Duration {
    Duration::from_millis(count * HOUR)
}

/// So many days of 24 hours.
pub(super) const fn days(count: u64) -> Duration {
    Duration::from_millis(count * DAY)
}

/// As it would be written in the file, in the longest unit that gives a whole number.
pub(super) fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    let fits = |&&(_, unit): &&(&str, u64)| millis != 0 && millis.is_multiple_of(u128::from(unit));
    match UNITS.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", millis / u128::from(*unit)),
        None => "0s".into(),
    }
}

/// Reads a duration; `None` where it is none, or longer than can be counted.
fn read(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, name) = text.split_at(end);
    let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == name)?;
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(*unit)?))
}

/// Reads a duration as an argument of a command; the error says how one is written.
pub fn parse_text(text: &str) -> Result<Duration, String> {
    read(text).ok_or_else(|| "write a whole number and ms, s, m, h or d, as in 90d".to_owned())
}

/// Reads a duration that must lie in `range`.
pub(super) fn parse(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let duration = read(text).ok_or_else(|| {
        let what = format!("{} is not a duration", quoted(text));
        Wrong::new(what, "write a whole number and ms, s, m, h or d, as in \"20s\"")
    })?;
    if !range.contains(&duration) {
        let what = if duration < *range.start() { "too short" } else { "too long" };
        let cure = format!("give {} to {}", written(*range.start()), written(*range.end()));
        return Err(Wrong::new(format!("{} is {what}", quoted(text)), cure));
    }
    Ok(duration)
}

/// Reads a rate, `"500/1m"`: 1 to `u32::MAX` in a millisecond to a day.
pub(super) fn parse_rate(text: &str) -> Result<Rate, Wrong> {
    rate_within(text, days(1), "500/1m")
}

/// Reads a rate of an authority, `"300/3h"`: as [`parse_rate`], in up to seven days.
pub(super) fn parse_long_rate(text: &str) -> Result<Rate, Wrong> {
    rate_within(text, days(7), "300/3h")
}

fn rate_within(text: &str, longest: Duration, like: &str) -> Result<Rate, Wrong> {
    let rate = text.split_once('/').and_then(|(count, per)| {
        let digits = !count.is_empty() && count.bytes().all(|octet| octet.is_ascii_digit());
        let count = count.parse::<u32>().ok().filter(|&count| digits && count > 0)?;
        let per = read(per).filter(|per| (LEAST..=longest).contains(per))?;
        Some(Rate { count, per })
    });
    rate.ok_or_else(|| {
        let what = format!("{} is not a rate", quoted(text));
        let longest = written(longest);
        Wrong::new(
            what,
            format!("write a number above 0, a slash and a time up to {longest}, as in \"{like}\""),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for (text, millis) in
            [("250ms", 250), ("20s", 20_000), ("5m", 300_000), ("2h", 7_200_000), ("90d", 7_776_000_000)]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!(read(text), Some(duration));
            assert_eq!(written(duration), text);
        }
        assert_eq!(written(Duration::ZERO), "0s");
        for text in
            ["", "s", "20", "20 s", " 20s", "20S", "-1s", "+1s", "1.5s", "1h30m", "9999999999999999999d"]
        {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn rates_are_never_zero() {
        let rate = parse_rate("500/1m").unwrap();
        assert_eq!((rate.count, rate.per), (500, Duration::from_secs(60)));
        for text in ["", "500", "0/1m", "500/0s", "500/m", "+5/1m", "5/2d", "4294967296/1m"] {
            assert!(parse_rate(text).is_err(), "{text:?}");
        }
    }
}
