//! Certificates from PEM text (RFC 7468): leaf, chain and key, in any order.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair,
};
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::PemError;
use crate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;

/// Largest PEM text that is read, in octets; a certificate with its chain has some thousand.
pub const MAX_OCTETS: u64 = 1 << 20;
/// Some editors begin a text with it (in UTF-8), and it would hide the first block.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// A leaf with its chain and its private key, which belongs to it.
#[derive(Clone, Debug)]
pub struct Pair {
    /// DNS names of the subject alternative name (RFC 5280 §4.2.1.6) that can be served, each
    /// once, in their order; may be empty.
    pub names: Vec<CertificateName>,
    /// DER, leaf first, each followed by its issuer as far as it was found; no root.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's private key.
    pub key: PrivateKey,
    /// Its type.
    pub key_type: KeyType,
    /// The leaf's validity.
    pub validity: Validity,
}

impl Pair {
    /// Fails with [`PemError::Expired`] or [`PemError::NotYetValid`] unless it is valid at `now`.
    pub fn check_validity(&self, now: UnixTime) -> Result<(), PemError> {
        if now > self.validity.not_after {
            return Err(PemError::Expired { not_after: self.validity.not_after });
        }
        if now < self.validity.not_before {
            return Err(PemError::NotYetValid { not_before: self.validity.not_before });
        }
        Ok(())
    }

    /// One certificate for each name, from `source`; none where it has no names.
    pub fn certificates(&self, source: &Source) -> Vec<Certificate> {
        let of = |name: &CertificateName| Certificate {
            name: name.clone(),
            chain: self.chain.clone(),
            key: self.key.clone(),
            key_type: self.key_type,
            validity: self.validity,
            source: source.clone(),
        };
        self.names.iter().map(of).collect()
    }
}

/// Reads a text with leaf, chain and key, in any order of blocks, as haproxy keeps them: one
/// certificate for each name, all with the same chain and key, marked as imported.
///
/// Fails unless the leaf is valid at `now` and has a name that can be served.
pub fn read(text: &[u8], now: UnixTime) -> Result<Vec<Certificate>, PemError> {
    named(&read_pair(text)?, now, &Source::Imported)
}

/// Reads a certificate file (leaf and chain) and its key file, which may be the same one; marked
/// as from files. Fails as [`read`] does.
///
/// This blocks on the disk.
pub fn read_files(certificate: &Path, key: &Path, now: UnixTime) -> Result<Vec<Certificate>, PemError> {
    named(&read_pair_of_files(certificate, key)?, now, &Source::File)
}

/// As [`read_files`], at whatever time and with whatever names.
pub fn read_pair_of_files(certificate: &Path, key: &Path) -> Result<Pair, PemError> {
    let mut text = read_file(certificate)?;
    if certificate != key {
        let mut both = Zeroizing::new(Vec::with_capacity(text.len() + 1 + MAX_OCTETS as usize));
        both.extend_from_slice(&text);
        both.push(b'\n');
        both.extend_from_slice(&read_file(key)?);
        text = both;
    }
    read_pair(&text)
}

