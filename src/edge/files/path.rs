//! The path of a URL as a path beneath a root.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// The one folder with a dot at its beginning that is shown (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";
/// What a path in a URL need not escape (RFC 3986 §3.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// A path beneath a root, decoded.
///
/// Invariant: neither NUL nor an empty segment; no segment begins with a dot, but a first one may be
/// `.well-known`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilePath {
    octets: Vec<u8>,
    is_folder: bool,
}

/// Why a URL's path is that of no file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfit {
    /// A `%` without two hexadecimal digits behind it, a NUL, or a segment `.` or `..`, which a browser
    /// resolves before it asks.
    Malformed,
    /// A segment that begins with a dot.
    Hidden,
}

impl FilePath {
    /// The path that `raw`, a URL's path without its query, names. `%2F` parts segments as `/` does, and
    /// several slashes are one, as other servers have it.
    pub fn of(raw: &[u8]) -> Result<Self, Unfit> {
        if !is_escaped_well(raw) {
            return Err(Unfit::Malformed);
        }
        let decoded: Vec<u8> = percent_decode(raw).collect();
        if decoded.contains(&0) {
            return Err(Unfit::Malformed);
        }
        let segments = || decoded.split(|&octet| octet == b'/').filter(|segment| !segment.is_empty());
        if segments().any(|segment| segment == b"." || segment == b"..") {
            return Err(Unfit::Malformed);
        }
        let hidden = |(place, segment): (usize, &[u8])| {
            segment.starts_with(b".") && (place > 0 || segment != WELL_KNOWN)
        };
        if segments().enumerate().any(hidden) {
            return Err(Unfit::Hidden);
        }
        let mut octets = Vec::with_capacity(decoded.len());
        for segment in segments() {
            if !octets.is_empty() {
                octets.push(b'/');
            }
            octets.extend_from_slice(segment);
        }
        let is_folder = octets.is_empty() || decoded.ends_with(b"/");
        Ok(Self { octets, is_folder })
    }

    /// Without a slash before or behind it; empty for the root.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether it ends in a slash, as the root's does.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    /// The path of the file `name` in this folder.
    pub fn child(&self, name: &str) -> Vec<u8> {
        let mut path = self.octets.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        path
    }

    /// A reference to it as a folder, for a redirect: it begins with one slash and is escaped, so that it
    /// leads to the same host (RFC 3986 §4.2).
    pub fn with_slash(&self) -> String {
        format!("/{}/", percent_encode(&self.octets, ESCAPED))
    }
}

fn is_escaped_well(raw: &[u8]) -> bool {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'%', rest) {
        if !matches!(rest.get(at + 1..at + 3), Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
        {
            return false;
        }
        rest = &rest[at + 3..];
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(raw: &str) -> Result<(String, bool), Unfit> {
        FilePath::of(raw.as_bytes())
            .map(|path| (String::from_utf8_lossy(path.octets()).into_owned(), path.is_folder()))
    }

    #[test]
    fn a_path_is_decoded_once_and_its_slashes_are_made_single() {
        for (raw, path, is_folder) in [
            ("/", "", true),
            ("//", "", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("//a//b", "a/b", false),
            ("/a%2Fb", "a/b", false),
            ("/a%2f", "a", true),
            ("/a%20b", "a b", false),
            ("/%252e%252e/x", "%2e%2e/x", false),
            ("/a+b", "a+b", false),
            ("/.well-known/security.txt", ".well-known/security.txt", false),
            ("/%2ewell-known", ".well-known", false),
            ("/a..b/c.", "a..b/c.", false),
            ("/a\\..\\b", "a\\..\\b", false),
        ] {
            assert_eq!(of(raw), Ok((path.to_owned(), is_folder)), "{raw}");
        }
    }

    #[test]
    fn what_leads_elsewhere_or_is_hidden_is_no_path_of_a_file() {
        for raw in [
            "/..",
            "/a/../b",
            "/%2e%2e/x",
            "/.%2E",
            "/a/./b",
            "/.",
            "/%",
            "/%4",
            "/%zz",
            "/a%00",
            "/%2f..%2fx",
        ] {
            assert_eq!(of(raw), Err(Unfit::Malformed), "{raw}");
        }
        for raw in
            ["/.git/config", "/a/.env", "/a/.well-known/x", "/...", "/..x", "/%2ehtaccess", "/.well-known/.x"]
        {
            assert_eq!(of(raw), Err(Unfit::Hidden), "{raw}");
        }
    }

    #[test]
    fn a_redirect_stays_on_its_host() {
        let to = |raw: &str| FilePath::of(raw.as_bytes()).unwrap().with_slash();
        assert_eq!(to("//evil.test"), "/evil.test/");
        assert_eq!(to("/\\evil.test"), "/%5Cevil.test/");
        assert_eq!(to("/%09/evil.test"), "/%09/evil.test/");
        assert_eq!(to("/a b%3Fc%23/ü"), "/a%20b%3Fc%23/%C3%BC/");
    }

    proptest! {
        #[test]
        fn no_path_leads_out_whatever_it_is_made_of(
            raw in prop::collection::vec(prop_oneof![
                Just("/"), Just("."), Just(".."), Just("%2e"), Just("%2F"), Just("%5c"), Just("\\"), Just("a"),
                Just("%"), Just("%c0%ae"), Just("%00"), Just(".well-known"), Just("?"), Just("\u{e9}"),
            ], 0..12)
        ) {
            let raw = format!("/{}", raw.concat());
            if let Ok(path) = FilePath::of(raw.as_bytes()) {
                prop_assert!(!path.octets().contains(&0));
                let segments: Vec<&[u8]> = path.octets().split(|&octet| octet == b'/').collect();
                for (place, segment) in segments.iter().enumerate() {
                    prop_assert!(!segment.is_empty() || path.octets().is_empty());
                    prop_assert!(!segment.starts_with(b".") || (place == 0 && *segment == WELL_KNOWN));
                }
                let again = path.with_slash();
                prop_assert!(!again[1..].starts_with(['/', '\\']) || again == "//", "{}", again);
                let again = FilePath::of(again.as_bytes()).unwrap();
                prop_assert_eq!(again.octets(), path.octets());
            }
        }
    }
}
