//! Certificates parsed once, ready for any number of handshakes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::X509;
use parking_lot::Mutex;

use super::Error;
use crate::certs::Prepare;
use crate::domain::certificate::{Certificate, Validity};
use crate::domain::hostname::CertificateName;

/// A certificate as OpenSSL wants it. About 7 KiB, as names of one authority share their chain.
pub struct ReadyCertificate {
    /// The leaf.
    pub leaf: X509,
    /// Its private key.
    pub key: PKey<Private>,
    /// The intermediates, shared by all leafs that have the same.
    pub chain: Arc<Chain>,
    /// What its subject alternative names cover.
    pub names: Arc<[CertificateName]>,
    /// From when to when.
    pub validity: Validity,
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

/// Prepares certificates; chains are interned by their DER.
#[derive(Default)]
pub struct Preparer {
    chains: Mutex<HashMap<Vec<Vec<u8>>, Weak<Chain>>>,
}

impl Preparer {
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

    /// Parses `certificate` for OpenSSL.
    pub fn ready(&self, certificate: &Certificate) -> Result<ReadyCertificate, Error> {
        let (leaf, chain) = certificate.chain.split_first().ok_or(Error::EmptyChain)?;
        let leaf = X509::from_der(leaf).map_err(openssl("parse the certificate"))?;
        let key =
            PKey::private_key_from_der(certificate.key.der()).map_err(openssl("parse the private key"))?;
        // OpenSSL itself tells only in a handshake, whose client could not help it.
        let public = leaf.public_key().map_err(openssl("read the certificate's key"))?;
        if !public.public_eq(&key) {
            return Err(Error::OtherKey);
        }
        let names = leaf
            .subject_alt_names()
            .iter()
            .flatten()
            .filter_map(|name| name.dnsname()?.parse().ok())
            .collect();
        Ok(ReadyCertificate { leaf, key, chain: self.chain(chain)?, names, validity: certificate.validity })
    }
}

impl Prepare for Preparer {
    type Ready = ReadyCertificate;

    fn prepare(&self, certificate: &Certificate) -> Result<ReadyCertificate, String> {
        self.ready(certificate).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        })
    }
}

fn openssl(operation: &'static str) -> impl Fn(ErrorStack) -> Error {
    move |source| Error::OpenSsl { operation, source }
}
