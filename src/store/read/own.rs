//! Certificates that organizations bring, in rows.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::sealed;
use crate::domain::certificate::{Certificate, KeyFamily, PrivateKey, Source, Validity};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::renewal;
use crate::domain::revocation::Fingerprint;
use crate::store::Error;
use crate::store::columns::Columns;
use crate::store::operation::Fault;
use crate::store::own::Stamp;
use crate::store::record::{chain_octets, key_type_word, read_chain, read_key_type};
use crate::store::records::CertificateFacts;
use crate::store::seal::SealingKey;

/// An own certificate as it goes into its row.
pub struct Values {
    /// Its row's name.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub organization: String,
    /// The word of its family of keys.
    pub family: &'static str,
    /// Of its leaf.
    pub fingerprint: Fingerprint,
    /// Leaf first, as octets.
    pub chain: Vec<u8>,
    /// The private key.
    pub sealed_key: Vec<u8>,
    /// The word of its type.
    pub key_type: String,
    /// When it is valid.
    pub validity: Validity,
    /// When another one is tried for, and somebody is told that it ends.
    pub fall_back_at: UnixTime,
}

impl Values {
    /// Of what an organization brings.
    pub fn of(key: &SealingKey, organization: &str, certificate: &Certificate) -> Result<Self, Error> {
        let id = id(&certificate.name, organization, certificate.key_type.family());
        let Some(leaf) = certificate.chain.first() else { return Err(unusable(&id, "its chain is empty")) };
        let chain = chain_octets(&certificate.chain);
        Ok(Self {
            name: certificate.name.as_str().to_owned(),
            organization: organization.to_owned(),
            family: certificate.key_type.family().word(),
            fingerprint: Fingerprint::of(leaf),
            sealed_key: key.seal(sealed::own_certificate(&id, &chain), certificate.key.der()),
            key_type: key_type_word(certificate.key_type).map_err(|why| unusable(&id, why))?,
            validity: certificate.validity,
            fall_back_at: renewal::fall_back(certificate.validity),
            chain,
            id,
        })
    }
}

fn id(name: &CertificateName, organization: &str, family: KeyFamily) -> String {
    format!("{name} {organization} {}", family.word())
}

/// The certificate of a row, whole.
pub fn read(key: &SealingKey, row: &impl Columns) -> Result<Certificate, Fault> {
    let id = row.text("id")?;
    let damaged = |error: sqlx::Error| unusable(&id, format!("a column cannot be read: {error}"));
    let chain = row.octets("chain").map_err(damaged)?;
    let sealed_key = row.octets("sealed_key").map_err(damaged)?;
    let mut opened = key.open(sealed::own_certificate(&id, &chain), &sealed_key).map_err(Error::from)?;
    let facts = facts(row)?;
    Ok(Certificate {
        chain: read_chain(&chain).map_err(|why| unusable(&id, why))?,
        key: PrivateKey::from_der(std::mem::take(&mut *opened)),
        name: facts.name,
        key_type: facts.key_type,
        validity: facts.validity,
        source: facts.source,
    })
}

/// A row as it is shown, without its key.
pub fn facts(row: &impl Columns) -> Result<CertificateFacts, Fault> {
    let id = row.text("id")?;
    Ok(CertificateFacts {
        name: row.text("name")?.parse().map_err(|why| unusable(&id, why))?,
        source: Source::Own(row.text("organization")?),
        key_type: read_key_type(&row.text("key_type")?).map_err(|why| unusable(&id, why))?,
        validity: Validity {
            not_before: UnixTime(row.number("not_before")?),
            not_after: UnixTime(row.number("not_after")?),
        },
        renew_at: None,
        parked: None,
    })
}

/// Whether a row is damaged for good. One that the TLS library does not take is not: its owner sees it
/// listed.
pub fn is_damaged(key: &SealingKey, row: &impl Columns) -> Result<bool, Fault> {
    match read(key, row) {
        Ok(_) => Ok(false),
        Err(Fault::Store(error)) => Ok(error.is_of_the_record()),
        Err(fault) => Err(fault),
    }
}

/// What tells the own certificates of each name apart.
///
/// - `rows`: of each its name, its fingerprint and the length of its chain
pub fn stamps(rows: Vec<(String, Vec<u8>, i64)>) -> HashMap<CertificateName, Stamp> {
    let mut names: HashMap<CertificateName, Stamp> = HashMap::new();
    for (name, fingerprint, chain) in rows {
        match name.parse() {
            Ok(name) => names.entry(name).or_default().add(&fingerprint, chain.unsigned_abs()),
            Err(error) => tracing::error!(?name, %error, "a stored certificate has no valid name"),
        }
    }
    names
}

/// A change: its number, and the name it is about.
pub fn change((number, name): (i64, String)) -> Result<(i64, CertificateName), Fault> {
    let name = name.parse().map_err(|why| unusable(&name, format!("its name: {why}")))?;
    Ok((number, name))
}

/// An own certificate as an event tells of it.
pub fn told(certificate: &Certificate) -> Result<Value, Error> {
    let unusable = |why: String| unusable(certificate.name.as_str(), why);
    let key_type = key_type_word(certificate.key_type).map_err(unusable)?;
    Ok(json!({ "key_type": key_type, "not_after": certificate.validity.not_after.to_string() }))
}

fn unusable(id: &str, why: impl ToString) -> Error {
    Error::Record { what: "own certificate", of: id.into(), why: why.to_string() }
}
