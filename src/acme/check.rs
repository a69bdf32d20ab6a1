//! The certificate that comes back is checked before anyone relies on it.

use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;

use super::WrongCertificate;
use crate::domain::certificate::Validity;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;

/// How far this machine's clock may be behind the authority's.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);
/// Names that are told of a certificate for other names.
const NAMES_TOLD: usize = 10;

/// A chain that was found good.
#[derive(Debug)]
pub struct Checked {
    /// DER, leaf first, each followed by its issuer, without the root.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's validity.
    pub validity: Validity,
}

/// Checks a chain as an authority gives it (RFC 8555 §7.4.2).
///
/// - `pem`: leaf first, each followed by its issuer
/// - `key`: the leaf must have its public key, which holds for the key's type too
/// - `now`: every certificate must be valid then, give or take [`CLOCK_SKEW`] at the beginning
///
/// A signature by an algorithm that the library does not know is not looked at; the names of
/// subject and issuer must fit nevertheless.
pub fn check(
    pem: &str,
    name: &CertificateName,
    key: &KeyPair,
    now: UnixTime,
) -> Result<Checked, WrongCertificate> {
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| WrongCertificate::NotPem)?;
    let mut certificates = Vec::with_capacity(chain.len());
    for (index, der) in chain.iter().enumerate() {
        match x509_parser::parse_x509_certificate(der) {
            Ok(([], certificate)) => certificates.push(certificate),
            _ => return Err(WrongCertificate::Unreadable { index }),
        }
    }
    let leaf = certificates.first().ok_or(WrongCertificate::NotPem)?;
    if leaf.public_key().raw != key.subject_public_key_info() {
        return Err(WrongCertificate::OtherKey);
    }
    check_names(leaf, name)?;
    for (index, certificate) in certificates.iter().enumerate() {
        check_validity(index, certificate, now)?;
    }
    for (index, pair) in certificates.windows(2).enumerate() {
        if !issued(&pair[1], &pair[0]) {
            return Err(WrongCertificate::Chain { index: index + 1 });
        }
    }
    let validity = validity(leaf);
    let ends_in_root =
        certificates.len() > 1 && certificates.last().is_some_and(|last| last.subject() == last.issuer());
    let keep = certificates.len() - usize::from(ends_in_root);
    Ok(Checked { chain: chain[..keep].iter().map(|der| der.to_vec()).collect(), validity })
}

fn check_names(leaf: &X509Certificate<'_>, name: &CertificateName) -> Result<(), WrongCertificate> {
    let names: Vec<String> = match leaf.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(dns_name).collect(),
        Ok(None) | Err(_) => Vec::new(),
    };
    if names.iter().any(|covered| covered == name.as_str()) {
        return Ok(());
    }
    Err(WrongCertificate::OtherNames { names: names.into_iter().take(NAMES_TOLD).collect() })
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

fn check_validity(
    index: usize,
    certificate: &X509Certificate<'_>,
    now: UnixTime,
) -> Result<(), WrongCertificate> {
    let validity = validity(certificate);
    if validity.not_before <= now.plus(CLOCK_SKEW) && now < validity.not_after {
        return Ok(());
    }
    Err(WrongCertificate::NotNow { index, validity, now })
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity {
        not_before: UnixTime(validity.not_before.timestamp()),
        not_after: UnixTime(validity.not_after.timestamp()),
    }
}

fn issued(issuer: &X509Certificate<'_>, certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && issuer.is_ca()
        && match certificate.verify_signature(Some(issuer.public_key())) {
            Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => true,
            Err(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer};

    use super::*;

    /// 2026-11-22, within the validity of what the tests make.
    const NOW: UnixTime = UnixTime(1_795_320_000);

    struct Ca {
        params: CertificateParams,
        key: KeyPair,
        pem: String,
    }

    fn ca(common_name: &str) -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, common_name);
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { params, key, pem }
    }

    fn leaf(ca: &Ca, key: &KeyPair, name: &str) -> String {
        let issuer = Issuer::from_params(&ca.params, &ca.key);
        CertificateParams::new([name.to_owned()]).unwrap().signed_by(key, &issuer).unwrap().pem()
    }

    fn shop() -> CertificateName {
        "shop.test".parse().unwrap()
    }

    #[test]
    fn a_good_chain_comes_back_without_its_root() {
        let (root, key) = (ca("root"), KeyPair::generate().unwrap());
        let pem = leaf(&root, &key, "shop.test") + &root.pem;
        let checked = check(&pem, &shop(), &key, NOW).unwrap();
        assert_eq!(checked.chain.len(), 1);
        assert!(checked.validity.holds(NOW));
    }

    #[test]
    fn a_certificate_for_another_key_or_name_is_not_taken() {
        let (root, key) = (ca("root"), KeyPair::generate().unwrap());
        let pem = leaf(&root, &key, "shop.test");
        let other = KeyPair::generate().unwrap();
        assert_eq!(check(&pem, &shop(), &other, NOW).unwrap_err(), WrongCertificate::OtherKey);
        let elsewhere = "other.test".parse().unwrap();
        let names = vec!["shop.test".to_owned()];
        assert_eq!(check(&pem, &elsewhere, &key, NOW).unwrap_err(), WrongCertificate::OtherNames { names });
    }

    #[test]
    fn a_certificate_that_is_not_valid_now_is_not_taken() {
        let (root, key) = (ca("root"), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&root.params, &root.key);
        let mut params = CertificateParams::new(["shop.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        let wrong = check(&pem, &shop(), &key, NOW).unwrap_err();
        assert!(matches!(wrong, WrongCertificate::NotNow { index: 0, .. }), "{wrong}");
        // Our clock four minutes behind the authority's.
        let begin = UnixTime(1_767_225_600 - 240);
        assert!(check(&pem, &shop(), &key, begin).is_ok());
    }

    #[test]
    fn a_chain_that_does_not_hang_together_is_not_taken() {
        let (root, key) = (ca("root"), KeyPair::generate().unwrap());
        let other_name = ca("another");
        let same_name = ca("root");
        for stranger in [&other_name, &same_name] {
            let pem = leaf(&root, &key, "shop.test") + &stranger.pem;
            let wrong = check(&pem, &shop(), &key, NOW).unwrap_err();
            assert_eq!(wrong, WrongCertificate::Chain { index: 1 });
        }
    }

    #[test]
    fn what_is_no_certificate_is_not_taken() {
        let key = KeyPair::generate().unwrap();
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(check("", &shop(), &key, NOW).unwrap_err(), WrongCertificate::NotPem);
        assert_eq!(
            check(damaged, &shop(), &key, NOW).unwrap_err(),
            WrongCertificate::Unreadable { index: 0 }
        );
    }
}
