//! A CA of one's own: a root, an intermediate, and leafs with keys of every kind in every form.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder, X509NameRef};

/// Any key.
pub type Key = PKey<Private>;

pub fn rsa(bits: u32) -> Key {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

pub fn ec(curve: Nid) -> Key {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn p256() -> Key {
    ec(Nid::X9_62_PRIME256V1)
}

pub fn ed25519() -> Key {
    PKey::generate_ed25519().unwrap()
}

/// The key as PKCS#8.
pub fn pkcs8(key: &Key) -> String {
    text(key.private_key_to_pem_pkcs8())
}

/// The key in the form of its kind: PKCS#1 or SEC1.
pub fn of_its_kind(key: &Key) -> String {
    match key.rsa() {
        Ok(rsa) => text(rsa.private_key_to_pem()),
        Err(_) => text(key.ec_key().unwrap().private_key_to_pem()),
    }
}

/// PEM as text.
pub fn text(pem: Result<Vec<u8>, openssl::error::ErrorStack>) -> String {
    String::from_utf8(pem.unwrap()).unwrap()
}

/// The certificate in PEM.
pub fn pem(certificate: &X509) -> String {
    text(certificate.to_pem())
}

/// Its serial number, in hex as clients show it.
pub fn serial(certificate: &X509) -> String {
    certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
}

/// A root, and the intermediate that signs.
pub struct OwnCa {
    pub root: X509,
    pub intermediate: X509,
    pub key: Key,
}

fn name(common: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", common).unwrap();
    name.build()
}

/// From and to when, in seconds from now.
fn builder(key: &Key, subject: &str, issuer: &X509NameRef, (from, to): (i64, i64)) -> X509Builder {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(63, MsbOption::ONE, false).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name(subject)).unwrap();
    builder.set_issuer_name(issuer).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(now + from).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(now + to).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder
}

const YEAR: i64 = 365 * 24 * 60 * 60;

impl OwnCa {
    pub fn new() -> Self {
        let (root_key, key) = (p256(), p256());
        let authority = |key: &Key, subject: &str, issuer: Option<&X509>, signer: &Key| {
            let by = issuer.map_or_else(|| name(subject), |issuer| issuer.subject_name().to_owned().unwrap());
            let mut builder = builder(key, subject, &by, (-YEAR, 10 * YEAR));
            builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
            let context = builder.x509v3_context(issuer.map(|issuer| &**issuer), None);
            let identifier = SubjectKeyIdentifier::new().build(&context).unwrap();
            builder.append_extension(identifier).unwrap();
            builder.sign(signer, MessageDigest::sha256()).unwrap();
            builder.build()
        };
        let root = authority(&root_key, "Own Root", None, &root_key);
        let intermediate = authority(&key, "Own Intermediate", Some(&root), &root_key);
        Self { root, intermediate, key }
    }

    /// Valid from an hour ago for a year.
    pub fn leaf(&self, names: &[&str], key: &Key) -> X509 {
        self.leaf_within(names, key, (-3600, YEAR))
    }

    /// Valid between these seconds from now.
    pub fn leaf_within(&self, names: &[&str], key: &Key, within: (i64, i64)) -> X509 {
        self.leaf_with(names, key, within, |_| {})
    }

    /// The same with more in it.
    pub fn leaf_with(
        &self,
        names: &[&str],
        key: &Key,
        within: (i64, i64),
        more: impl FnOnce(&mut X509Builder),
    ) -> X509 {
        let mut builder = builder(key, "leaf", self.intermediate.subject_name(), within);
        let mut alternative = SubjectAlternativeName::new();
        names.iter().for_each(|name| _ = alternative.dns(name));
        let context = builder.x509v3_context(Some(&self.intermediate), None);
        let alternative = alternative.build(&context).unwrap();
        let identifier = AuthorityKeyIdentifier::new().keyid(false).build(&context).unwrap();
        builder.append_extension(alternative).unwrap();
        builder.append_extension(identifier).unwrap();
        more(&mut builder);
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build()
    }

    /// Leaf and intermediate.
    pub fn fullchain(&self, leaf: &X509) -> String {
        pem(leaf) + &pem(&self.intermediate)
    }
}

/// Its own issuer.
pub fn self_signed(names: &[&str], key: &Key) -> X509 {
    let mut builder = builder(key, "alone", &name("alone"), (-3600, YEAR));
    let mut alternative = SubjectAlternativeName::new();
    names.iter().for_each(|name| _ = alternative.dns(name));
    let context = builder.x509v3_context(None, None);
    let alternative = alternative.build(&context).unwrap();
    builder.append_extension(alternative).unwrap();
    let digest =
        if key.id() == openssl::pkey::Id::ED25519 { MessageDigest::null() } else { MessageDigest::sha256() };
    builder.sign(key, digest).unwrap();
    builder.build()
}
