//! Reading a certificate that an organization brings for its hostname: chain and key as PEM texts.
//!
//! Stricter than what is imported or lies in files, as whoever sends it reads the answer.

use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::PemError;
use super::pem;
use crate::domain::certificate::{Certificate, KeyFamily, Source};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::renewal;

/// RSA keys that are taken, in bits: a shorter one is weak, a longer one makes each handshake slow.
pub const RSA_BITS: (usize, usize) = (2048, 4096);

/// Which of the two texts is to blame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The certificate with its chain.
    Chain,
    /// The private key.
    Key,
}

/// Why a certificate is not taken. It never shows a text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// No PEM, or a broken one.
    #[error("It is no valid PEM: a block has no end, or its base64 is broken.")]
    NotPem(Part),
    /// No certificate.
    #[error(
        "There is no certificate (-----BEGIN CERTIFICATE-----) in it. Send the certificate, and behind it those of its issuers."
    )]
    NoCertificate,
    /// A request instead of a certificate.
    #[error("It is a certificate signing request. Send the certificate that your authority made of it.")]
    Request,
    /// No key.
    #[error("There is no private key (-----BEGIN PRIVATE KEY-----) in it.")]
    NoKey,
    /// A public key.
    #[error("It is a public key. Send the private key.")]
    PublicKey,
    /// The key is encrypted.
    #[error("The private key is encrypted. Decrypt it first: openssl pkey -in FILE -out FILE.plain.")]
    EncryptedKey,
    /// Several keys.
    #[error("There are several private keys in it. Send the one that belongs to the certificate.")]
    SeveralKeys,
    /// No X.509.
    #[error("A certificate in it cannot be read: {0}.")]
    Unreadable(String),
    /// The key is another one.
    #[error("The private key does not belong to the certificate, nor to any other one in the chain.")]
    OtherKey,
    /// The key has an algorithm or a curve that is not taken.
    #[error(
        "Its key type is not taken. Use RSA with 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519."
    )]
    KeyType,
    /// The key is short.
    #[error("Its RSA key has {bits} bits, which is weak. Use 2048 to 4096 bits, or ECDSA on P-256.")]
    Weak {
        /// Its length.
        bits: usize,
    },
    /// The key is long.
    #[error(
        "Its RSA key has {bits} bits, which makes each handshake slow. Use 2048 to 4096 bits, or ECDSA on P-256."
    )]
    Long {
        /// Its length.
        bits: usize,
    },
    /// It is over.
    #[error("The certificate expired at {0}. Send one that is valid.")]
    Expired(UnixTime),
    /// It has not begun.
    #[error("The certificate is not valid before {0}. Send it again then.")]
    NotYetValid(UnixTime),
    /// It is for other names.
    #[error("The certificate does not cover {name}; it covers {covered}.")]
    NotCovered {
        /// The hostname.
        name: CertificateName,
        /// What it covers.
        covered: String,
    },
}

impl Fault {
    /// A word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotPem(_) => "not_pem",
            Self::NoCertificate | Self::Request => "no_certificate",
            Self::NoKey | Self::PublicKey => "no_private_key",
            Self::EncryptedKey => "encrypted_key",
            Self::SeveralKeys => "several_keys",
            Self::Unreadable(_) => "unreadable_certificate",
            Self::OtherKey => "key_mismatch",
            Self::KeyType => "unsupported_key",
            Self::Weak { .. } => "weak_key",
            Self::Long { .. } => "long_key",
            Self::Expired(_) => "certificate_expired",
            Self::NotYetValid(_) => "certificate_not_yet_valid",
            Self::NotCovered { .. } => "hostname_not_covered",
        }
    }

    /// Which text is to blame.
    pub fn part(&self) -> Part {
        match self {
            Self::NotPem(part) => *part,
            Self::NoKey | Self::PublicKey | Self::EncryptedKey | Self::SeveralKeys | Self::OtherKey => {
                Part::Key
            }
            Self::NoCertificate
            | Self::Request
            | Self::Unreadable(_)
            | Self::KeyType
            | Self::Weak { .. }
            | Self::Long { .. }
            | Self::Expired(_)
            | Self::NotYetValid(_)
            | Self::NotCovered { .. } => Part::Chain,
        }
    }
}

