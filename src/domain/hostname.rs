//! Hostnames and the names that certificates are filed under.

use std::borrow::Borrow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

/// Longest name in its text form without the trailing dot (RFC 1035 §2.3.4, less the root's octet).
pub const MAX_OCTETS: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
pub const MAX_LABEL_OCTETS: usize = 63;

/// A DNS name that a client may ask for (RFC 6066 §3).
///
/// Invariant: lower-case A-labels of letters, digits and hyphens, at most
/// [`MAX_OCTETS`] octets, no trailing dot; never an IP address, never a wildcard.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hostname(Arc<str>);

/// Why a text is no hostname that can be served.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidHostname {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// Longer than [`MAX_OCTETS`].
    #[error("it has {octets} octets; a DNS name has at most {MAX_OCTETS}")]
    TooLong {
        /// Octets without the trailing dot.
        octets: usize,
    },
    /// An IP address literal.
    #[error("it is an IP address; certificates are obtained for DNS names only")]
    IpAddress,
    /// Only one label, such as `localhost`.
    #[error("it has a single label; a hostname needs at least two, as in shop.example.com")]
    SingleLabel,
    /// Two dots in a row, or a dot at the front.
    #[error("it has an empty label (two dots in a row, or a dot at the front)")]
    EmptyLabel,
    /// A label longer than [`MAX_LABEL_OCTETS`].
    #[error("a label has {octets} octets; a label has at most {MAX_LABEL_OCTETS}")]
    LabelTooLong {
        /// Octets of the label.
        octets: usize,
    },
    /// A hyphen at an end of a label.
    #[error("a label begins or ends with a hyphen")]
    Hyphen,
    /// An octet outside letters, digits, hyphen and dot.
    #[error(
        "it has the octet 0x{octet:02x}; letters, digits, hyphens and dots are allowed (Unicode names as A-labels, xn--…)"
    )]
    Octet {
        /// The first octet that is not allowed.
        octet: u8,
    },
    /// A label begins with `xn--` and is no valid A-label (RFC 5891, UTS 46).
    #[error("a label that begins with xn-- is not a valid A-label (UTS 46)")]
    Punycode,
    /// A suffix of ICANN's part of the public suffix list: nobody can own it.
    #[error("it is a public suffix; nobody can own it, so no authority gives a certificate for it")]
    PublicSuffix,
}

impl Hostname {
    /// The name, lower-case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the name as a client sends it in SNI: octets, no terminator (RFC 6066 §3).
    ///
    /// A trailing dot and upper case, which some clients send against the RFC, are the same name.
    pub fn from_sni(octets: &[u8]) -> Result<Self, InvalidHostname> {
        match std::str::from_utf8(octets) {
            Ok(text) => text.parse(),
            Err(error) => Err(InvalidHostname::Octet { octet: octets[error.valid_up_to()] }),
        }
    }

    /// Whether an authority could ever give a certificate for it: it has two labels or more, its
    /// `xn--` labels are valid
    /// and it is not one of ICANN's public suffixes (a name of the list's private part may be a
    /// platform's own).
    pub fn obtainable(&self) -> Result<(), InvalidHostname> {
        if !self.0.contains('.') {
            return Err(InvalidHostname::SingleLabel);
        }
        if self.0.split('.').any(|label| label.starts_with("xn--")) {
            let (unicode, valid) = idna::domain_to_unicode(&self.0);
            let back = idna::domain_to_ascii_strict(&unicode);
            if valid.is_err() || !back.is_ok_and(|back| *back == *self.0) {
                return Err(InvalidHostname::Punycode);
            }
        }
        match psl::suffix(self.0.as_bytes()) {
            Some(suffix)
                if suffix.as_bytes().len() == self.0.len() && suffix.typ() == Some(psl::Type::Icann) =>
            {
                Err(InvalidHostname::PublicSuffix)
            }
            _ => Ok(()),
        }
    }

    /// The part that somebody registered: `example.co.uk` of `a.shop.example.co.uk`, by the public
    /// suffix list, its private part included; the whole name where it is a suffix itself.
    pub fn registrable_domain(&self) -> &str {
        psl::domain_str(&self.0).unwrap_or(&self.0)
    }

