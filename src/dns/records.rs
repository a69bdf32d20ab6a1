//! The records of a hostname: those to set, and those that stand there.

use std::net::IpAddr;

use super::diagnosis::{FoundRecord, Leads, Purpose, RecordKind, RecordStatus, WantedRecord};
use super::place::Family;
use super::resolver::Alias;
use super::seen::{Delegation, Ownership, Seen};

/// What the customer has to set, each with how it is now.
pub fn wanted(seen: &Seen) -> Vec<WantedRecord> {
    let mut wanted = Vec::new();
    let (apex, target) = (seen.is_apex(), seen.place.target());
    if let Some(target) = target {
        let kind = if apex { RecordKind::Alias } else { RecordKind::Cname };
        let status = alias_status(seen);
        let flattened = status == RecordStatus::Right && !seen.place.passed_by(&seen.sighting);
        let note = match kind {
            RecordKind::Alias => {
                "Some DNS providers call it ANAME or a flattened CNAME; where yours has none of them, set \
                 the A and AAAA records in its place."
            }
            _ if flattened => "There is no CNAME record, but the addresses are right.",
            _ => "",
        };
        wanted.push(traffic(seen, kind, target.to_string(), status, note));
    }
    if apex || target.is_none() {
        let note = if target.is_some() { "In place of the ALIAS record." } else { "" };
        let record =
            |ip: &IpAddr| traffic(seen, kind_of(*ip), ip.to_string(), address_status(seen, *ip), note);
        wanted.extend(seen.place.addresses().iter().map(record));
    }
    wanted.extend(seen.delegation.as_ref().map(|delegation| challenge(seen, delegation)));
    wanted.extend(seen.ownership.as_ref().map(|ownership| proof(seen, ownership)));
    wanted
}

/// What stands there: aliases, addresses, texts.
pub fn found(seen: &Seen) -> Vec<FoundRecord> {
    let (place, sighting) = (&seen.place, &seen.sighting);
    let shown = |name: &str| if name == sighting.name { seen.name.to_string() } else { name.to_owned() };
    let alias_status = match place.leads(sighting) {
        _ if place.passed_by(sighting) => RecordStatus::Right,
        Leads::Here => RecordStatus::Right,
        Leads::Elsewhere => RecordStatus::Wrong,
        Leads::Unknown => RecordStatus::Unknown,
    };
    let mut found: Vec<FoundRecord> = Vec::new();
    for alias in sighting.trails().flat_map(|trail| &trail.aliases) {
        let (name, value) = (shown(&alias.name), shown(&alias.target));
        if !found.iter().any(|other| other.name == name && other.value == value) {
            found.push(FoundRecord {
                name,
                kind: RecordKind::Cname,
                value,
                ttl: alias.ttl,
                status: alias_status,
            });
        }
    }
    for address in sighting.trails().flat_map(|trail| &trail.addresses) {
        let status = match place.is_ours(address.ip, sighting) {
            Some(true) => RecordStatus::Right,
            Some(false) => RecordStatus::Wrong,
            None => RecordStatus::Unknown,
        };
        let (name, kind, value) = (shown(&address.name), kind_of(address.ip), address.ip.to_string());
        found.push(FoundRecord { name, kind, value, ttl: address.ttl, status });
    }
    found.extend(seen.delegation.iter().flat_map(delegations));
    found.extend(seen.ownership.iter().flat_map(texts));
    found
}

/// `A` or `AAAA`.
pub fn kind_of(ip: IpAddr) -> RecordKind {
    if ip.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa }
}

fn traffic(seen: &Seen, kind: RecordKind, value: String, status: RecordStatus, note: &str) -> WantedRecord {
    let (name, note) = (seen.name.to_string(), note.to_owned());
    WantedRecord { name, kind, value, purpose: Purpose::Traffic, status, note }
}

