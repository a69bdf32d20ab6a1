//! Certificates in rows.

use std::sync::Arc;

use serde_json::{Value, json};

use super::sealed;
use crate::domain::certificate::{Certificate, PrivateKey, Source, Validity};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::renewal::{self, Window};
use crate::store::columns::Columns;
use crate::store::operation::Fault;
use crate::store::record::{
    chain_octets, key_type_word, read_chain, read_key_type, read_source, source_text,
};
use crate::store::records::CertificateFacts;
use crate::store::seal::SealingKey;
use crate::store::{Error, RenewalState};

/// A certificate as it goes into its row.
pub struct Values {
    /// What it is filed under.
    pub name: String,
    /// Leaf first, as octets.
    pub chain: Vec<u8>,
    /// The private key.
    pub sealed_key: Vec<u8>,
    /// The word of its type.
    pub key_type: String,
    /// When it is valid.
    pub validity: Validity,
    /// Where it is from, as JSON.
    pub source: String,
    /// When it is filed.
    pub saved_at: UnixTime,
    /// When it is renewed.
    pub renewal: Renewal,
}

/// When a certificate is renewed.
pub struct Renewal {
    /// From then on.
    pub renew_at: UnixTime,
    /// From then on that is late.
    pub late_at: UnixTime,
    /// When its authority is asked for renewal information; `None`: never.
    pub ask_at: Option<UnixTime>,
}

impl Renewal {
    /// Of one that is filed at `now`.
    pub fn of(source: &Source, validity: Validity, now: UnixTime) -> Self {
        let renew_at = renewal::due(source, validity, now, rand::random());
        let from_authority = matches!(source, Source::Authority(_));
        Self { renew_at, late_at: renewal::late(renew_at, validity), ask_at: from_authority.then_some(now) }
    }
}

impl Values {
    /// Of a certificate that is filed at `now`.
    pub fn of(key: &SealingKey, now: UnixTime, certificate: &Certificate) -> Result<Self, Error> {
        let name = &certificate.name;
        let unusable = |why| unusable(name, why);
        let chain = chain_octets(&certificate.chain);
        Ok(Self {
            name: name.as_str().to_owned(),
            sealed_key: key.seal(sealed::certificate(name.as_str(), &chain), certificate.key.der()),
            chain,
            key_type: key_type_word(certificate.key_type).map_err(unusable)?,
            validity: certificate.validity,
            source: source_text(&certificate.source).map_err(unusable)?,
            saved_at: now,
            renewal: Renewal::of(&certificate.source, certificate.validity, now),
        })
    }
}

/// The certificate of a row, whole.
pub fn read(key: &SealingKey, name: &CertificateName, row: &impl Columns) -> Result<Certificate, Error> {
    let unusable = |why| unusable(name, why);
    let damaged = |error: sqlx::Error| unusable(format!("a column cannot be read: {error}"));
    let chain = row.octets("chain").map_err(damaged)?;
    let sealed_key = row.octets("sealed_key").map_err(damaged)?;
    let mut opened = key.open(sealed::certificate(name.as_str(), &chain), &sealed_key)?;
    Ok(Certificate {
        name: name.clone(),
        chain: read_chain(&chain).map_err(unusable)?,
        key: PrivateKey::from_der(std::mem::take(&mut *opened)),
        key_type: read_key_type(&row.text("key_type").map_err(damaged)?).map_err(unusable)?,
        validity: Validity {
            not_before: UnixTime(row.number("not_before").map_err(damaged)?),
            not_after: UnixTime(row.number("not_after").map_err(damaged)?),
        },
        source: read_source(&row.text("source").map_err(damaged)?).map_err(unusable)?,
    })
}

/// Whether `row` holds this certificate as it is, key and all: a damaged one does not.
pub fn holds(key: &SealingKey, row: &impl Columns, certificate: &Certificate) -> Result<bool, sqlx::Error> {
    let (name, chain) = (row.text("name")?, row.octets("chain")?);
    if certificate.name.as_str() != name || chain_octets(&certificate.chain) != chain {
        return Ok(false);
    }
    let opened = key.open(sealed::certificate(&name, &chain), &row.octets("sealed_key")?);
    Ok(opened.is_ok_and(|opened| opened.as_slice() == certificate.key.der()))
}

/// A row as it is shown, without its key.
pub fn facts(row: &impl Columns) -> Result<CertificateFacts, Fault> {
    let name = row.text("name")?;
    let bad = |why: String| Error::Record { what: "certificate", of: name.as_str().into(), why };
    Ok(CertificateFacts {
        source: read_source(&row.text("source")?).map_err(bad)?,
        key_type: read_key_type(&row.text("key_type")?).map_err(bad)?,
        validity: Validity {
            not_before: UnixTime(row.number("not_before")?),
            not_after: UnixTime(row.number("not_after")?),
        },
        renew_at: row.maybe_number("renew_at")?.map(UnixTime),
        parked: row.maybe_text("parked")?,
        name: name.parse().map_err(|error| bad(format!("{error}")))?,
    })
}

/// What a row knows about its renewal.
pub fn renewal_state(row: &impl Columns) -> Result<RenewalState, sqlx::Error> {
    let (start, end) = (row.maybe_number("window_start")?, row.maybe_number("window_end")?);
    Ok(RenewalState {
        saved_at: UnixTime(row.number("saved_at")?),
        due: UnixTime(row.number("renew_at")?),
        late_at: UnixTime(row.number("late_at")?),
        window: start.zip(end).and_then(|(start, end)| Window::new(UnixTime(start), UnixTime(end))),
        early: u32::try_from(row.number("early")?).unwrap_or(u32::MAX),
        parked: row.maybe_text("parked")?,
    })
}

/// When one is renewed that is found again at `now` after it was withheld.
pub fn renewal_of(row: &impl Columns, name: &CertificateName, now: UnixTime) -> Result<Renewal, Fault> {
    let (not_before, not_after) = (row.number("not_before")?, row.number("not_after")?);
    let validity = Validity { not_before: UnixTime(not_before), not_after: UnixTime(not_after) };
    let source = read_source(&row.text("source")?).map_err(|why| unusable(name, why))?;
    Ok(Renewal::of(&source, validity, now))
}

/// A certificate as an event tells of it.
pub fn told(certificate: &Certificate) -> Value {
    let authority = match &certificate.source {
        Source::Authority(authority) => Some(authority.to_string()),
        _ => None,
    };
    json!({ "not_after": certificate.validity.not_after.to_string(), "authority": authority })
}

fn unusable(name: &CertificateName, why: String) -> Error {
    Error::Record { what: "certificate", of: Arc::from(name.as_str()), why }
}
