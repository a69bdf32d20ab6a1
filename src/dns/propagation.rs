//! Where the record of a challenge is to be written, and whether the name servers there show it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::resolver::{Asking, Kind, Resolver, Unanswered};
use super::write::{TxtRecord, Writer};
use super::{LookupFailed, WriteFailed};

/// Where DNS is asked (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
/// Aliases that are followed one after the other.
const ALIASES: usize = 8;
/// First and longest pause between two looks at the name servers.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Looks after which a name server that never answered counts as one that cannot be reached.
const LOOKS: u32 = 3;

/// Where the aliases of `name` lead in the end; `name` itself where it has none.
///
/// - `ends`: a name that is not asked about any more. That a challenge's record does not stand yet
///   must not come to the resolver's mind, as it keeps that for a while.
///
/// Fails where a resolver cannot say, or where they go round in a circle.
pub async fn follow(
    resolver: &Resolver,
    name: &str,
    ends: impl Fn(&str) -> bool,
) -> Result<String, LookupFailed> {
    let mut at = name.to_owned();
    let mut seen = HashSet::new();
    while seen.len() < ALIASES && seen.insert(at.clone()) {
        if ends(&at) {
            return Ok(at);
        }
        let answer = resolver.ask(Asking::Resolver, &at, Kind::Cname).await?;
        match answer.aliases.into_iter().find(|alias| alias.name == at) {
            Some(alias) => at = alias.target,
            None => return Ok(at),
        }
    }
    Err(LookupFailed(format!(
        "the CNAME records of {name} lead in a circle or through more than {ALIASES} names"
    )))
}

/// The apex of the zone that `owner` lies in: the closest name at or above it that has an SOA record.
///
/// - `primary`: asked in place of the resolvers, as it knows the zone by itself
pub async fn apex(
    resolver: &Resolver,
    primary: Option<SocketAddr>,
    owner: &str,
) -> Result<String, LookupFailed> {
    let asking = primary.map_or(Asking::Resolver, Asking::Server);
    let climb = std::iter::successors(Some(owner), |name| name.split_once('.').map(|(_, above)| above));
    let mut refused = None;
    for name in climb {
        match resolver.ask(asking, name, Kind::Soa).await {
            Ok(answer) if answer.apex.as_deref() == Some(name) => return Ok(name.to_owned()),
            Ok(_) => {}
            // A primary refuses names above its zones.
            Err(error) => refused = Some(error),
        }
    }
    Err(match refused {
        Some(error) => error.into(),
        None => LookupFailed(format!("no name above {owner} has an SOA record")),
    })
}

/// Waits until every name server that has to shows `record`.
pub async fn seen(resolver: &Resolver, writer: &Writer, record: &TxtRecord) -> Result<(), WriteFailed> {
    let after = writer.propagation_timeout();
    let deadline = Instant::now() + after;
    let (mut waited_for, trouble) = servers(resolver, writer, record).await;
    let nobody = |why: String| WriteFailed::NobodyAsked {
        owner: record.owner.clone(),
        apex: record.apex.clone(),
        why,
    };
    if waited_for.is_empty() {
        return Err(nobody(trouble.unwrap_or_else(|| "it has no NS records with addresses".into())));
    }
    let (mut pause, mut answered, mut last) = (PAUSE.0, HashSet::new(), String::new());
    for look in 1_u32.. {
        let looks = waited_for.iter().map(|server| shows(resolver, *server, record));
        let mut behind = Vec::new();
        for (server, shown) in waited_for.iter().zip(join_all(looks).await) {
            match shown {
                Ok(shown) => {
                    answered.insert(*server);
                    behind.extend((!shown).then_some(*server));
                }
                Err(why) => {
                    last = format!("{server}: {why}");
                    behind.push(*server);
                }
            }
        }
        // Those of a network that this machine does not reach: the others tell.
        if look >= LOOKS && !answered.is_empty() && writer.name_servers().is_empty() {
            behind.retain(|server| answered.contains(server) || Some(*server) == writer.primary());
        }
        if behind.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(match answered.is_empty() {
                true => nobody(last),
                false => WriteFailed::NotSeen { owner: record.owner.clone(), after, servers: behind },
            });
        }
        waited_for = behind;
        sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 2).min(PAUSE.1);
    }
    Ok(())
}

/// Whether `server` shows `record` by itself.
async fn shows(resolver: &Resolver, server: SocketAddr, record: &TxtRecord) -> Result<bool, Unanswered> {
    let answer = resolver.ask(Asking::Server(server), &record.owner, Kind::Txt).await?;
    Ok(answer.texts.iter().any(|(text, _)| *text == record.value))
}

/// Who has to show a record, and what stood in the way of finding out about others: the configured
/// servers, else the primary and those that the zone's NS records name.
async fn servers(
    resolver: &Resolver,
    writer: &Writer,
    record: &TxtRecord,
) -> (Vec<SocketAddr>, Option<String>) {
    if !writer.name_servers().is_empty() {
        return (writer.name_servers().to_vec(), None);
    }
    let mut servers = Vec::from_iter(writer.primary());
    let asking = writer.primary().map_or(Asking::Resolver, Asking::Server);
    let named = match resolver.ask(asking, &record.apex, Kind::Ns).await {
        Ok(answer) => answer.servers,
        Err(why) => return (servers, Some(why.to_string())),
    };
    let mut trouble = None;
    for (_, host) in named {
        let (ipv4, ipv6) = tokio::join!(resolver.ipv4(&host), resolver.ipv6(&host));
        for found in [ipv4, ipv6] {
            match found {
                Ok(addresses) => {
                    servers.extend(addresses.into_iter().map(|ip| SocketAddr::new(ip, DNS_PORT)))
                }
                Err(why) => trouble = Some(format!("{host}: {why}")),
            }
        }
    }
    // The primary may be named too, by another port of the same machine.
    let primary = writer.primary();
    let mut known = HashSet::new();
    servers.retain(|server| {
        known.insert(*server) && (primary == Some(*server) || primary.is_none_or(|at| at.ip() != server.ip()))
    });
    (servers, trouble)
}
