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
    if let Some(issuer) = certificates.first().and_then(|first| trial_issuer(first.chain.first()?)) {
        return Err(Skipped::Trial { issuer });
    }
    match filed {
        Some(filed) if !certificates.iter().any(|one| covers(&one.name, filed)) => {
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

fn covers(name: &CertificateName, filed: &CertificateName) -> bool {
    name == filed || filed.hostname().is_some_and(|hostname| name.covers(&hostname))
}

/// The organization that issued `leaf`, where it issues for trials.
fn trial_issuer(leaf: &[u8]) -> Option<String> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let mut organizations = leaf.issuer().iter_organization();
    let organization = organizations.find_map(|name| name.as_str().ok().filter(|n| n.starts_with(TRIAL)))?;
    Some(organization.to_owned())
}
