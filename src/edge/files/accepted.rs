//! The codings that a client takes (RFC 9110 §12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// A coding that a file may lie ready in, beside the file itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstandard,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All of them, the one that makes text smallest first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstandard, Self::Gzip];

    /// What the name of such a file has behind the file's own.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstandard => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// Its name in `Content-Encoding`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstandard => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// How much a client wants each coding, in thousandths; 0: not at all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Accepted {
    codings: [u16; 3],
    /// Of the file as it is, where the client says it.
    identity: Option<u16>,
}

impl Accepted {
    /// What a request's `Accept-Encoding` says. Without one, nothing is coded.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let (mut named, mut others) = ([false; 3], None);
        let fields = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for entry in fields.flat_map(|value| value.split(',')) {
            let mut parts = entry.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(weight_of).unwrap_or(1000);
            let is = |word: &str| name.eq_ignore_ascii_case(word);
            if is("identity") {
                accepted.identity = Some(weight);
            } else if is("*") {
                others = Some(weight);
            }
            for (place, coding) in Coding::ALL.into_iter().enumerate() {
                if is(coding.word()) || (coding == Coding::Gzip && is("x-gzip")) {
                    (accepted.codings[place], named[place]) = (weight, true);
                }
            }
        }
        if let Some(weight) = others {
            let unnamed = accepted.codings.iter_mut().zip(named).filter(|(_, named)| !named);
            unnamed.for_each(|(coding, _)| *coding = weight);
        }
        accepted
    }

    /// The best of those that are `there`; `None`: the file as it is.
    pub fn best(&self, there: impl Fn(Coding) -> bool) -> Option<Coding> {
        let mut best = (self.identity.unwrap_or(0).max(1), None);
        for (coding, weight) in Coding::ALL.into_iter().zip(self.codings) {
            let better = weight > best.0 || (weight == best.0 && best.1.is_none());
            if better && there(coding) {
                best = (weight, Some(coding));
            }
        }
        best.1
    }
}

/// The weight of a parameter `q=0.5`, in thousandths; anything that is no number refuses.
fn weight_of(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight = value.trim().parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight));
    Some(weight.map_or(0, |weight| (weight * 1000.0).round() as u16))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn best(value: &'static str, there: &[Coding]) -> Option<Coding> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
        Accepted::of(&headers).best(|coding| there.contains(&coding))
    }

    #[test]
    fn the_most_wanted_coding_that_is_there_is_chosen() {
        use Coding::{Brotli, Gzip, Zstandard};
        let all = &Coding::ALL;
        for (value, there, chosen) in [
            ("gzip, deflate, br, zstd", &all[..], Some(Brotli)),
            ("gzip, deflate, br, zstd", &[Gzip, Zstandard], Some(Zstandard)),
            ("gzip, deflate, br", &[Zstandard], None),
            ("GZIP", all, Some(Gzip)),
            ("x-gzip", all, Some(Gzip)),
            ("gzip;q=1, br;q=0.5", all, Some(Gzip)),
            ("gzip; q=0.8 , br;Q=0.8", all, Some(Brotli)),
            ("gzip;q=0", all, None),
            ("gzip;q=0.001", all, Some(Gzip)),
            ("gzip;q=junk", all, None),
            ("gzip;q=0.5, identity", all, None),
            ("gzip, identity", all, Some(Gzip)),
            ("identity;q=0.1, gzip;q=0.2", all, Some(Gzip)),
            ("*", all, Some(Brotli)),
            ("*;q=0", all, None),
            ("br;q=0, *", all, Some(Zstandard)),
            ("identity", all, None),
            ("deflate", all, None),
            ("", all, None),
        ] {
            assert_eq!(best(value, there), chosen, "{value}");
        }
        assert_eq!(Accepted::of(&HeaderMap::new()).best(|_| true), None);
    }
}