/// What is taken all the same, and what somebody should know of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Warning {
    /// The certificate of its issuer is not there.
    ChainIncomplete,
    /// It is its own issuer.
    SelfSigned,
    /// Few clients take Ed25519.
    Ed25519,
    /// It ends so soon that another one is obtained now.
    EndsSoon,
}

impl Warning {
    /// A word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::ChainIncomplete => "chain_incomplete",
            Self::SelfSigned => "self_signed",
            Self::Ed25519 => "ed25519",
            Self::EndsSoon => "ends_soon",
        }
    }

    /// The same in a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::ChainIncomplete => {
                "fullchain has no certificate of its issuer. Unless a root signed it itself, many clients will not \
                 trust it: add the intermediate certificates behind it."
            }
            Self::SelfSigned => {
                "The certificate is self-signed: clients trust it only where somebody told them to."
            }
            Self::Ed25519 => {
                "Browsers do not take Ed25519 certificates. Add one with a key for ECDSA or RSA, which is kept \
                 beside it."
            }
            Self::EndsSoon => "It ends soon. Bring the next one, or let one be obtained in its place.",
        }
    }
}

/// A certificate for `name` that `organization` brings, and what to warn of.
///
/// The leaf is the certificate that the key belongs to; the chain is put into order, and what does not
/// belong to it is left out.
pub fn read(
    fullchain: &str,
    private_key: &str,
    name: &CertificateName,
    organization: &Label,
    now: UnixTime,
) -> Result<(Certificate, Vec<Warning>), Fault> {
    // Some editors begin a text with a mark, which would hide its first block.
    let [fullchain, private_key] =
        [fullchain, private_key].map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
    check_chain(fullchain)?;
    check_key(private_key)?;
    let mut text = Zeroizing::new(Vec::with_capacity(fullchain.len() + 1 + private_key.len()));
    text.extend_from_slice(fullchain.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(private_key.as_bytes());
    let pair = pem::read_pair(&text).map_err(|error| fault(error, fullchain))?;
    let leaf = pair.chain.first().ok_or(Fault::NoCertificate)?;
    let leaf = parse(leaf)?;
    check_key_type(&leaf)?;
    match pair.check_validity(now) {
        Ok(()) => {}
        Err(PemError::NotYetValid { not_before }) => return Err(Fault::NotYetValid(not_before)),
        Err(_) => return Err(Fault::Expired(pair.validity.not_after)),
    }
    if !pair.names.iter().any(|wide| wide.includes(name)) {
        return Err(Fault::NotCovered { name: name.clone(), covered: shown(&pair.names) });
    }
    let self_signed = leaf.subject().as_raw() == leaf.issuer().as_raw();
    let warnings = [
        (Warning::SelfSigned, self_signed),
        (
            Warning::ChainIncomplete,
            !self_signed && pair.chain.len() == 1 && !issued_by_a_root(fullchain, &leaf),
        ),
        (Warning::Ed25519, pair.key_type.family() == KeyFamily::Ed25519),
        (Warning::EndsSoon, renewal::fall_back(pair.validity) <= now),
    ];
    let warnings = warnings.into_iter().filter_map(|(warning, holds)| holds.then_some(warning)).collect();
    let certificate = Certificate {
        name: name.clone(),
        key: pair.key.clone(),
        key_type: pair.key_type,
        validity: pair.validity,
        source: Source::Own(organization.to_string()),
        chain: pair.chain.clone(),
    };
    Ok((certificate, warnings))
}

/// Names as a sentence has them; of many the first ones.
fn shown(names: &[CertificateName]) -> String {
    const SHOWN: usize = 10;
    if names.is_empty() {
        return "no name that could be served (in its subject alternative name)".to_owned();
    }
    let mut text = names.iter().take(SHOWN).map(CertificateName::as_str).collect::<Vec<_>>().join(", ");
    if let more @ 1.. = names.len().saturating_sub(SHOWN) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// The blocks of a text, by their kind.
fn kinds(text: &str, part: Part) -> Result<Vec<SectionKind>, Fault> {
    let blocks = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes());
    blocks.map(|block| block.map(|(kind, _)| kind).map_err(|_| Fault::NotPem(part))).collect()
}

fn check_chain(text: &str) -> Result<(), Fault> {
    let kinds = kinds(text, Part::Chain)?;
    if kinds.contains(&SectionKind::Certificate) {
        return Ok(());
    }
    if kinds.contains(&SectionKind::Csr) || text.contains("-----BEGIN NEW CERTIFICATE REQUEST") {
        return Err(Fault::Request);
    }
    Err(if text.contains("-----BEGIN") { Fault::NoCertificate } else { Fault::NotPem(Part::Chain) })
}

fn check_key(text: &str) -> Result<(), Fault> {
    // Before the blocks are read, as the base64 of an old-style encrypted key has headers in it.
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(Fault::EncryptedKey);
    }
    let kinds = kinds(text, Part::Key)?;
    let is_key = |kind: &&SectionKind| {
        matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
    };
    match kinds.iter().filter(is_key).count() {
        1 => Ok(()),
        0 if kinds.contains(&SectionKind::PublicKey) => Err(Fault::PublicKey),
        0 if text.contains("-----BEGIN") => Err(Fault::NoKey),
        0 => Err(Fault::NotPem(Part::Key)),
        _ => Err(Fault::SeveralKeys),
    }
}

