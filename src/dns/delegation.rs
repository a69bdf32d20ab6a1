//! Where a hostname's answers of DNS-01 stand, if its owner has `_acme-challenge` lead here by a CNAME
//! record (RFC 8555 §8.4, RFC 1034 §3.6.2): under a label of its own in the zone that we answer for
//! ourselves.

use std::time::Duration;

use aws_lc_rs::digest;

use crate::domain::hostname::{CertificateName, Hostname};

/// Letters of a label.
pub const LABEL_OCTETS: usize = 32;
/// The letters of a label (RFC 4648 §6, in lower case).
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// What keeps these digests apart from others of the same texts.
const PREFIX: &[u8] = b"nameplate dns-01 delegation 1\0";

/// How long a resolver may keep that a label has no records (RFC 2308 §5).
pub const ABSENT_FOR: Duration = Duration::from_secs(5);
/// How long a resolver may keep an answer of DNS-01.
pub const ANSWER_FOR: Duration = Duration::from_secs(1);
/// How long a machine keeps what the store said of a label. Whoever published an answer waits so long
/// before an authority is told, so that any machine of the fleet knows it.
pub const STORE_FOR: Duration = Duration::from_secs(1);

/// The label of a hostname. It says nothing of whose it is, and is another one for each organization:
/// a CNAME record that one of them had set lets no other one obtain a certificate.
///
/// A wildcard has the label of its parent, as their challenges have one name (RFC 8555 §7.1.3).
pub fn label(hostname: &CertificateName, organization: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [PREFIX, organization.as_bytes(), b"\0", hostname.bare().as_bytes()] {
        context.update(part);
    }
    let digest = context.finish();
    let letter = |place: usize| {
        let bit =
            |offset: usize| digest.as_ref()[(place * 5 + offset) / 8] >> (7 - (place * 5 + offset) % 8) & 1;
        let value = (0..5).fold(0, |value, offset| value << 1 | bit(offset));
        char::from(LETTERS[usize::from(value)])
    };
    (0..LABEL_OCTETS).map(letter).collect()
}

/// Whether it could be one of [`label`]'s; in lower case.
pub fn is_label(octets: &[u8]) -> bool {
    octets.len() == LABEL_OCTETS && octets.iter().all(|octet| LETTERS.contains(octet))
}

/// Where the answers stand: what the CNAME record leads to, without a trailing dot.
pub fn target(label: &str, zone: &Hostname) -> String {
    format!("{label}.{zone}")
}

/// The name that has the CNAME record.
pub fn owner(hostname: &CertificateName) -> String {
    format!("_acme-challenge.{}", hostname.bare())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_organizations_and_the_same_for_ever() {
        let label = |hostname: &str, organization| label(&hostname.parse().unwrap(), organization);
        let of_shop = label("shop.example.com", "acme");
        // Customers have it in their DNS: it must never change.
        assert_eq!(of_shop, "ncfihtusurbb7fanuc37dh2d6wkgi6ep");
        assert!(is_label(of_shop.as_bytes()));
        assert_eq!(label("*.shop.example.com", "acme"), of_shop);
        assert_ne!(label("shop.example.com", "other"), of_shop);
        assert_ne!(label("a.shop.example.com", "acme"), of_shop);
        for odd in [
            "",
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            &of_shop[1..],
            &format!("{of_shop}a"),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1",
        ] {
            assert!(!is_label(odd.as_bytes()), "{odd}");
        }
    }
}