/// Reads a file of at most [`MAX_OCTETS`].
pub fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let unreadable = |source| PemError::Unreadable { path: path.to_string_lossy().into(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Sized in advance, so that growing leaves no copy of a key behind.
    let length = file.metadata().map_err(unreadable)?.len().min(MAX_OCTETS);
    let mut text = Zeroizing::new(Vec::with_capacity(length as usize + 64));
    file.take(MAX_OCTETS + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_OCTETS {
        return Err(PemError::TooLarge);
    }
    // Before another text may be put before it.
    if text.starts_with(MARK) {
        text.drain(..MARK.len());
    }
    Ok(text)
}

/// Reads leaf, chain and key from one text, in any order of blocks, at whatever time.
///
/// The leaf is the certificate that the key belongs to. The chain is put into order by issuer and
/// subject; certificates that do not belong to it, and a root, are left out.
pub fn read_pair(text: &[u8]) -> Result<Pair, PemError> {
    let blocks = Blocks::of(text)?;
    let parsed: Vec<X509Certificate<'_>> =
        blocks.certificates.iter().map(|der| parse(der)).collect::<Result<_, _>>()?;
    let (leaf, key, key_type) = matching(&parsed, &blocks.keys)?;
    let chain = chain_from(leaf, &parsed);
    let validity = parsed[leaf].validity();
    Ok(Pair {
        names: names_of(&parsed[leaf]),
        key,
        key_type,
        validity: Validity {
            not_before: UnixTime(validity.not_before.timestamp()),
            not_after: UnixTime(validity.not_after.timestamp()),
        },
        chain: chain.into_iter().map(|index| blocks.certificates[index].clone()).collect(),
    })
}

/// How many certificates in a text have their private key in it too.
pub fn count_pairs(text: &[u8]) -> Result<usize, PemError> {
    let blocks = Blocks::of(text)?;
    let mut pairs = 0;
    for der in &blocks.certificates {
        let certificate = [parse(der)?];
        pairs += usize::from(matching(&certificate, &blocks.keys).is_ok());
    }
    Ok(pairs)
}

fn named(pair: &Pair, now: UnixTime, source: &Source) -> Result<Vec<Certificate>, PemError> {
    pair.check_validity(now)?;
    if pair.names.is_empty() {
        return Err(PemError::NoNames);
    }
    Ok(pair.certificates(source))
}

/// What of a PEM text matters here; other kinds of blocks (DH parameters, …) are passed over.
struct Blocks {
    certificates: Vec<Vec<u8>>,
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl Blocks {
    fn of(text: &[u8]) -> Result<Self, PemError> {
        let mut blocks = Self { certificates: Vec::new(), keys: Vec::new() };
        // A SEQUENCE of 256 octets or more, as every certificate is.
        if text.starts_with(&[0x30, 0x82]) {
            return Err(PemError::Der);
        }
        let text = text.strip_prefix(MARK).unwrap_or(text);
        // Before the blocks are read, as the base64 of an old-style encrypted key has headers in it.
        if contains(text, b"-----BEGIN ENCRYPTED PRIVATE KEY") || contains(text, b"Proc-Type: 4,ENCRYPTED") {
            return Err(PemError::EncryptedKey);
        }
        for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
            match block.map_err(|_| PemError::NotPem)? {
                (SectionKind::Certificate, der) if !blocks.certificates.contains(&der) => {
                    blocks.certificates.push(der);
                }
                (SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey, der) => {
                    blocks.keys.push(Zeroizing::new(der));
                }
                _ => {}
            }
        }
        if blocks.certificates.is_empty() {
            return Err(PemError::NoCertificate);
        }
        if blocks.keys.is_empty() {
            return Err(PemError::NoKey);
        }
        Ok(blocks)
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PemError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(PemError::Certificate { why: "octets follow its end".into() }),
        Err(error) => Err(PemError::Certificate { why: error.to_string() }),
    }
}

/// The first key that belongs to one of the certificates, and that certificate's index.
fn matching(
    parsed: &[X509Certificate<'_>],
    keys: &[Zeroizing<Vec<u8>>],
) -> Result<(usize, PrivateKey, KeyType), PemError> {
    let mut supported = false;
    for (index, certificate) in parsed.iter().enumerate() {
        let info = certificate.public_key();
        let Some(algorithm) = Algorithm::of(info) else { continue };
        supported = true;
        for key in keys {
            match algorithm.key_pair(key) {
                Some((public, private)) if public == *info.subject_public_key.data => {
                    return Ok((index, private, algorithm.key_type()));
                }
                _ => {}
            }
        }
    }
    Err(if supported { PemError::KeyMismatch } else { PemError::UnsupportedKey })
}

/// Algorithm of a public key that can be served.
enum Algorithm {
    Ecdsa(&'static EcdsaSigningAlgorithm, KeyType),
    Rsa(KeyType),
    Ed25519,
}

impl Algorithm {
    /// `None` for one that cannot be served.
    fn of(info: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let algorithm = &info.algorithm.algorithm;
        if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
            if curve == OID_EC_P256 {
                return Some(Self::Ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, KeyType::P256));
            }
            return (curve == OID_NIST_EC_P384)
                .then_some(Self::Ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, KeyType::P384));
        }
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            let bits = info.parsed().ok()?.key_size();
            return (2048..=8192).contains(&bits).then_some(Self::Rsa(match bits {
                2048 => KeyType::Rsa2048,
                _ => KeyType::Rsa,
            }));
        }
        (*algorithm == OID_SIG_ED25519).then_some(Self::Ed25519)
    }

    fn key_type(&self) -> KeyType {
        match self {
            Self::Ecdsa(_, key_type) | Self::Rsa(key_type) => *key_type,
            Self::Ed25519 => KeyType::Ed25519,
        }
    }

    /// The public key as it stands in a certificate, and the private key as OpenSSL takes it;
    /// `None` where `der` is no private key of this algorithm.
    fn key_pair(&self, der: &[u8]) -> Option<(Vec<u8>, PrivateKey)> {
        let as_it_is = || PrivateKey::from_der(der.to_vec());
        match self {
            Self::Ecdsa(algorithm, _) => {
                let pair = EcdsaKeyPair::from_private_key_der(algorithm, der).ok()?;
                Some((pair.public_key().as_ref().to_vec(), as_it_is()))
            }
            Self::Rsa(_) => {
                let pair = rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der)).ok()?;
                Some((pair.public_key().as_ref().to_vec(), as_it_is()))
            }
            Self::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
                // OpenSSL does not read version 2, which has the public key too (RFC 5958 §2).
                let version_1 = pair.to_pkcs8v1().ok()?;
                let private = PrivateKey::from_der(version_1.as_ref().to_vec());
                Some((pair.public_key().as_ref().to_vec(), private))
            }
        }
    }
}

