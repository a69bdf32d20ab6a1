//! What a request asks of a file: preconditions and a range, in the order of RFC 9110 §13.2.2.

use http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderValue, Method};

use super::validator::{Validator, seconds_of};

/// The conditions of a request for a file.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Whether only the header is asked for.
    pub head: bool,
    if_match: Option<Tags>,
    if_unmodified_since: Option<u64>,
    if_none_match: Option<Tags>,
    if_modified_since: Option<u64>,
    range: Option<Range>,
    if_range: Option<String>,
}

/// What of a file is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// All of it: 200.
    Whole,
    /// From one octet on, so many: 206.
    From {
        /// The first octet, from 0.
        first: u64,
        /// How many; at least one.
        length: u64,
    },
    /// Nothing, for the client has it: 304.
    NotModified,
    /// Nothing, since a precondition does not hold: 412.
    Failed,
    /// Nothing, since it is not that long: 416.
    Unsatisfiable,
}

/// A range of octets (RFC 9110 §14.1.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Range {
    /// From the first to the last, both included, counted from 0.
    Between(u64, u64),
    /// So many at the end.
    Last(u64),
    /// None that there could be.
    Invalid,
}

/// The entity tags of a field.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Tags {
    /// `*`: any.
    Any,
    /// Each as written; a weak one with its `W/`.
    These(Vec<String>),
}

impl Asked {
    /// What a request of `method`, GET or HEAD, asks. A date or a range that cannot be read is not
    /// there; one range alone is answered with a part, several with the whole (RFC 9110 §14.2).
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let date = |name: HeaderName| seconds_of(text(headers.get(name))?);
        let range = || {
            let mut fields = headers.get_all(RANGE).iter();
            let range = Range::of(text(fields.next())?);
            range.filter(|_| fields.next().is_none())
        };
        Self {
            head: *method == Method::HEAD,
            if_match: Tags::of(headers, IF_MATCH),
            if_unmodified_since: date(IF_UNMODIFIED_SINCE),
            if_none_match: Tags::of(headers, IF_NONE_MATCH),
            if_modified_since: date(IF_MODIFIED_SINCE),
            // No other method has ranges (RFC 9110 §14.2).
            range: if *method == Method::GET { range() } else { None },
            if_range: text(headers.get(IF_RANGE)).map(str::to_owned),
        }
    }

    /// What is sent of a file of `length` octets.
    pub fn part(self, validator: &Validator, length: u64) -> Part {
        let matches = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => tags.have(&validator.etag, false),
            (None, Some(date)) => validator.modified <= date,
            (None, None) => true,
        };
        if !matches {
            return Part::Failed;
        }
        let known = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => tags.have(&validator.etag, true),
            (None, Some(date)) => validator.modified <= date,
            (None, None) => false,
        };
        if known {
            return Part::NotModified;
        }
        // A date holds where it is exactly this one, a tag where it is this one and strong.
        let holds = |condition: &str| {
            condition == validator.etag || seconds_of(condition) == Some(validator.modified)
        };
        let range = self.range.filter(|_| self.if_range.as_deref().is_none_or(holds));
        let Some(range) = range else { return Part::Whole };
        // Of nothing there is no part; some clients ask for `bytes=0-` always.
        if length == 0 { Part::Whole } else { range.part(length) }
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok().map(str::trim)
}

impl Range {
    /// The one range of a field's value; `None`: there are several, or they are not of octets.
    fn of(value: &str) -> Option<Self> {
        const UNIT: &str = "bytes=";
        let unit = value.get(..UNIT.len()).filter(|unit| unit.eq_ignore_ascii_case(UNIT))?;
        let range = value[unit.len()..].trim();
        if range.is_empty() || range.contains(',') {
            return None;
        }
        let between = |range: &str| {
            let (first, last) = range.split_once('-')?;
            if first.is_empty() {
                return number(last).map(Self::Last);
            }
            let last = if last.is_empty() { u64::MAX } else { number(last)? };
            Some(Self::Between(number(first)?, last))
        };
        Some(between(range).unwrap_or(Self::Invalid))
    }

    /// Its part of `length` octets, which are not none.
    fn part(self, length: u64) -> Part {
        let (first, last) = match self {
            Self::Between(first, last) => (first, last.min(length - 1)),
            Self::Last(count) => (length.saturating_sub(count), length - 1),
            Self::Invalid => return Part::Unsatisfiable,
        };
        if first > last { Part::Unsatisfiable } else { Part::From { first, length: last - first + 1 } }
    }
}

/// A number of any length; one too large for us is as large as can be.
fn number(digits: &str) -> Option<u64> {
    let all = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    all.then(|| digits.parse().unwrap_or(u64::MAX))
}

impl Tags {
    /// Those of all fields `name`; what is no tag ends the reading of its field.
    fn of(headers: &HeaderMap, name: HeaderName) -> Option<Self> {
        let mut fields = headers.get_all(name).iter().peekable();
        fields.peek()?;
        let mut tags = Vec::new();
        for field in fields {
            let Some(mut rest) = text(Some(field)) else { continue };
            if rest == "*" {
                return Some(Self::Any);
            }
            loop {
                rest = rest.trim_start_matches([' ', '\t', ',']);
                let opaque = rest.strip_prefix("W/").unwrap_or(rest);
                let tag = opaque.strip_prefix('"').and_then(|opaque| opaque.split_once('"'));
                let Some((_, after)) = tag else { break };
                tags.push(rest[..rest.len() - after.len()].to_owned());
                rest = after;
            }
        }
        Some(Self::These(tags))
    }

