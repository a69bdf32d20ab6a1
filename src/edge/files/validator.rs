//! What tells one state of a file from another: `ETag` and `Last-Modified` (RFC 9110 §8.8).

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use super::accepted::Coding;

/// The last second that HTTP has a date for, 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// The state of a file, as its answer tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Validator {
    /// A strong entity tag, with its quotes.
    pub etag: String,
    /// Whole seconds since 1970, as `Last-Modified` has them.
    pub modified: u64,
}

impl Validator {
    /// - `modified`: seconds since 1970 and nanoseconds of the second.
    /// - `coding`: what `length` octets of it are coded in; another coding is another representation.
    pub fn new(modified: (i64, u32), length: u64, coding: Option<Coding>) -> Self {
        let (seconds, nanoseconds) = modified;
        let mut etag = format!("\"{seconds:x}.{nanoseconds:x}-{length:x}");
        if let Some(coding) = coding {
            // Writing to a String does not fail.
            let _written = write!(etag, "-{}", coding.word());
        }
        etag.push('"');
        Self { etag, modified: u64::try_from(seconds).unwrap_or(0).min(LAST_SECOND) }
    }

    /// `Last-Modified`.
    pub fn last_modified(&self) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.modified))
    }
}

/// Whole seconds since 1970 of a date as HTTP has it (RFC 9110 §5.6.7).
pub fn seconds_of(date: &str) -> Option<u64> {
    let since = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_moment_length_or_coding_is_another_tag() {
        let tag = |modified, length, coding| Validator::new(modified, length, coding).etag;
        let one = tag((1_700_000_000, 5), 10, None);
        for other in [
            tag((1_700_000_001, 5), 10, None),
            tag((1_700_000_000, 6), 10, None),
            tag((1_700_000_000, 5), 11, None),
            tag((1_700_000_000, 5), 10, Some(Coding::Gzip)),
            tag((1_700_000_000, 5), 10, Some(Coding::Brotli)),
        ] {
            assert_ne!(other, one);
        }
        assert_eq!(one, "\"6553f100.5-a\"");
    }

    #[test]
    fn every_time_that_a_file_can_have_makes_a_date_that_is_read_again() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-5, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let validator = Validator::new((seconds, 0), 0, None);
            assert_eq!(validator.last_modified(), date);
            assert_eq!(seconds_of(date), Some(validator.modified));
        }
        assert_eq!(seconds_of("yesterday"), None);
    }
}
