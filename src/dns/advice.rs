//! What to say about what was seen: what is wrong, and what to change.

use std::net::IpAddr;

use super::cdn;
use super::diagnosis::{Advice, AdviceCode, Leads, RecordKind};
use super::place::{Family, Ours, Sighting};
use super::records::kind_of;
use super::seen::Seen;

/// All of it; nothing where everything is as it should be.
pub fn on(seen: &Seen) -> Vec<Advice> {
    let mut advice: Vec<Advice> = traffic(seen).into_iter().collect();
    advice.extend(caa(seen));
    advice.extend(delegation(seen));
    if let Some((ownership, seconds)) =
        seen.ownership.as_ref().and_then(|ownership| Some((ownership, ownership.old_for?)))
    {
        advice.push(old_ttl(&ownership.name, seconds));
    }
    advice.extend(seen.twin.as_deref().map(|twin| twin_missing(seen, twin)));
    advice
}

fn traffic(seen: &Seen) -> Option<Advice> {
    let (name, sighting) = (&seen.name, &seen.sighting);
    if sighting.endless() {
        return Some(cname_loop(seen));
    }
    if !seen.validates {
        return Some(say(
            AdviceCode::DnssecFailure,
            format!(
                "The answers for {name} do not validate by DNSSEC, so resolvers and authorities refuse them. \
                 Correct the DS record at the registrar or the zone's signatures, or turn DNSSEC off."
            ),
        ));
    }
    match seen.leads() {
        Leads::Here => None,
        Leads::Unknown => Some(lookup_failed(seen)),
        Leads::Elsewhere => Some(elsewhere(seen)),
    }
}

fn elsewhere(seen: &Seen) -> Advice {
    if let Some(seconds) = seen.old_for {
        return old_ttl(seen.name.as_str(), seconds);
    }
    let strangers = strangers(seen);
    match seen.place.families(&seen.sighting) {
        _ if strangers.is_empty() => no_record(seen),
        [Family::Ours, Family::Strange] => stray_aaaa(seen, &strangers),
        _ if seen.place.passed_by(&seen.sighting) => say(
            AdviceCode::WrongTarget,
            format!(
                "{} has the right records, but they lead to {}, which is not in dns.edge_addresses. \
                 The operator of this platform has to correct that.",
                seen.name,
                joined(&strangers)
            ),
        ),
        _ => match proxy(&seen.sighting, &strangers) {
            Some(owner) => proxy_in_front(seen, owner, &strangers),
            None => wrong_target(seen, &strangers),
        },
    }
}

/// The addresses that are not ours.
fn strangers(seen: &Seen) -> Vec<IpAddr> {
    let addresses = seen.sighting.trails().flat_map(|trail| &trail.addresses).map(|address| address.ip);
    addresses.filter(|ip| seen.place.is_ours(*ip, &seen.sighting) == Some(false)).collect()
}

fn proxy(sighting: &Sighting, strangers: &[IpAddr]) -> Option<&'static str> {
    let mut aliases = sighting.trails().flat_map(|trail| &trail.aliases);
    let by_alias = aliases.find_map(|alias| cdn::of_name(&alias.target));
    by_alias.or_else(|| strangers.iter().find_map(|ip| cdn::of_address(*ip)))
}

fn no_record(seen: &Seen) -> Advice {
    let (name, cure) = (&seen.name, cure(seen));
    let dangling = seen.sighting.trails().find(|trail| !trail.aliases.is_empty());
    let text = match dangling.map(|trail| trail.end(name.as_str())) {
        None => format!("{name} has no record that leads anywhere. Set {cure}."),
        Some(end) if seen.place.passed_by(&seen.sighting) => {
            format!(
                "{name} has the right record, but {end} has no address. The operator of this platform has to give it one."
            )
        }
        Some(end) => format!("{name} is an alias of {end}, which has no address. In its place set {cure}."),
    };
    say(AdviceCode::NoRecord, text)
}

fn stray_aaaa(seen: &Seen, strangers: &[IpAddr]) -> Advice {
    let name = &seen.name;
    let ours: Vec<IpAddr> = seen.place.addresses().iter().copied().filter(IpAddr::is_ipv6).collect();
    let instead =
        if ours.is_empty() { String::new() } else { format!(", or let it lead to {}", joined(&ours)) };
    let text = format!(
        "The A record of {name} is right, but its AAAA record leads to {}, and authorities and many visitors \
         take IPv6 first. Remove the AAAA record{instead}.",
        joined(strangers)
    );
    say(AdviceCode::StrayAaaa, text)
}

fn proxy_in_front(seen: &Seen, owner: &str, strangers: &[IpAddr]) -> Advice {
    let (name, cure) = (&seen.name, cure(seen));
    let text = format!(
        "{name} leads to {owner} ({}), which stands before this platform. Turn its proxy off for this name \
         (\"DNS only\"), and set {cure}.",
        joined(strangers)
    );
    say(AdviceCode::ProxyInFront, text)
}

fn wrong_target(seen: &Seen, strangers: &[IpAddr]) -> Advice {
    let (name, cure) = (&seen.name, cure(seen));
    let partly = seen.place.families(&seen.sighting) == [Family::Strange, Family::Ours]
        || strangers.len() < seen.sighting.trails().map(|trail| trail.addresses.len()).sum::<usize>();
    let remedy = if partly { "Remove what leads there, and keep" } else { "In place of its records set" };
    let text = format!("{name} leads to {}, which is not this platform. {remedy} {cure}.", joined(strangers));
    say(AdviceCode::WrongTarget, text)
}

