//! Unfinished orders in rows.

use std::time::Duration;

use super::sealed;
use crate::domain::certificate::PrivateKey;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::columns::Columns;
use crate::store::operation::Fault;
use crate::store::record::{key_type_word, read_key_type};
use crate::store::seal::SealingKey;
use crate::store::{Error, Health, UnfinishedOrder};

/// How long an order stays noted: longer than any limit of an authority counts.
pub const KEPT: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// How an authority does.
pub fn health(row: &impl Columns) -> Result<Health, sqlx::Error> {
    Ok(Health {
        failures: u32::try_from(row.number("failures")?).unwrap_or(u32::MAX),
        closed_until: UnixTime(row.number("closed_until")?),
        reason: row.text("reason")?,
    })
}

/// An order's key as it is kept, and its type's word.
pub fn seal(
    key: &SealingKey,
    name: &CertificateName,
    order: &UnfinishedOrder,
) -> Result<(Vec<u8>, String), Error> {
    let record = sealed::unfinished_order(name.as_str(), order.url.as_bytes());
    let key_type = key_type_word(order.key_type).map_err(|why| unusable(name, why))?;
    Ok((key.seal(record, order.key.der()), key_type))
}

/// A row as it is.
pub fn order(key: &SealingKey, name: &CertificateName, row: &impl Columns) -> Result<UnfinishedOrder, Fault> {
    let url = row.text("url")?;
    let record = sealed::unfinished_order(name.as_str(), url.as_bytes());
    let mut opened = key.open(record, &row.octets("sealed_key")?).map_err(Error::from)?;
    Ok(UnfinishedOrder {
        authority: row.text("authority")?,
        account: u32::try_from(row.number("account")?).unwrap_or(u32::MAX),
        key: PrivateKey::from_der(std::mem::take(&mut *opened)),
        key_type: read_key_type(&row.text("key_type")?).map_err(|why| unusable(name, why))?,
        url,
        placed_at: UnixTime(row.number("placed_at")?),
    })
}

fn unusable(name: &CertificateName, why: String) -> Error {
    Error::Record { what: "unfinished order", of: name.as_str().into(), why }
}
