//! Certificates parsed once, ready for any number of handshakes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::{X509, X509Ref};
use parking_lot::Mutex;

use super::Error;
use super::ocsp::{Staples, Stapling};
use crate::certs::{Prepare, in_full};
use crate::domain::certificate::{Certificate, Validity};
use crate::domain::hostname::CertificateName;

/// A certificate as OpenSSL wants it. About 7 KiB, as names of one authority share their chain.
pub struct ReadyCertificate {
    /// The certificate, or the one of several that most clients take.
    pub first: Credential,
    /// The others, each of another family of keys. Seldom any.
    pub others: Box<[Credential]>,
    /// What the subject alternative names of each of them cover.
    pub names: Arc<[CertificateName]>,
    /// When all of them are valid.
    pub validity: Validity,
}

/// A leaf with what it takes to present it.
pub struct Credential {
    /// The leaf.
    pub leaf: X509,
    /// Its private key.
    pub key: PKey<Private>,
    /// The intermediates, shared by all leafs that have the same.
    pub chain: Arc<Chain>,
    /// What its OCSP responder says, where it names one.
    pub stapling: Option<Arc<Stapling>>,
}

impl fmt::Debug for ReadyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The certificates between a leaf and its root, in order.
pub struct Chain {
    /// As OpenSSL takes them.
    pub certificates: Stack<X509>,
}

impl ReadyCertificate {
    /// The OCSP response of the certificate that was chosen, as it is at hand.
    pub fn staple_of(&self, chosen: &X509Ref) -> Option<Arc<Vec<u8>>> {
        let mut all = std::iter::once(&self.first).chain(&self.others);
        // OpenSSL holds the very object that it was given.
        let of_it = all.find(|one| std::ptr::eq(&*one.leaf, chosen))?;
        of_it.stapling.as_ref()?.response()
    }
}

/// Prepares certificates; chains are interned by their DER.
#[derive(Default)]
pub struct Preparer {
    chains: Mutex<HashMap<Vec<Vec<u8>>, Weak<Chain>>>,
    staples: Arc<Staples>,
}

impl Preparer {
    /// One whose certificates are among `staples`, so that their OCSP responders are asked.
    pub fn new(staples: Arc<Staples>) -> Self {
        Self { chains: Mutex::default(), staples }
    }

    fn chain(&self, der: &[Vec<u8>]) -> Result<Arc<Chain>, Error> {
        if let Some(known) = self.chains.lock().get(der).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let mut certificates = Stack::new().map_err(openssl("make a chain"))?;
        for certificate in der {
            let parsed = X509::from_der(certificate).map_err(openssl("parse an intermediate certificate"))?;
            certificates.push(parsed).map_err(openssl("make a chain"))?;
        }
        let chain = Arc::new(Chain { certificates });
        let mut chains = self.chains.lock();
        chains.retain(|_, kept| kept.strong_count() > 0);
        chains.insert(der.to_vec(), Arc::downgrade(&chain));
        Ok(chain)
    }

    /// Parses certificates of one name for OpenSSL.
    pub fn ready(&self, certificates: &[&Certificate]) -> Result<ReadyCertificate, Error> {
        let (first, rest) = certificates.split_first().ok_or(Error::EmptyChain)?;
        let validity = rest.iter().fold(first.validity, |both, one| both.within(one.validity));
        let first = self.credential(first)?;
        let others: Box<[_]> =
            rest.iter().map(|certificate| self.credential(certificate)).collect::<Result<_, _>>()?;
        let names = others.iter().fold(first.names(), |names, other| common(&names, &other.names()));
        Ok(ReadyCertificate { first, others, names: names.into(), validity })
    }

    fn credential(&self, certificate: &Certificate) -> Result<Credential, Error> {
        let (leaf, chain) = certificate.chain.split_first().ok_or(Error::EmptyChain)?;
        let leaf = X509::from_der(leaf).map_err(openssl("parse the certificate"))?;
        let key =
            PKey::private_key_from_der(certificate.key.der()).map_err(openssl("parse the private key"))?;
        // OpenSSL itself tells only in a handshake, whose client could not help it.
        let public = leaf.public_key().map_err(openssl("read the certificate's key"))?;
        if !public.public_eq(&key) {
            return Err(Error::OtherKey);
        }
        let chain = self.chain(chain)?;
        let stapling = self.staples.of(&leaf, chain.certificates.iter().next());
        Ok(Credential { leaf, key, chain, stapling })
    }
}

impl Credential {
    fn names(&self) -> Vec<CertificateName> {
        let names = self.leaf.subject_alt_names();
        names.iter().flatten().filter_map(|name| name.dnsname()?.parse().ok()).collect()
    }
}

/// Those of `one` that `other` covers, and the reverse.
fn common(one: &[CertificateName], other: &[CertificateName]) -> Vec<CertificateName> {
    let within =
        |name: &CertificateName, names: &[CertificateName]| names.iter().any(|wide| wide.includes(name));
    let mut both: Vec<CertificateName> = one.iter().filter(|name| within(name, other)).cloned().collect();
    for name in other.iter().filter(|name| within(name, one)) {
        if !both.contains(name) {
            both.push(name.clone());
        }
    }
    both
}

impl Prepare for Preparer {
    type Ready = ReadyCertificate;

    fn prepare(&self, certificates: &[&Certificate]) -> Result<ReadyCertificate, String> {
        self.ready(certificates).map_err(|error| in_full(&error))
    }
}

fn openssl(operation: &'static str) -> impl Fn(ErrorStack) -> Error {
    move |source| Error::OpenSsl { operation, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_two_certificates_are_those_that_both_cover() {
        let names = |list: &[&str]| list.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
        let both =
            common(&names(&["*.a.test", "b.test", "c.test"]), &names(&["x.a.test", "b.test", "d.test"]));
        assert_eq!(both, names(&["b.test", "x.a.test"]));
    }
}