fn cname_loop(seen: &Seen) -> Advice {
    let aliases = seen.sighting.trails().find(|trail| trail.endless).map(|trail| trail.aliases.as_slice());
    let shown = |name: &str| if name == seen.sighting.name { seen.name.to_string() } else { name.to_owned() };
    let targets = aliases.unwrap_or_default().iter().map(|alias| shown(&alias.target));
    let way: Vec<String> = std::iter::once(seen.name.to_string()).chain(targets).collect();
    let text =
        format!("The CNAME records lead in a circle: {}. In their place set {}.", way.join(", "), cure(seen));
    say(AdviceCode::CnameLoop, text)
}

fn lookup_failed(seen: &Seen) -> Advice {
    let (name, sighting) = (&seen.name, &seen.sighting);
    let failure = [&sighting.ipv4, &sighting.ipv6].into_iter().find_map(|trail| trail.as_ref().err());
    let text = match (failure, &seen.place.ours) {
        (_, Ours::Unsaid) => format!(
            "Nothing says where {name} should lead: the operator of this platform has to set \
             dns.edge_addresses or dns.cname_target."
        ),
        (None, Ours::Unknown(why)) => format!(
            "Where this platform is could not be looked up: {why}. That says nothing about the records of {name}."
        ),
        (Some(why), _) => {
            format!("{name} could not be looked up: {why}. That says nothing about its records.")
        }
        (None, Ours::Given(_) | Ours::Found(_)) => format!("{name} could not be looked up."),
    };
    say(AdviceCode::LookupFailed, text)
}

fn caa(seen: &Seen) -> Option<Advice> {
    match &seen.caa {
        Ok(None) => None,
        Ok(Some(misled)) => {
            let text = misled.to_string();
            let text = text.strip_prefix("a ").map_or(text.clone(), |rest| format!("A {rest}"));
            Some(say(AdviceCode::CaaForbids, format!("{text}.")))
        }
        // What keeps the name itself from being looked up is said already.
        Err(_) if seen.leads() != Leads::Here => None,
        Err(why) => Some(say(
            AdviceCode::LookupFailed,
            format!(
                "The CAA records of {} could not be looked up: {why}. An authority that cannot either gives \
                 no certificate.",
                seen.name
            ),
        )),
    }
}

/// Without dns-01 no authority gives a certificate for a wildcard; other names have other ways.
fn delegation(seen: &Seen) -> Option<Advice> {
    let delegation = seen.delegation.as_ref().filter(|_| seen.name.is_wildcard())?;
    let (name, owner, wanted) = (&seen.name, &delegation.name, &delegation.wanted);
    let found = match delegation.found.as_deref() {
        Err(why) => {
            let text = format!("{owner} could not be looked up: {why}. That says nothing about its records.");
            return Some(say(AdviceCode::LookupFailed, text));
        }
        Ok([]) => format!("{owner} has no CNAME record"),
        Ok([.., last]) if last.target == *wanted => return None,
        Ok([.., last]) => format!("{owner} leads to {}", last.target),
    };
    let text = format!(
        "The certificate of {name} can be obtained by DNS alone, and {found}. Set {owner} CNAME {wanted}."
    );
    Some(say(AdviceCode::DelegationMissing, text))
}

fn old_ttl(name: &str, seconds: u32) -> Advice {
    let text = format!(
        "The zone's name servers have the right record for {name}, but resolvers keep an old answer for \
         {seconds} s at most. There is nothing to change."
    );
    say(AdviceCode::OldTtl, text)
}

fn twin_missing(seen: &Seen, twin: &str) -> Advice {
    let cure = match seen.place.target() {
        // The twin of a name below an apex is the apex.
        Some(target) if !seen.is_apex() => format!("{twin} ALIAS {target}"),
        Some(target) => format!("{twin} CNAME {target}"),
        None => addresses(seen, twin),
    };
    let text = format!(
        "{twin} does not lead here, and some visitors will type it. To serve it too, register it and set {cure}."
    );
    say(AdviceCode::TwinMissing, text)
}

/// The record to set, or what may be set in its place.
fn cure(seen: &Seen) -> String {
    let name = seen.name.as_str();
    match seen.place.target() {
        Some(target) if !seen.is_apex() => format!("{name} CNAME {target}"),
        Some(target) if seen.place.addresses().is_empty() => {
            format!("{name} ALIAS {target} (also called ANAME or flattened CNAME)")
        }
        Some(target) => format!(
            "{name} ALIAS {target} (also called ANAME or flattened CNAME), or {}",
            addresses(seen, name)
        ),
        None => addresses(seen, name),
    }
}

fn addresses(seen: &Seen, name: &str) -> String {
    let record = |ip: &IpAddr| match kind_of(*ip) {
        RecordKind::A => format!("{name} A {ip}"),
        _ => format!("{name} AAAA {ip}"),
    };
    let records: Vec<String> = seen.place.addresses().iter().map(record).collect();
    records.join(", ")
}

fn joined(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn say(code: AdviceCode, text: String) -> Advice {
    Advice { code, text }
}
