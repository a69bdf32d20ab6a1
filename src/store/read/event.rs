//! Events.

use super::row::unusable;
use crate::domain::clock::UnixTime;
use crate::domain::event::{Event, EventKind};
use crate::store::columns::Columns;
use crate::store::operation::Fault;
use crate::store::records::HourCount;

/// A row as it is.
pub fn event(row: &impl Columns) -> Result<Event, Fault> {
    let id = row.number("id")?;
    let bad = |why: &dyn std::fmt::Display| unusable("event", &id.to_string(), why);
    let (organization, kind) = (row.text("organization")?, row.text("kind")?);
    let (site, hostname) = (row.maybe_text("site")?, row.maybe_text("hostname")?);
    Ok(Event {
        id,
        at: UnixTime(row.number("at")?),
        organization: Some(organization)
            .filter(|organization| !organization.is_empty())
            .map(|organization| organization.parse())
            .transpose()
            .map_err(|why| bad(&why))?,
        site: site.map(|site| site.parse()).transpose().map_err(|why| bad(&why))?,
        hostname: hostname.map(|name| name.parse()).transpose().map_err(|why| bad(&why))?,
        kind: EventKind::of(&kind)
            .ok_or_else(|| bad(&format!("its kind {kind:?} is unknown to this version")))?,
        actor: row.maybe_text("actor")?,
        detail: serde_json::from_str(&row.text("detail")?).map_err(|why| bad(&why))?,
    })
}

/// A row of orders by the hour: the hour, the kind, how many.
pub fn hour_count((hour, kind, count): (i64, String, i64)) -> Result<HourCount, Fault> {
    let kind = EventKind::of(&kind).ok_or_else(|| unusable("event", &kind, "its kind is unknown"))?;
    Ok(HourCount { hour: UnixTime(hour), kind, count: count.unsigned_abs() })
}
