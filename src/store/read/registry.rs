//! Organizations, tokens and sites.

use super::row::unusable;
use crate::domain::clock::UnixTime;
use crate::domain::site::Origin;
use crate::store::columns::Columns;
use crate::store::operation::Fault;
use crate::store::records::{Organization, StoredSite, Token};

/// A row of organizations as it is.
pub fn organization(row: &impl Columns) -> Result<Organization, Fault> {
    let name = row.text("name")?;
    let bad = |why: &dyn std::fmt::Display| unusable("organization", &name, why);
    let quota = row.maybe_number("quota")?.map(u32::try_from).transpose();
    Ok(Organization {
        quota: quota.map_err(|why| bad(&why))?,
        used: u32::try_from(row.number("used")?).map_err(|why| bad(&why))?,
        created_at: UnixTime(row.number("created_at")?),
        name: name.parse().map_err(|why| bad(&why))?,
    })
}

/// A row of tokens as it is.
pub fn token(row: &impl Columns) -> Result<Token, Fault> {
    let id = row.text("id")?;
    let hash = row.octets("hash")?;
    let hash = hash.try_into().map_err(|_| unusable("token", &id, "its hash has another length than 32"))?;
    Ok(Token {
        reach: row.text("organization")?.parse().map_err(|why| unusable("token", &id, why))?,
        scope: row.text("scope")?.parse().map_err(|why| unusable("token", &id, why))?,
        hash,
        note: row.text("note")?,
        created_at: UnixTime(row.number("created_at")?),
        expires_at: row.maybe_number("expires_at")?.map(UnixTime),
        revoked_at: row.maybe_number("revoked_at")?.map(UnixTime),
        id,
    })
}

/// A row of sites as it is.
pub fn site(row: &impl Columns) -> Result<StoredSite, Fault> {
    let name = row.text("name")?;
    let bad = |why: &dyn std::fmt::Display| unusable("site", &name, why);
    let target = row.maybe_text("cname_target")?;
    let origins: Vec<String> = serde_json::from_str(&row.text("origins")?).map_err(|why| bad(&why))?;
    let origins = origins.iter().map(|origin| origin.parse::<Origin>().map_err(|why| bad(&why)));
    Ok(StoredSite {
        organization: row.text("organization")?.parse().map_err(|why| bad(&why))?,
        origins: origins.collect::<Result<_, _>>()?,
        cname_target: target.map(|target| target.parse()).transpose().map_err(|why| bad(&why))?,
        version: row.number("version")?,
        created_at: UnixTime(row.number("created_at")?),
        updated_at: UnixTime(row.number("updated_at")?),
        name: name.parse().map_err(|why| bad(&why))?,
    })
}

/// The text of the column `origins`.
pub fn origins_text(site: &StoredSite) -> String {
    serde_json::Value::from_iter(site.origins.iter().map(ToString::to_string)).to_string()
}