    /// Whether `name` (lower-case, without a trailing dot; an owner name of DNS too) is this one or lies
    /// below it.
    pub fn contains(&self, name: &str) -> bool {
        name.strip_suffix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// What is left when the first label is taken away: `example.com` of `shop.example.com`.
    pub fn parent(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, parent)| parent)
    }
}

fn check_label(label: &str) -> Result<(), InvalidHostname> {
    let octets = label.as_bytes();
    if octets.is_empty() {
        return Err(InvalidHostname::EmptyLabel);
    }
    if octets.len() > MAX_LABEL_OCTETS {
        return Err(InvalidHostname::LabelTooLong { octets: octets.len() });
    }
    let odd = octets.iter().find(|&&o| !(o.is_ascii_alphanumeric() || o == b'-'));
    if let Some(&octet) = odd {
        return Err(InvalidHostname::Octet { octet });
    }
    if octets[0] == b'-' || octets[octets.len() - 1] == b'-' {
        return Err(InvalidHostname::Hyphen);
    }
    Ok(())
}

fn is_ip(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let numeric_end = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|o| o.is_ascii_digit()));
    numeric_end || bare.parse::<IpAddr>().is_ok() || bare.parse::<Ipv6Addr>().is_ok()
}

impl FromStr for Hostname {
    type Err = InvalidHostname;