/// Names that no client can ask for, such as `a_b.test`, are left out: the others are good.
fn names_of(leaf: &X509Certificate<'_>) -> Vec<CertificateName> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return Vec::new() };
    let mut names: Vec<CertificateName> = Vec::new();
    for name in &extension.value.general_names {
        let GeneralName::DNSName(text) = name else { continue };
        match text.parse() {
            Ok(name) if !names.contains(&name) => names.push(name),
            _ => {}
        }
    }
    names
}

/// Indexes of leaf, its issuer, that one's issuer and so on, as far as they are there.
fn chain_from(leaf: usize, parsed: &[X509Certificate<'_>]) -> Vec<usize> {
    let mut chain = vec![leaf];
    let mut last = leaf;
    while let Some(issuer) = issuer_of(&parsed[last], parsed).filter(|issuer| !chain.contains(issuer)) {
        chain.push(issuer);
        last = issuer;
    }
    chain
}

/// Of several with the right subject, the one whose key identifier is the wanted one.
fn issuer_of(certificate: &X509Certificate<'_>, parsed: &[X509Certificate<'_>]) -> Option<usize> {
    let wanted = authority_key_identifier(certificate);
    let mut fitting = parsed.iter().enumerate().filter(|(_, candidate)| {
        // A root is left out: whoever trusts it has it.
        candidate.subject().as_raw() == certificate.issuer().as_raw()
            && candidate.subject().as_raw() != candidate.issuer().as_raw()
    });
    let first = fitting.clone().next();
    let exact =
        fitting.find(|(_, candidate)| wanted.is_some() && subject_key_identifier(candidate) == wanted);
    exact.or(first).map(|(index, _)| index)
}

fn authority_key_identifier<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => {
            identifier.key_identifier.as_ref().map(|identifier| identifier.0)
        }
        _ => None,
    })
}

fn subject_key_identifier<'a>(certificate: &X509Certificate<'a>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
        _ => None,
    })
}
