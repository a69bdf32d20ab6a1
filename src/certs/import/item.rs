//! Certificates from the texts of one place.

use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::Skipped;
use crate::certs::{PemError, pem};
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;

/// How the issuers of Let's Encrypt's trial authority begin.
const TRIAL: &str = "(STAGING)";
/// sha1WithRSAEncryption (RFC 8017 appendix C) and ecdsa-with-SHA1 (RFC 5758 §3.2).
const SHA1: [&str; 2] = ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1"];

/// A certificate for each name of the leaf in `text`, which has its chain and key too.
///
/// - `filed`: the name that the leaf must cover, where the place says one
/// - `now`: it must be valid then
pub fn certificates(
    text: &[u8],
    filed: Option<&CertificateName>,
    now: UnixTime,
) -> Result<Vec<Certificate>, Skipped> {
    let certificates = pem::read(text, now)?;
    if has_several_keys(text) {
        let pairs = pem::count_pairs(text)?;
        if pairs > 1 {
            return Err(Skipped::Several { pairs });
        }
    }
    if let Some(leaf) = certificates.first().and_then(|first| first.chain.first()) {
        check_issuer(leaf)?;
    }
    match filed {
        Some(filed) if !certificates.iter().any(|one| one.name.includes(filed)) => {
            let names: Vec<&str> = certificates.iter().map(|one| one.name.as_str()).collect();
            Err(Skipped::OtherName { filed: filed.clone(), names: names.join(", ") })
        }
        _ => Ok(certificates),
    }
}

/// One text of a chain and its key, which [`certificates`] takes.
pub fn joined(chain: &[u8], key: &[u8]) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let octets = chain.len() + key.len() + 1;
    if octets as u64 > pem::MAX_OCTETS {
        return Err(PemError::TooLarge);
    }
    let mut text = Zeroizing::new(Vec::with_capacity(octets));
    text.extend_from_slice(chain);
    text.push(b'\n');
    text.extend_from_slice(key);
    Ok(text)
}

fn has_several_keys(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, b"PRIVATE KEY-----").nth(2).is_some()
}

/// Whether clients trust who signed `leaf`, as far as it says itself.
fn check_issuer(leaf: &[u8]) -> Result<(), Skipped> {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return Ok(()) };
    let mut organizations = leaf.issuer().iter_organization().filter_map(|name| name.as_str().ok());
    if let Some(issuer) = organizations.find(|name| name.starts_with(TRIAL)) {
        return Err(Skipped::Trial { issuer: issuer.to_owned() });
    }
    if SHA1.contains(&&*leaf.signature_algorithm.algorithm.to_id_string()) {
        return Err(Skipped::Sha1);
    }
    Ok(())
}
