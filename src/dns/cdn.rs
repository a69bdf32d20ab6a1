//! Which CDN or proxy an address or the target of an alias belongs to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::Network;

/// Cloudflare's addresses: <https://www.cloudflare.com/ips-v4>, <https://www.cloudflare.com/ips-v6>.
const CLOUDFLARE: &[Network] = &[
    v4([173, 245, 48, 0], 20),
    v4([103, 21, 244, 0], 22),
    v4([103, 22, 200, 0], 22),
    v4([103, 31, 4, 0], 22),
    v4([141, 101, 64, 0], 18),
    v4([108, 162, 192, 0], 18),
    v4([190, 93, 240, 0], 20),
    v4([188, 114, 96, 0], 20),
    v4([197, 234, 240, 0], 22),
    v4([198, 41, 128, 0], 17),
    v4([162, 158, 0, 0], 15),
    v4([104, 16, 0, 0], 13),
    v4([104, 24, 0, 0], 14),
    v4([172, 64, 0, 0], 13),
    v4([131, 0, 72, 0], 22),
    v6([0x2400, 0xcb00], 32),
    v6([0x2606, 0x4700], 32),
    v6([0x2803, 0xf800], 32),
    v6([0x2405, 0xb500], 32),
    v6([0x2405, 0x8100], 32),
    v6([0x2a06, 0x98c0], 29),
    v6([0x2c0f, 0xf248], 32),
];

/// Fastly's addresses: <https://api.fastly.com/public-ip-list>.
const FASTLY: &[Network] = &[
    v4([23, 235, 32, 0], 20),
    v4([43, 249, 72, 0], 22),
    v4([103, 244, 50, 0], 24),
    v4([103, 245, 222, 0], 23),
    v4([103, 245, 224, 0], 24),
    v4([104, 156, 80, 0], 20),
    v4([140, 248, 64, 0], 18),
    v4([140, 248, 128, 0], 17),
    v4([146, 75, 0, 0], 17),
    v4([151, 101, 0, 0], 16),
    v4([157, 52, 64, 0], 18),
    v4([167, 82, 0, 0], 17),
    v4([167, 82, 128, 0], 20),
    v4([167, 82, 160, 0], 20),
    v4([167, 82, 224, 0], 20),
    v4([172, 111, 64, 0], 18),
    v4([185, 31, 16, 0], 22),
    v4([199, 27, 72, 0], 21),
    v4([199, 232, 0, 0], 16),
    v6([0x2a04, 0x4e40], 32),
    v6([0x2a04, 0x4e42], 32),
];

/// Domains that the targets of aliases lie in, as each one's documentation has them.
const DOMAINS: &[(&str, &str)] = &[
    ("cdn.cloudflare.net", "Cloudflare"),
    ("cloudfront.net", "Amazon CloudFront"),
    ("fastly.net", "Fastly"),
    ("fastlylb.net", "Fastly"),
    ("azurefd.net", "Azure Front Door"),
    ("azureedge.net", "Azure CDN"),
    ("akamaiedge.net", "Akamai"),
    ("edgekey.net", "Akamai"),
    ("edgesuite.net", "Akamai"),
];

/// Whose address it is.
pub fn of_address(ip: IpAddr) -> Option<&'static str> {
    let lies_in = |networks: &[Network]| networks.iter().any(|network| network.contains(ip));
    [("Cloudflare", CLOUDFLARE), ("Fastly", FASTLY)]
        .into_iter()
        .find_map(|(owner, networks)| lies_in(networks).then_some(owner))
}

/// Whose name it is; lower-case, without a trailing dot.
pub fn of_name(name: &str) -> Option<&'static str> {
    let lies_in = |domain: &str| name.strip_suffix(domain).is_some_and(|below| below.ends_with('.'));
    DOMAINS.iter().find_map(|(domain, owner)| lies_in(domain).then_some(*owner))
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Network {
    Network { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
}

const fn v6([a, b]: [u16; 2], prefix: u8) -> Network {
    Network { address: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_known_by_their_owners() {
        let of = |ip: &str| of_address(ip.parse().unwrap());
        assert_eq!(of("104.21.7.9"), Some("Cloudflare"));
        assert_eq!(of("2606:4700:3030::1"), Some("Cloudflare"));
        assert_eq!(of("151.101.1.1"), Some("Fastly"));
        assert_eq!(of("192.0.2.7"), None);
        assert_eq!(of_name("shop.example.cdn.cloudflare.net"), Some("Cloudflare"));
        assert_eq!(of_name("d1.cloudfront.net"), Some("Amazon CloudFront"));
        assert_eq!(of_name("shop.example.edgekey.net"), Some("Akamai"));
        assert_eq!(of_name("notfastly.net"), None);
        assert_eq!(of_name("fastly.net"), None, "nobody's target");
    }
}