    fn from_str(raw: &str) -> Result<Self, InvalidHostname> {
        let name = raw.strip_suffix('.').unwrap_or(raw);
        if name.is_empty() {
            return Err(InvalidHostname::Empty);
        }
        if name.len() > MAX_OCTETS {
            return Err(InvalidHostname::TooLong { octets: name.len() });
        }
        if is_ip(name) {
            return Err(InvalidHostname::IpAddress);
        }
        name.split('.').try_for_each(check_label)?;
        if name.bytes().any(|o| o.is_ascii_uppercase()) {
            return Ok(Self(name.to_ascii_lowercase().into()));
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name a certificate is filed under: a hostname, or a wildcard `*.parent`, which covers
/// exactly one label (RFC 6125 §6.4.3).
///
/// Invariant: what follows an optional `*.` keeps the rules of [`Hostname`].
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CertificateName(Arc<str>);

impl CertificateName {
    /// The name as text, `*.` included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The wildcard that covers `hostname`; `None` where its parent is a single label, which
    /// no authority gives a wildcard for.
    pub fn wildcard_of(hostname: &Hostname) -> Option<Self> {
        let parent = hostname.parent();
        parent.contains('.').then(|| Self(format!("*.{parent}").into()))
    }

    /// The name as shared text.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }

    /// Whether it begins with `*.`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether a client that asked for `hostname` accepts a certificate for this name.
    pub fn covers(&self, hostname: &Hostname) -> bool {
        match self.0.strip_prefix("*.") {
            Some(parent) => hostname.parent() == parent,
            None => *self.0 == *hostname.0,
        }
    }

    /// Whether it is `name`, or a wildcard that covers it.
    pub fn includes(&self, name: &Self) -> bool {
        self == name || name.hostname().is_some_and(|hostname| self.covers(&hostname))
    }

    /// The name without `*.`.
    pub fn bare(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// As [`Hostname::registrable_domain`], of the name without `*.`.
    pub fn registrable_domain(&self) -> &str {
        psl::domain_str(self.bare()).unwrap_or(self.bare())
    }

    /// As [`Hostname::obtainable`], of the name without `*.`.
    pub fn obtainable(&self) -> Result<(), InvalidHostname> {
        Hostname(self.bare().into()).obtainable()
    }

    /// The hostname, unless this is a wildcard.
    pub fn hostname(&self) -> Option<Hostname> {
        (!self.is_wildcard()).then(|| Hostname(self.0.clone()))
    }
}

impl From<Hostname> for CertificateName {
    fn from(hostname: Hostname) -> Self {
        Self(hostname.0)
    }
}

impl From<&Hostname> for CertificateName {
    fn from(hostname: &Hostname) -> Self {
        Self(hostname.0.clone())
    }
}

impl FromStr for CertificateName {
    type Err = InvalidHostname;

    fn from_str(raw: &str) -> Result<Self, InvalidHostname> {
        match raw.strip_prefix("*.") {
            Some(parent) => {
                let parent: Hostname = parent.parse()?;
                let name = format!("*.{parent}");
                if name.len() > MAX_OCTETS {
                    return Err(InvalidHostname::TooLong { octets: name.len() });
                }
                Ok(Self(name.into()))
            }
            None => Ok(raw.parse::<Hostname>()?.into()),
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for CertificateName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_trailing_dot_make_no_other_name() {
        let name: Hostname = "Status.ACME.com.".parse().unwrap();
        assert_eq!(name.as_str(), "status.acme.com");
        assert_eq!(name, Hostname::from_sni(b"status.acme.com").unwrap());
    }

    #[test]
    fn names_that_nobody_can_have_are_refused() {
        use InvalidHostname as E;
        let long_label = format!("{}.test", "a".repeat(64));
        let long_name = format!("{}.test", ["a".repeat(49).as_str(); 5].join("."));
        assert_eq!(long_name.len(), 254);
        for (raw, why) in [
            ("", E::Empty),
            (".", E::Empty),
            ("a..b", E::EmptyLabel),
            (".a.b", E::EmptyLabel),
            ("a_b.test", E::Octet { octet: b'_' }),
            ("*.test", E::Octet { octet: b'*' }),
            ("a/b", E::Octet { octet: b'/' }),
            ("../../etc", E::EmptyLabel),
            ("a\0b.test", E::Octet { octet: 0 }),
            ("a b.test", E::Octet { octet: b' ' }),
            ("127.0.0.1", E::IpAddress),
            ("1.2.3", E::IpAddress),
            ("::1", E::IpAddress),
            ("[::1]", E::IpAddress),
            ("-a.test", E::Hyphen),
            ("xn--.test", E::Hyphen),
            ("a-.test", E::Hyphen),
            (long_label.as_str(), E::LabelTooLong { octets: 64 }),
            (long_name.as_str(), E::TooLong { octets: 254 }),
        ] {
            assert_eq!(raw.parse::<Hostname>(), Err(why), "{raw:?}");
        }
        assert_eq!(Hostname::from_sni(b"\xff.test"), Err(E::Octet { octet: 0xff }));
    }

    #[test]
    fn only_icann_suffixes_and_bad_a_labels_are_not_obtainable() {
        let verdict = |raw: &str| raw.parse::<Hostname>().unwrap().obtainable();
        assert_eq!(verdict("co.uk"), Err(InvalidHostname::PublicSuffix));
        assert_eq!(verdict("localhost"), Err(InvalidHostname::SingleLabel));
        assert_eq!(verdict("github.io"), Ok(()));
        assert_eq!(verdict("shop.example.com"), Ok(()));
        assert_eq!(verdict("shop.test"), Ok(()));
        assert_eq!(verdict("xn--bcher-kva.example"), Ok(()));
        assert_eq!(verdict("xn--a.example"), Err(InvalidHostname::Punycode));
    }

    #[test]
    fn a_domain_contains_itself_and_what_lies_below_it() {
        let domain: Hostname = "example.io".parse().unwrap();
        let contains = |name: &str| domain.contains(name);
        assert!(
            contains("example.io") && contains("a.b.example.io") && contains("_acme-challenge.example.io")
        );
        assert!(!contains("badexample.io") && !contains("io") && !contains("example.io.test"));
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let wildcard: CertificateName = "*.Example.io".parse().unwrap();
        let covers = |raw: &str| wildcard.covers(&raw.parse().unwrap());
        assert!(covers("a.example.io"));
        assert!(!covers("a.b.example.io"));
        assert!(!covers("example.io"));
        let of = |raw: &str| CertificateName::wildcard_of(&raw.parse().unwrap());
        assert_eq!(of("a.example.io"), Some(wildcard.clone()));
        assert_eq!(of("example.io"), None);
    }
}
