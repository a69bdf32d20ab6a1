//! Which addresses are public: a stranger's URL must open nothing that only this machine can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Network {
    Network { address: IpAddr::V4(Ipv4Addr::new(a, b, c, 0)), prefix }
}

const fn v6(a: u16, b: u16, prefix: u8) -> Network {
    Network { address: IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0)), prefix }
}

/// IPv4 networks that are not public (IANA's special-purpose registry, RFC 6890).
const NOT_PUBLIC: [Network; 15] = [
    v4(0, 0, 0, 8),       // this network
    v4(10, 0, 0, 8),      // private
    v4(100, 64, 0, 10),   // carrier-grade NAT
    v4(127, 0, 0, 8),     // loopback
    v4(169, 254, 0, 16),  // link-local, metadata of clouds
    v4(172, 16, 0, 12),   // private
    v4(192, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 24),    // documentation
    v4(192, 88, 99, 24),  // 6to4 relays
    v4(192, 168, 0, 16),  // private
    v4(198, 18, 0, 15),   // benchmarks
    v4(198, 51, 100, 24), // documentation
    v4(203, 0, 113, 24),  // documentation
    v4(224, 0, 0, 4),     // multicast
    v4(240, 0, 0, 4),     // reserved, broadcast
];

/// The IPv6 addresses that are public, beside [`NAT64`] (RFC 4291 §2.4) …
const GLOBAL: Network = v6(0x2000, 0, 3);
/// … except these: protocol assignments with Teredo, documentation, 6to4, documentation.
const NOT_GLOBAL: [Network; 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0x0db8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

/// Addresses that stand for IPv4 ones, in their last 32 bits (RFC 6052 §2.1).
const NAT64: Network = v6(0x64, 0xff9b, 96);

/// The address that is reached in the end: IPv4 where IPv6 only wraps it.
pub fn unwrapped(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(wrapping) if NAT64.contains(ip) => {
            let [.., a, b, c, d] = wrapping.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        ip => ip,
    }
}

/// Whether it is; `ip` as [`unwrapped`] gives it.
pub fn is_public(ip: IpAddr) -> bool {
    let among = |networks: &[Network]| networks.iter().any(|network| network.contains(ip));
    match ip {
        IpAddr::V4(_) => !among(&NOT_PUBLIC),
        IpAddr::V6(_) => GLOBAL.contains(ip) && !among(&NOT_GLOBAL),
    }
}