/// A CNAME record that its provider flattened shows as addresses alone.
fn alias_status(seen: &Seen) -> RecordStatus {
    let (place, sighting) = (&seen.place, &seen.sighting);
    match place.leads(sighting) {
        _ if place.passed_by(sighting) => RecordStatus::Right,
        Leads::Here => RecordStatus::Right,
        Leads::Unknown => RecordStatus::Unknown,
        Leads::Elsewhere if sighting.empty() => RecordStatus::Missing,
        Leads::Elsewhere => RecordStatus::Wrong,
    }
}

fn address_status(seen: &Seen, ip: IpAddr) -> RecordStatus {
    let (place, sighting) = (&seen.place, &seen.sighting);
    let trail = if ip.is_ipv4() { &sighting.ipv4 } else { &sighting.ipv6 };
    let Ok(records) = trail else { return RecordStatus::Unknown };
    let by_alias = place.target().is_some() && place.passed_by(sighting);
    match place.family(trail, sighting) {
        _ if records.addresses.iter().any(|address| address.ip == ip) && !by_alias => RecordStatus::Right,
        Family::Ours => RecordStatus::Unneeded,
        _ if place.leads(sighting) == Leads::Here => RecordStatus::Unneeded,
        Family::Strange => RecordStatus::Wrong,
        Family::Absent if records.aliases.is_empty() => RecordStatus::Missing,
        Family::Absent => RecordStatus::Wrong,
        Family::Unknown => RecordStatus::Unknown,
    }
}

fn proof(seen: &Seen, ownership: &Ownership) -> WantedRecord {
    let by_preview = seen.place.by_preview(&seen.sighting);
    let (status, note) = match (ownership.status(), ownership.old_for, &ownership.found) {
        (RecordStatus::Right, _, _) => (RecordStatus::Right, String::new()),
        _ if by_preview => {
            (RecordStatus::Unneeded, "The CNAME to the preview hostname proves it already.".to_owned())
        }
        (status, Some(seconds), _) => (
            status,
            format!("The zone's name servers have it; an old answer is kept for {seconds} s at most."),
        ),
        (status, None, Err(why)) => (status, format!("It could not be looked up: {why}.")),
        (status, None, Ok(_)) => (status, "It proves that the hostname is yours.".to_owned()),
    };
    WantedRecord {
        name: ownership.name.clone(),
        kind: RecordKind::Txt,
        value: ownership.wanted.clone(),
        purpose: Purpose::Ownership,
        status,
        note,
    }
}

fn challenge(seen: &Seen, delegation: &Delegation) -> WantedRecord {
    let status = delegation.status();
    let note = match (&delegation.found, status) {
        (Err(why), _) => format!("It could not be looked up: {why}."),
        (Ok(_), RecordStatus::Right) => {
            "The certificate is obtained and renewed by it, wherever the name itself leads.".to_owned()
        }
        (Ok(_), _) if seen.name.is_wildcard() => {
            "A wildcard's certificate can be obtained by it alone.".to_owned()
        }
        (Ok(_), _) => {
            "Not needed. With it the certificate is obtained before the name itself leads here.".to_owned()
        }
    };
    WantedRecord {
        name: delegation.name.clone(),
        kind: RecordKind::Cname,
        value: delegation.wanted.clone(),
        purpose: Purpose::Challenge,
        status,
        note,
    }
}

fn delegations(delegation: &Delegation) -> Vec<FoundRecord> {
    let record = |alias: &Alias| FoundRecord {
        name: alias.name.clone(),
        kind: RecordKind::Cname,
        value: alias.target.clone(),
        ttl: alias.ttl,
        status: delegation.status(),
    };
    delegation.found.iter().flatten().map(record).collect()
}

fn texts(ownership: &Ownership) -> Vec<FoundRecord> {
    let Ok(found) = &ownership.found else { return Vec::new() };
    let status = |text: &str| match ownership.status() {
        RecordStatus::Right if text == ownership.wanted => RecordStatus::Right,
        RecordStatus::Right => RecordStatus::Unneeded,
        other => other,
    };
    let record = |(text, ttl): &(String, u32)| FoundRecord {
        name: ownership.name.clone(),
        kind: RecordKind::Txt,
        value: text.clone(),
        ttl: *ttl,
        status: status(text),
    };
    found.texts.iter().map(record).collect()
}