/// The fault of a text that was read in vain.
fn fault(error: PemError, fullchain: &str) -> Fault {
    match error {
        PemError::NotPem | PemError::Der => Fault::NotPem(Part::Chain),
        PemError::NoCertificate => Fault::NoCertificate,
        PemError::NoKey => Fault::NoKey,
        PemError::EncryptedKey => Fault::EncryptedKey,
        PemError::Certificate { why } => Fault::Unreadable(why),
        PemError::KeyMismatch => unsupported(fullchain).unwrap_or(Fault::OtherKey),
        PemError::UnsupportedKey => unsupported(fullchain).unwrap_or(Fault::KeyType),
        PemError::Expired { not_after } => Fault::Expired(not_after),
        PemError::NotYetValid { not_before } => Fault::NotYetValid(not_before),
        PemError::Unreadable { .. } | PemError::TooLarge | PemError::NoNames => {
            Fault::Unreadable(error.to_string())
        }
    }
}

/// What is wrong with the key of a certificate whose key is not taken, where there is one.
fn unsupported(fullchain: &str) -> Option<Fault> {
    certificates(fullchain).find_map(|der| parse(&der).and_then(|one| check_key_type(&one)).err())
}

fn certificates(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let blocks = <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()).filter_map(Result::ok);
    blocks.filter_map(|(kind, der)| (kind == SectionKind::Certificate).then_some(der))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Fault> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|why| Fault::Unreadable(why.to_string()))?;
    Ok(certificate)
}

/// Fails where a certificate with such a key is not taken.
fn check_key_type(certificate: &X509Certificate<'_>) -> Result<(), Fault> {
    let info = certificate.public_key();
    let algorithm = &info.algorithm;
    if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let taken = curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384);
        return if taken { Ok(()) } else { Err(Fault::KeyType) };
    }
    if algorithm.algorithm != OID_PKCS1_RSAENCRYPTION {
        return if algorithm.algorithm == OID_SIG_ED25519 { Ok(()) } else { Err(Fault::KeyType) };
    }
    match info.parsed().map_err(|why| Fault::Unreadable(why.to_string()))?.key_size() {
        bits if bits < RSA_BITS.0 => Err(Fault::Weak { bits }),
        bits if bits > RSA_BITS.1 => Err(Fault::Long { bits }),
        _ => Ok(()),
    }
}

/// Whether the certificate of `leaf`'s issuer is in the text and is a root, which the chain leaves out.
fn issued_by_a_root(fullchain: &str, leaf: &X509Certificate<'_>) -> bool {
    certificates(fullchain).any(|der| {
        parse(&der).is_ok_and(|other| {
            other.subject().as_raw() == leaf.issuer().as_raw()
                && other.subject().as_raw() == other.issuer().as_raw()
        })
    })
}
