//! Revoked certificates in rows.

use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::revocation::{Fingerprint, Reason};
use crate::store::columns::Columns;
use crate::store::operation::Fault;
use crate::store::{Error, Revocation};

/// A row as it is.
pub fn read(row: &impl Columns) -> Result<Revocation, Fault> {
    let name = row.text("name")?;
    Ok(Revocation {
        leaf: row.octets("leaf")?,
        authority: row.maybe_text("authority")?,
        reason: read_reason(&name, row.number("reason")?)?,
        asked_at: UnixTime(row.number("asked_at")?),
        not_after: UnixTime(row.number("not_after")?),
        next: row.maybe_number("next_at")?.map(UnixTime),
        failures: u32::try_from(row.number("failures")?).unwrap_or(u32::MAX),
        report: row.text("report")?,
        name: read_name(&name)?,
    })
}

/// Which one, under which name, since when.
pub fn brief(row: &impl Columns) -> Result<(Fingerprint, CertificateName, UnixTime), Fault> {
    let name = row.text("name")?;
    let fingerprint = read_fingerprint(&name, row.octets("fingerprint")?)?;
    Ok((fingerprint, read_name(&name)?, UnixTime(row.number("asked_at")?)))
}

fn read_name(name: &str) -> Result<CertificateName, Fault> {
    name.parse().map_err(|error| unusable(name, format!("its name is none: {error}")))
}

fn read_reason(name: &str, number: i64) -> Result<Reason, Fault> {
    let reason = Reason::ALL.into_iter().find(|reason| i64::from(reason.number()) == number);
    reason.ok_or_else(|| unusable(name, format!("there is no reason {number}")))
}

fn read_fingerprint(name: &str, octets: Vec<u8>) -> Result<Fingerprint, Fault> {
    let octets = <[u8; 32]>::try_from(octets);
    octets.map(Fingerprint).map_err(|_| unusable(name, "its fingerprint has not 32 octets".to_owned()))
}

fn unusable(name: &str, why: String) -> Fault {
    Error::Record { what: "revocation", of: name.into(), why }.into()
}
