//! Hostnames.

use super::row::unusable;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::{CertificateName, MAX_OCTETS};
use crate::domain::registration::{
    Claim, Proof, Redirect, Registration, Settings, Standing, State, Turn, Via,
};
use crate::store::columns::Columns;
use crate::store::operation::Fault;
use crate::store::records::Listing;

/// What is said of a hostname that nobody has looked at yet.
pub const FRESH: &str = "It has just been registered; its DNS is looked at in a moment.";
/// Shortest part of a name that is found anywhere in it; a shorter text is a beginning.
pub const PART: usize = 3;

/// The settings of a row.
fn settings(row: &impl Columns, name: &str) -> Result<Settings, Fault> {
    let bad = |why: &dyn std::fmt::Display| unusable("hostname", name, why);
    let status = row.maybe_number("redirect_status")?.map(u16::try_from).transpose();
    let redirect = match (row.maybe_text("redirect_to")?, status.map_err(|why| bad(&why))?) {
        (Some(to), Some(status)) => Some(Redirect { to: to.parse().map_err(|why| bad(&why))?, status }),
        _ => None,
    };
    let origin = row.maybe_text("origin")?;
    Ok(Settings {
        origin: origin.map(|origin| origin.parse()).transpose().map_err(|why| bad(&why))?,
        redirect,
        metadata: row.maybe_text("metadata")?.map(Into::into),
    })
}

/// A row as it is.
pub fn registration(row: &impl Columns) -> Result<Registration, Fault> {
    let Listing { id, name, organization, site, via, holder, preview, proof, settings } = listing(row)?;
    let bad = |why: &dyn std::fmt::Display| unusable("hostname", name.as_str(), why);
    let state = row.text("state")?;
    Ok(Registration {
        id,
        organization,
        site,
        via,
        holder,
        preview,
        proof,
        settings,
        standing: Standing {
            state: State::of(&state).ok_or_else(|| bad(&unknown(&state)))?,
            reason: row.text("reason")?,
            diagnosis: row.maybe_text("diagnosis")?,
            looks: u32::try_from(row.number("looks")?).map_err(|why| bad(&why))?,
            looked_at: row.maybe_number("looked_at")?.map(UnixTime),
            look_at: UnixTime(row.number("look_at")?),
        },
        turn: Turn { asked: row.number("asked")?, kept: row.number("kept")? },
        version: row.number("version")?,
        created_at: UnixTime(row.number("created_at")?),
        updated_at: UnixTime(row.number("updated_at")?),
        name,
    })
}

fn unknown(word: &str) -> String {
    format!("the word {word:?} is unknown to this version")
}

/// A row as routing needs it.
pub fn listing(row: &impl Columns) -> Result<Listing, Fault> {
    let name = row.text("name")?;
    let bad = |why: &dyn std::fmt::Display| unusable("hostname", &name, why);
    let via = row.text("via")?;
    Ok(Listing {
        id: row.number("id")?,
        organization: row.text("organization")?.parse().map_err(|why| bad(&why))?,
        site: row.text("site")?.parse().map_err(|why| bad(&why))?,
        via: Via::of(&via).ok_or_else(|| bad(&unknown(&via)))?,
        holder: row.flag("holder")?,
        preview: row.text("preview")?,
        proof: row.text("proof")?,
        settings: settings(row, &name)?,
        name: name.parse().map_err(|why| bad(&why))?,
    })
}

/// A row of claims on `name`, in the columns `organization`, `proof` and `since`.
pub fn claim(row: &impl Columns, name: &str) -> Result<Claim, Fault> {
    let bad = |why: &dyn std::fmt::Display| unusable("claim", name, why);
    let proof = row.text("proof")?;
    Ok(Claim {
        organization: row.text("organization")?.parse().map_err(|why| bad(&why))?,
        proof: Proof::of(&proof).ok_or_else(|| bad(&format!("its proof {proof:?} is unknown")))?,
        since: UnixTime(row.number("since")?),
    })
}

/// The wildcard that covers `name`, if any: whoever has it has what it covers.
pub fn wildcard_above(name: &CertificateName) -> Option<String> {
    let wildcard = CertificateName::wildcard_of(&name.hostname()?)?;
    Some(wildcard.to_string())
}

/// Whether a name can have this text in it at all.
pub fn possible(text: &str) -> bool {
    text.len() <= MAX_OCTETS + "*.".len() && text.bytes().all(|octet| octet.is_ascii_graphic())
}
