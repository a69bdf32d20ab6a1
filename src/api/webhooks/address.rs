//! Which addresses a webhook may lead to: a customer's URL must open nothing that only this machine
//! can reach.

use std::net::IpAddr;

use url::{Host, Url};

use super::Invalid;
use crate::config::Network;
use crate::config::public::{is_public, unwrapped};

/// Longest URL, in octets.
pub const MAX_URL: usize = 2048;

/// The addresses that webhooks may lead to.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    allowed: Vec<Network>,
}

impl Addresses {
    /// Public ones, and those of `allowed`.
    pub fn new(allowed: &[Network]) -> Self {
        Self { allowed: allowed.to_vec() }
    }

    fn allows(&self, ip: IpAddr) -> bool {
        let reached = unwrapped(ip);
        self.allowed.iter().any(|network| network.contains(ip) || network.contains(reached))
    }

    /// Whether a message may go to `ip`; by plain HTTP where `plain`.
    pub fn permit(&self, ip: IpAddr, plain: bool) -> bool {
        self.allows(ip) || (!plain && is_public(unwrapped(ip)))
    }

    /// Whether a message may go to `url`, as far as it says itself: what its name leads to is seen
    /// when it is connected to.
    pub fn check(&self, url: &Url) -> Result<(), Invalid> {
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(Invalid::Url { why: "it must begin with https://" }),
        };
        if url.as_str().len() > MAX_URL {
            return Err(Invalid::Url { why: "it is longer than 2048 octets" });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid::Url { why: "it takes no user name or password" });
        }
        if url.fragment().is_some() {
            return Err(Invalid::Url { why: "it takes no fragment" });
        }
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
            Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
            Some(Host::Domain(_)) if plain && self.allowed.is_empty() => return Err(Invalid::Plain),
            Some(Host::Domain(_)) => return Ok(()),
            None => return Err(Invalid::Url { why: "it has no host" }),
        };
        match (self.permit(ip, plain), plain && self.permit(ip, false)) {
            (true, _) => Ok(()),
            (false, true) => Err(Invalid::Plain),
            (false, false) => Err(Invalid::Private),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn v4(a: u8, prefix: u8) -> Network {
        Network { address: Ipv4Addr::new(a, 0, 0, 0).into(), prefix }
    }

    fn v6(a: u16, prefix: u8) -> Network {
        Network { address: Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0).into(), prefix }
    }

    fn permitted(allowed: &[Network], ip: &str) -> bool {
        Addresses::new(allowed).permit(ip.parse().unwrap(), false)
    }

    #[test]
    fn only_public_addresses_are_permitted() {
        let public = "1.1.1.1 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.0.1.1 198.17.0.1
            198.20.0.1 223.255.255.255 2606:4700::1 2a00::1 2001:4860::1 ::ffff:1.1.1.1 64:ff9b::1.1.1.1";
        for ip in public.split_whitespace() {
            assert!(permitted(&[], ip), "{ip}");
        }
        let private = ":: ::1 fc00::1 fd00::1 fe80::1 fec0::1 ff02::1 2001:db8::1 2001::1 2002:7f00:1::
            3fff::1 64:ff9b:1::1 100::1 4000::1";
        for ip in private.split_whitespace() {
            assert!(!permitted(&[], ip), "{ip}");
        }
    }

    #[test]
    fn an_ipv4_address_that_is_not_public_is_permitted_in_no_form() {
        let private = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9
            169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1
            198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
            255.255.255.255";
        for ip in private.split_whitespace() {
            for form in [ip.to_owned(), format!("::ffff:{ip}"), format!("64:ff9b::{ip}"), format!("::{ip}")] {
                assert!(!permitted(&[], &form), "{form}");
            }
        }
    }

    #[test]
    fn what_is_allowed_is_permitted_in_every_form_and_by_plain_http_alone() {
        let allowed = [v4(127, 8), v6(0xfd00, 8)];
        for ip in ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fd12::1"] {
            assert!(permitted(&allowed, ip), "{ip}");
            assert!(Addresses::new(&allowed).permit(ip.parse().unwrap(), true), "{ip}");
        }
        assert!(!permitted(&allowed, "10.0.0.1") && !permitted(&allowed, "::1"));
        assert!(!Addresses::new(&allowed).permit("1.1.1.1".parse().unwrap(), true));
    }

    #[test]
    fn urls_are_judged_by_what_they_say() {
        let check = |allowed: &[Network], url: &str| Addresses::new(allowed).check(&url.parse().unwrap());
        for url in ["https://hooks.example.com/x?y=z", "https://1.1.1.1/", "https://[2606:4700::1]:8443/"] {
            assert_eq!(check(&[], url), Ok(()), "{url}");
        }
        // Every way to write an address is one to the URL parser.
        for url in [
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:7f00:1]/",
            "http://10.0.0.1/",
        ] {
            assert_eq!(check(&[], url), Err(Invalid::Private), "{url}");
        }
        for url in ["http://hooks.example.com/", "http://1.1.1.1/"] {
            assert_eq!(check(&[], url), Err(Invalid::Plain), "{url}");
        }
        let loopback = [v4(127, 8)];
        assert_eq!(check(&loopback, "http://127.0.0.1:8080/"), Ok(()));
        assert_eq!(check(&loopback, "http://localhost:8080/"), Ok(()));
        assert_eq!(check(&loopback, "http://1.1.1.1/"), Err(Invalid::Plain));
        let long = format!("https://a.test/{}", "x".repeat(MAX_URL));
        for url in ["ftp://a.test/", "https://u:p@a.test/", "https://u@a.test/", "https://a.test/#x", &long] {
            assert!(matches!(check(&[], url), Err(Invalid::Url { .. })), "{url}");
        }
    }
}
