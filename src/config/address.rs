//! Addresses: to listen on, networks, DNS servers, origins; names of things and of hosts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Network;
use super::place::{Wrong, quoted};
use crate::domain::hostname::{CertificateName, Hostname, InvalidHostname};
use crate::domain::site::{InvalidOrigin, Origin};

/// The port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// An address and port to listen on; port 0 is one that the system picks.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let what = format!("{} is not an IP address and port", quoted(text));
        Wrong::new(what, "write it like \"0.0.0.0:443\" or \"[::]:443\"")
    })
}

/// Whether only this machine can reach it.
pub(super) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// An IP address.
pub(super) fn ip(text: &str) -> Result<IpAddr, Wrong> {
    text.parse().map_err(|_| {
        let what = format!("{} is not an IP address", quoted(text));
        Wrong::new(what, "write it like \"192.0.2.7\" or \"2001:db8::7\"")
    })
}

/// An IP address, or a network as in `10.0.0.0/8`.
pub(super) fn network(text: &str) -> Result<Network, Wrong> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let network = address.parse::<IpAddr>().ok().and_then(|address| {
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) if prefix.bytes().all(|octet| octet.is_ascii_digit()) => prefix.parse().ok()?,
            Some(_) => return None,
            None => bits,
        };
        // An IPv4-mapped address counts as IPv4, with the bits that IPv4 has (RFC 4291 §2.5.5.2).
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) if bits == 128 => {
                prefix.checked_sub(96).map(|prefix| Network { address: v4, prefix })
            }
            address => Some(Network { address, prefix }),
        }
        .filter(|network| prefix <= bits && network.prefix <= bits)
    });
    network.ok_or_else(|| {
        let what = format!("{} is not an IP address or network", quoted(text));
        Wrong::new(what, "write it like \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\"")
    })
}

/// A DNS server: `ip` or `ip:port`.
pub(super) fn resolver(text: &str) -> Result<SocketAddr, Wrong> {
    let alone = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
    alone.or_else(|_| text.parse::<SocketAddr>()).ok().filter(|server| server.port() != 0).ok_or_else(|| {
        let what = format!("{} is not a DNS server's address", quoted(text));
        Wrong::new(what, "write it like \"192.0.2.53\", \"192.0.2.53:53\" or \"[2001:db8::53]:53\"")
    })
}

/// A name that becomes a metrics label and a part of paths.
pub(super) fn label(text: &str) -> Result<Arc<str>, Wrong> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        let what = format!("{} is not a name", quoted(text));
        return Err(Wrong::new(what, "use 1 to 64 letters, digits, hyphens, underscores and dots"));
    }
    Ok(text.into())
}

fn no_hostname(text: &str, why: InvalidHostname) -> Wrong {
    let what = format!("{} is not a hostname: {why}", quoted(text));
    let a_labels = idna::domain_to_ascii(text).ok().filter(|_| !text.is_ascii());
    match a_labels.filter(|name| name.parse::<CertificateName>().is_ok()) {
        Some(name) => Wrong::new(what, format!("write it as {}", quoted(&name))),
        None => Wrong::new(what, "give a DNS name such as \"shop.example.com\""),
    }
}

/// A hostname that a certificate could be given for.
pub(super) fn hostname(text: &str) -> Result<Hostname, Wrong> {
    if let Some(parent) = text.strip_prefix("*.") {
        let what = format!("{} is a wildcard", quoted(text));
        return Err(Wrong::new(what, format!("write {} without \"*.\"", quoted(parent))));
    }
    let checked = text.parse::<Hostname>().and_then(|name| name.obtainable().map(|()| name));
    checked.map_err(|why| no_hostname(text, why))
}

/// A hostname or a wildcard `*.parent`.
pub(super) fn certificate_name(text: &str) -> Result<CertificateName, Wrong> {
    let Some(parent) = text.strip_prefix("*.") else {
        return hostname(text).map(CertificateName::from);
    };
    let checked = parent.parse::<Hostname>().and_then(|parent| parent.obtainable());
    checked.and_then(|()| text.parse()).map_err(|why| no_hostname(text, why))
}

/// An origin: `host:port`, or a URL without a path, whose port may be its scheme's own.
pub(super) fn origin(text: &str) -> Result<Origin, Wrong> {
    const CURE: &str = "write it like \"127.0.0.1:3000\", \"[::1]:3000\" or \"https://app.internal:8443\"";
    text.parse().map_err(|why: InvalidOrigin| match why {
        // Not shown: what is before the @ may be a password.
        InvalidOrigin::Credentials => Wrong::new("an origin takes no user name or password", CURE),
        why => Wrong::new(format!("{} {why}", quoted(text)), CURE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_in_every_form() {
        for (text, shown) in [
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("app:80", "app:80"),
            ("My_App.internal:80", "my_app.internal:80"),
            ("[::1]:3000", "[::1]:3000"),
            ("http://[::1]:3000", "[::1]:3000"),
            ("http://app.internal", "app.internal:80"),
            ("https://app.internal/", "https://app.internal:443"),
            ("https://app.internal:8443", "https://app.internal:8443"),
        ] {
            assert_eq!(origin(text).unwrap().to_string(), shown, "{text:?}");
        }
        for text in [
            "",
            ":80",
            "app",
            "app:",
            "app:0",
            "app:65536",
            "app:+80",
            "::1:80",
            "[::1]",
            "[::1]x:80",
            "[app]:80",
            "300.1.1.1:80",
            "a b:80",
            "ftp://app:80",
            "app:80/",
            "https://app/x",
            "https://u:p@app",
            "http://",
        ] {
            assert!(origin(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn networks_hold_what_they_should() {
        let holds = |net: &str, ip: &str| network(net).unwrap().contains(ip.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.200.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("::ffff:10.0.0.0/104", "10.200.0.1"));
        assert!(!holds("::ffff:10.0.0.0/104", "11.0.0.1"));
        assert!(holds("::1", "::1"));
        assert!(!holds("::1", "::2"));
        assert!(holds("0.0.0.0/0", "192.0.2.1"));
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "::ffff:10.0.0.0/8", "x/8"]
        {
            assert!(network(text).is_err(), "{text:?}");
        }
    }
}
