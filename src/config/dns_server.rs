//! `[dns_server]`

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::duration::{days, hours, parse_rate};
use super::place::{Wrong, quoted};
use super::section::{Section, Text};
use super::{Config, DnsServer, Rate, address};
use crate::domain::hostname::{Hostname, MAX_OCTETS};

/// Questions of a client network unless the file says otherwise.
const QUERIES: Rate = Rate { count: 200, per: Duration::from_secs(1) };
/// Longest zone: a label of 32 letters and its dot stand before it.
const LONGEST_ZONE: usize = MAX_OCTETS - 33;
/// Who reads mail for a zone unless the file says otherwise (RFC 2142 §7).
const HOSTMASTER: &str = "hostmaster";

/// Reads `[dns_server]`; `config` is what the rest of the file says.
pub(super) fn read(section: &Section<'_>, config: &Config) -> Option<DnsServer> {
    let listen = listen(section, config);
    let zone = section.required("zone", "zone = \"acme.example.io\"").and_then(|text| {
        let zone = text.read(address::hostname)?;
        check_zone(&text, &zone, config);
        Some(zone)
    });
    let name_servers = name_servers(section);
    let addresses = addresses(section, zone.as_ref(), &name_servers);
    let hostmaster = section.text("hostmaster", "hostmaster = \"hostmaster@example.io\"");
    let hostmaster = hostmaster.and_then(|text| text.read(mailbox));
    let rate = section.text("queries_per_client", "queries_per_client = \"200/1s\"");
    let ttl = section.duration("ttl", Duration::from_secs(1)..=days(7), hours(1));
    let queries_per_client = rate.and_then(|text| text.read(parse_rate)).unwrap_or(QUERIES);
    let zone = zone?;
    Some(DnsServer {
        listen,
        name_servers,
        addresses,
        hostmaster: hostmaster.unwrap_or_else(|| (HOSTMASTER.into(), zone.clone())),
        ttl,
        queries_per_client,
        zone,
    })
}

fn listen(section: &Section<'_>, config: &Config) -> Vec<SocketAddr> {
    const LIKE: &str = "listen = [\"0.0.0.0:53\", \"[::]:53\"]";
    let texts = some(section, "listen", LIKE);
    let others = &config.listen;
    let by_tcp = others.http.iter().chain(&others.https).map(|listen| listen.address);
    let mut taken: HashSet<SocketAddr> =
        by_tcp.chain([others.admin]).chain(others.metrics).filter(|address| address.port() != 0).collect();
    let mut address = |text: &str| {
        let address = address::socket(text)?;
        if address.port() == 0 {
            return Err(Wrong::new("the port is 0", "give a port, such as 53: UDP and TCP share it"));
        }
        if !taken.insert(address) {
            let what = format!("{address} is listened on already");
            return Err(Wrong::new(what, "give another address or port"));
        }
        Ok(address)
    };
    texts.iter().filter_map(|text| text.read(&mut address)).collect()
}

/// The texts at `key`, of which there must be one.
fn some<'a>(section: &Section<'a>, key: &'static str, like: &str) -> Vec<Text<'a>> {
    match section.value(key) {
        None => section.missing(key, like),
        Some(value) if value.is_empty_list() => {
            value.problem(Wrong::new("it is empty", format!("give at least one, as in {like}")));
        }
        Some(_) => {}
    }
    section.texts(key, like).unwrap_or_default()
}

/// What lies in the zone has no record there but those of orders, so nothing that is served may.
fn check_zone(text: &Text<'_>, zone: &Hostname, config: &Config) {
    if zone.as_str().len() > LONGEST_ZONE {
        let what = format!("it has {} octets", zone.as_str().len());
        text.problem(Wrong::new(what, format!("give one of {LONGEST_ZONE} at most: labels stand before it")));
    }
    let hostnames = config.sites.iter().flat_map(|site| &site.hostnames).map(|name| name.as_str());
    let domains = config.platforms.iter().map(|platform| platform.domain.as_str());
    let target = config.dns.cname_target.iter().map(Hostname::as_str);
    let mut served = domains.chain(hostnames).chain(target);
    if let Some(name) = served.find(|name| zone.contains(name)) {
        let what = format!("{} lies in it, and would have no address", quoted(name));
        let cure = "give a zone that is for this alone, such as \"acme.example.io\"";
        text.problem(Wrong::new(what, cure));
    }
}

fn name_servers(section: &Section<'_>) -> Vec<Hostname> {
    let texts = some(section, "name_servers", "name_servers = [\"ns1.example.io\"]");
    let mut servers = Vec::new();
    for text in texts {
        let Some(server) = text.read(address::hostname) else { continue };
        if servers.contains(&server) {
            text.problem(Wrong::new("it is there already", "keep one of them"));
        }
        servers.push(server);
    }
    servers
}

fn addresses(section: &Section<'_>, zone: Option<&Hostname>, servers: &[Hostname]) -> Vec<IpAddr> {
    const LIKE: &str = "addresses = [\"192.0.2.7\"]";
    let addresses = section.list("addresses", LIKE, address::ip).unwrap_or_default();
    let Some(zone) = zone else { return addresses };
    if servers.contains(zone) {
        let what = format!("{} is the zone itself, which has no address", quoted(zone.as_str()));
        let cure = "name a machine in a domain of yours, or one below the zone";
        section.problem("name_servers", Wrong::new(what, cure));
    }
    let within = servers.iter().find(|server| zone.contains(server.as_str()));
    match (section.value("addresses"), within) {
        (None, Some(server)) => {
            let what = format!("{} lies in the zone and needs an address", quoted(server.as_str()));
            section.problem("addresses", Wrong::new(what, format!("give it, as in {LIKE}")));
        }
        (Some(value), Some(_)) if value.is_empty_list() => {
            value.problem(Wrong::new("it is empty", format!("give at least one, as in {LIKE}")));
        }
        (Some(value), None) if !servers.is_empty() => {
            let what = "no name server lies in the zone, so nobody asks for their addresses here";
            value.problem(Wrong::new(what, "leave it out"));
        }
        _ => {}
    }
    addresses
}

/// A mailbox as SOA records have it (RFC 1035 §8): its local part becomes one label.
fn mailbox(text: &str) -> Result<(String, Hostname), Wrong> {
    let wrong = || {
        let what = format!("{} is no mail address", quoted(text));
        Wrong::new(what, "write it like \"hostmaster@example.io\"")
    };
    let (local, domain) = text.split_once('@').ok_or_else(wrong)?;
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b".-_+".contains(&octet);
    if local.is_empty() || local.len() > 63 || text.len() > MAX_OCTETS || !local.bytes().all(plain) {
        return Err(wrong());
    }
    Ok((local.to_owned(), domain.parse().map_err(|_| wrong())?))
}