    /// - `etag`: a strong one.
    /// - `weakly`: whether a weak one of the same text is the same (RFC 9110 §8.8.3.2).
    fn have(&self, etag: &str, weakly: bool) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| {
                tag == etag || (weakly && tag.strip_prefix("W/").is_some_and(|opaque| opaque == etag))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"2ebc98a1.0-a\"";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn part_for(method: Method, fields: &[(&'static str, &str)]) -> Part {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let validator = Validator::new((784_111_777, 0), 10, None);
        assert_eq!(validator.etag, TAG);
        Asked::of(&method, &headers).part(&validator, 10)
    }

    fn part(fields: &[(&'static str, &str)]) -> Part {
        part_for(Method::GET, fields)
    }

    fn from(first: u64, length: u64) -> Part {
        Part::From { first, length }
    }

    #[test]
    fn preconditions_are_judged_in_their_order() {
        let weak = format!("W/{TAG}");
        let listed = format!("\"a,b\", {weak}");
        let (tag, weak, listed) = (TAG, weak.as_str(), listed.as_str());
        for (fields, wanted) in [
            (&[("if-none-match", tag)][..], Part::NotModified),
            (&[("if-none-match", weak)], Part::NotModified),
            (&[("if-none-match", listed)], Part::NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", tag)], Part::NotModified),
            (&[("if-none-match", "*")], Part::NotModified),
            (&[("if-none-match", "\"x\"")], Part::Whole),
            (&[("if-none-match", "x")], Part::Whole),
            (&[("if-none-match", "\"x\""), ("if-modified-since", AFTER)], Part::Whole),
            (&[("if-modified-since", DATE)], Part::NotModified),
            (&[("if-modified-since", AFTER)], Part::NotModified),
            (&[("if-modified-since", BEFORE)], Part::Whole),
            (&[("if-modified-since", "yesterday")], Part::Whole),
            (&[("if-match", tag)], Part::Whole),
            (&[("if-match", "*")], Part::Whole),
            (&[("if-match", weak)], Part::Failed),
            (&[("if-match", "\"x\"")], Part::Failed),
            (&[("if-match", tag), ("if-unmodified-since", BEFORE)], Part::Whole),
            (&[("if-match", "\"x\""), ("if-none-match", tag)], Part::Failed),
            (&[("if-match", tag), ("if-none-match", tag)], Part::NotModified),
            (&[("if-unmodified-since", BEFORE)], Part::Failed),
            (&[("if-unmodified-since", DATE)], Part::Whole),
            (&[("range", "bytes=0-1"), ("if-none-match", tag)], Part::NotModified),
            (&[("range", "bytes=50-"), ("if-match", "\"x\"")], Part::Failed),
        ] {
            assert_eq!(part(fields), wanted, "{fields:?}");
        }
    }

    #[test]
    fn one_range_is_a_part_and_anything_else_the_whole() {
        for (range, wanted) in [
            ("bytes=0-0", from(0, 1)),
            ("bytes=2-4", from(2, 3)),
            ("bytes=2-", from(2, 8)),
            ("bytes=2-99", from(2, 8)),
            ("bytes=-3", from(7, 3)),
            ("bytes=-99", from(0, 10)),
            ("Bytes=0-99999999999999999999", from(0, 10)),
            ("bytes=0-0,", Part::Whole),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=4-2", Part::Unsatisfiable),
            ("bytes=1", Part::Unsatisfiable),
            ("bytes=-", Part::Unsatisfiable),
            ("bytes=+1-2", Part::Unsatisfiable),
            ("bytes=9-9", from(9, 1)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=0-0,0-0,0-0,0-0,0-0,0-0", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=a-b", Part::Unsatisfiable),
            ("items=0-1", Part::Whole),
            ("bytes=99999999999999999999-", Part::Unsatisfiable),
        ] {
            assert_eq!(part(&[("range", range)]), wanted, "{range}");
        }
        assert_eq!(part(&[("range", "bytes=0-1"), ("range", "bytes=3-4")]), Part::Whole);
        assert_eq!(part_for(Method::HEAD, &[("range", "bytes=0-1")]), Part::Whole);
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-"));
        let nothing = Asked::of(&Method::GET, &headers).part(&Validator::new((0, 0), 0, None), 0);
        assert_eq!(nothing, Part::Whole);
    }

    #[test]
    fn a_range_holds_only_for_the_file_it_was_meant_for() {
        let weak = format!("W/{TAG}");
        let with = |condition: &str| part(&[("range", "bytes=0-1"), ("if-range", condition)]);
        assert_eq!(with(TAG), from(0, 2));
        assert_eq!(with(DATE), from(0, 2));
        for other in [weak.as_str(), "\"x\"", BEFORE, AFTER, "junk", "Wed, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(with(other), Part::Whole, "{other}");
        }
    }
}
