//! Hostnames as customers type them, and which of them a platform can take.

use crate::domain::hostname::{CertificateName, Hostname, InvalidHostname};

/// Longest text that is looked at: a name of 253 octets in Unicode escapes is shorter.
const MAX_TEXT: usize = 1024;

/// Why a text is no hostname that can be registered. Each is a sentence for whoever typed it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidInput {
    /// It is no name that can be a hostname.
    #[error("This is not a hostname: {0}.")]
    Hostname(#[from] InvalidHostname),
    /// Characters that no domain name has, or that are not allowed beside each other (UTS 46, RFC 5893).
    #[error(
        "This is not a hostname: it has characters that domain names do not allow, or not in this order."
    )]
    Unicode,
    /// A URL, an address with a port, or something else around a hostname.
    #[error("Give the hostname alone, as in shop.example.com, without scheme, port and path.")]
    MoreThanAHostname,
    /// A `*` that is not the whole first label.
    #[error("A wildcard is * in the place of the first label, as in *.shop.example.com.")]
    Wildcard,
    /// The configuration keeps it for another site.
    #[error("The platform keeps this hostname for itself.")]
    Reserved,
    /// Below a platform domain, or that domain.
    #[error(
        "It belongs to the platform domain {domain}, whose hostnames are given by the platform. \
         Register the customer's own domain."
    )]
    UnderPlatform {
        /// The platform domain.
        domain: Hostname,
    },
}

impl InvalidInput {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        use InvalidHostname as H;
        match self {
            Self::Hostname(why) => match why {
                H::Empty => "hostname_empty",
                H::TooLong { .. } => "hostname_too_long",
                H::LabelTooLong { .. } => "hostname_label_too_long",
                H::IpAddress => "hostname_is_an_ip_address",
                H::SingleLabel => "hostname_is_a_single_label",
                H::PublicSuffix => "hostname_is_a_public_suffix",
                H::EmptyLabel | H::Hyphen | H::Octet { .. } | H::Punycode => "hostname_invalid",
            },
            Self::Unicode => "hostname_invalid",
            Self::MoreThanAHostname => "hostname_alone",
            Self::Wildcard => "hostname_wildcard",
            Self::Reserved => "hostname_reserved",
            Self::UnderPlatform { .. } => "hostname_under_platform",
        }
    }
}

/// Reads a hostname or a wildcard as somebody typed it: Unicode becomes A-labels (UTS 46), upper case
/// and a trailing dot make no other name. It can be registered as far as the name itself tells.
pub fn read(text: &str) -> Result<CertificateName, InvalidInput> {
    let text = text.trim();
    if text.len() > MAX_TEXT {
        return Err(InvalidHostname::TooLong { octets: text.len() }.into());
    }
    if text.starts_with('[') || text.parse::<std::net::IpAddr>().is_ok() {
        return Err(InvalidHostname::IpAddress.into());
    }
    if text.contains(['/', ':', '@', '?', '#', ' ']) {
        return Err(InvalidInput::MoreThanAHostname);
    }
    let (wildcard, name) = match text.strip_prefix("*.") {
        Some(parent) => (true, parent),
        None => (false, text),
    };
    if name.contains('*') {
        return Err(InvalidInput::Wildcard);
    }
    let hostname = a_labels(name)?;
    hostname.obtainable()?;
    if wildcard {
        return Ok(format!("*.{hostname}").parse::<CertificateName>()?);
    }
    Ok(hostname.into())
}

fn a_labels(name: &str) -> Result<Hostname, InvalidInput> {
    if name.is_ascii() {
        return Ok(name.parse()?);
    }
    // The ideographic full stop and its like are dots too (UTS 46 §2.3).
    let ascii = idna::domain_to_ascii(name).map_err(|_| InvalidInput::Unicode)?;
    Ok(ascii.parse()?)
}

/// A name in the form that people read.
pub fn shown(name: &CertificateName) -> String {
    let (star, bare) = match name.as_str().strip_prefix("*.") {
        Some(bare) => ("*.", bare),
        None => ("", name.as_str()),
    };
    let (unicode, valid) = idna::domain_to_unicode(bare);
    if valid.is_ok() { format!("{star}{unicode}") } else { name.to_string() }
}

/// The platform domain that `name` belongs to, if any.
pub fn platform<'a>(
    name: &CertificateName,
    domains: impl Iterator<Item = &'a Hostname>,
) -> Option<&'a Hostname> {
    let mut domains = domains;
    domains.find(|domain| domain.contains(name.bare()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_one_name() {
        for (typed, name) in [
            ("shop.example.com", "shop.example.com"),
            (" Shop.Example.COM. ", "shop.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("例え。テスト.example", "xn--r8jz45g.xn--zckzah.example"),
            ("faß.example", "xn--fa-hia.example"),
            ("*.shop.example", "*.shop.example"),
            ("*.Bücher.example.", "*.xn--bcher-kva.example"),
            ("☕.example", "xn--53h.example"),
        ] {
            assert_eq!(read(typed).map(|name| name.to_string()), Ok(name.to_owned()), "{typed:?}");
        }
        assert_eq!(shown(&"xn--bcher-kva.example".parse().unwrap()), "bücher.example");
        assert_eq!(shown(&"*.xn--bcher-kva.example".parse().unwrap()), "*.bücher.example");
    }

    #[test]
    fn what_cannot_be_registered_is_refused_with_its_reason() {
        for (typed, code) in [
            ("", "hostname_empty"),
            ("https://shop.example.com/", "hostname_alone"),
            ("shop.example.com:443", "hostname_alone"),
            ("127.0.0.1", "hostname_is_an_ip_address"),
            ("::1", "hostname_is_an_ip_address"),
            ("[::1]", "hostname_is_an_ip_address"),
            ("localhost", "hostname_is_a_single_label"),
            ("co.uk", "hostname_is_a_public_suffix"),
            ("*.co.uk", "hostname_is_a_public_suffix"),
            ("a..b", "hostname_invalid"),
            ("a_b.example", "hostname_invalid"),
            ("-a.example", "hostname_invalid"),
            ("xn--a.example", "hostname_invalid"),
            ("a.*.example", "hostname_wildcard"),
            ("*a.example", "hostname_wildcard"),
            ("shop.\u{202e}elpmaxe.com", "hostname_invalid"),
            ("' OR 1=1 --.example", "hostname_alone"),
            ("א1a.example", "hostname_invalid"),
        ] {
            assert_eq!(read(typed).map_err(|why| why.code()), Err(code), "{typed:?}");
        }
        assert_eq!(read(&"a".repeat(2000)).map_err(|why| why.code()), Err("hostname_too_long"));
        assert_eq!(
            read(&format!("{}.example", "a".repeat(64))).map_err(|why| why.code()),
            Err("hostname_label_too_long")
        );
    }

    #[test]
    fn a_platforms_own_names_are_known_by_their_end() {
        let domains: Vec<Hostname> = vec!["example.io".parse().unwrap()];
        let of = |name: &str| platform(&name.parse().unwrap(), domains.iter()).is_some();
        assert!(of("example.io") && of("a.example.io") && of("a.b.example.io") && of("*.example.io"));
        assert!(!of("myexample.io") && !of("example.io.test"));
    }
}
