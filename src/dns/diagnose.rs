//! Looking at a customer's DNS as closely as it takes to say what is wrong with it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use super::caa::Policy;
use super::diagnosis::{Diagnosis, Leads, RecordStatus};
use super::place::{Family, Ours, Place, Sighting};
use super::resolver::{Alias, Answer, Asking, Kind, Resolver, Unanswered};
use super::seen::{Delegation, Ownership, Seen};
use super::trail::Trail;
use super::{LookupFailed, advice, delegation, records};
use crate::config::Config;
use crate::domain::hostname::{CertificateName, Hostname};

/// Longest that the first look takes.
const LOOK: Duration = Duration::from_secs(2);
/// Longest that each closer one takes: why the resolver failed, and what the zone's servers say.
const CLOSER: Duration = Duration::from_millis(1_100);
/// A name server's time: one that is gone shall not keep the others from being heard.
const SERVER: Duration = Duration::from_millis(700);
/// Name servers of a zone that are asked.
const ASKED_SERVERS: usize = 2;
/// Aliases of `_acme-challenge` that are followed.
const MOST_ALIASES: usize = 8;
/// Where name servers listen.
const DNS_PORT: u16 = 53;

/// What a hostname should have in DNS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Aim {
    /// Whose DNS is looked at; of a wildcard, a name below it that nobody uses.
    pub hostname: CertificateName,
    /// What its alias may lead to; the first one is shown to the customer.
    pub cname_targets: Vec<Hostname>,
    /// Its own preview hostname.
    pub preview: Option<Hostname>,
    /// The value of the TXT record that proves whose it is.
    pub ownership: Option<String>,
    /// Where its answers of dns-01 stand, if it has `_acme-challenge` lead there.
    pub delegation: Option<String>,
}

impl Aim {
    /// The hostname without `*.`.
    fn bare(&self) -> &str {
        self.hostname.bare()
    }

    /// The name that carries the proof of whose it is; a wildcard's is that of its parent.
    fn proof(&self) -> String {
        format!("_nameplate.{}", self.bare())
    }

    /// A name that the records for the hostname answer for.
    fn looked_at(&self) -> String {
        if self.hostname.is_wildcard() {
            format!("{:08x}.{}", rand::random::<u32>(), self.bare())
        } else {
            self.bare().to_owned()
        }
    }

    /// The apex of a name with `www.`, or the other way round.
    fn twin(&self) -> Option<String> {
        let hostname = self.hostname.hostname()?;
        let apex = hostname.registrable_domain();
        match hostname.as_str().strip_prefix("www.") {
            Some(rest) if rest == apex => Some(apex.to_owned()),
            _ if hostname.as_str() == apex => Some(format!("www.{apex}")),
            _ => None,
        }
    }
}

/// Looks.
pub struct Diagnoser {
    resolver: Resolver,
    edge: Vec<IpAddr>,
    policy: Policy,
    authoritative_port: u16,
}

impl Diagnoser {
    /// By `config`.
    ///
    /// Fails where the system's resolvers cannot be read.
    pub fn new(config: &Config) -> Result<Self, LookupFailed> {
        Ok(Self {
            resolver: Resolver::patient(&config.dns.resolvers)?,
            edge: config.dns.edge_addresses.clone(),
            policy: Policy::new(config),
            authoritative_port: DNS_PORT,
        })
    }

    /// The same, where the name servers of zones listen at `port`, as those of tests do.
    pub fn with_authoritative_port(mut self, port: u16) -> Self {
        self.authoritative_port = port;
        self
    }

    /// Looks at a hostname, for five seconds at most. Whatever cannot be looked up in that time is
    /// said to be unknown.
    ///
    /// Where nothing says where this edge is, nobody is asked: no answer could tell anything.
    pub async fn diagnose(&self, aim: &Aim) -> Diagnosis {
        let nowhere = self.edge.is_empty() && aim.cname_targets.is_empty() && aim.preview.is_none();
        if nowhere && aim.delegation.is_none() {
            let seen = self.unlooked(aim);
            return Diagnosis { advice: advice::on(&seen), ..self.before_a_look(aim) };
        }
        let mut seen = self.look(aim).await;
        self.explain_failure(&mut seen).await;
        self.ask_the_zone(aim, &mut seen).await;
        Diagnosis {
            records_wanted: records::wanted(&seen),
            records_found: records::found(&seen),
            advice: advice::on(&seen),
            leads: seen.leads(),
            led: None,
            by_preview: seen.place.by_preview(&seen.sighting),
            ownership: seen.ownership.as_ref().map_or(RecordStatus::Unneeded, Ownership::status),
            delegated: seen.delegation.as_ref().map_or(RecordStatus::Unneeded, Delegation::status),
        }
    }

    /// What is to be set for a hostname, before anybody has looked at what stands there.
    pub fn before_a_look(&self, aim: &Aim) -> Diagnosis {
        Diagnosis {
            records_wanted: records::wanted(&self.unlooked(aim)),
            records_found: Vec::new(),
            advice: Vec::new(),
            leads: Leads::Unknown,
            led: None,
            by_preview: false,
            ownership: RecordStatus::Unknown,
            delegated: match aim.delegation {
                Some(_) => RecordStatus::Unknown,
                None => RecordStatus::Unneeded,
            },
        }
    }

    fn unlooked(&self, aim: &Aim) -> Seen {
        let unknown = || Unanswered::Silent(LookupFailed("it has not been looked at".into()));
        let ours = if self.edge.is_empty() { Ours::Unsaid } else { Ours::Given(self.edge.clone()) };
        let ownership = aim.ownership.clone().map(|wanted| Ownership {
            name: aim.proof(),
            wanted,
            found: Err(unknown()),
            old_for: None,
        });
        let delegation = aim.delegation.clone().map(|wanted| Delegation {
            name: delegation::owner(&aim.hostname),
            wanted,
            found: Err(unknown()),
        });
        Seen {
            name: aim.hostname.clone(),
            place: Place { ours, targets: aim.cname_targets.clone(), preview: aim.preview.clone() },
            sighting: Sighting { name: aim.looked_at(), ipv4: Err(unknown()), ipv6: Err(unknown()) },
            validates: true,
            old_for: None,
            ownership,
            delegation,
            caa: Ok(None),
            twin: None,
        }
    }

    async fn look(&self, aim: &Aim) -> Seen {
        let (name, proof) = (aim.looked_at(), aim.proof());
        let owner = async {
            let wanted = aim.ownership.clone()?;
            let found = within(LOOK, self.resolver.ask(Asking::Resolver, &proof, Kind::Txt)).await;
            Some(Ownership { name: proof.clone(), wanted, found, old_for: None })
        };
        let twin = async {
            match aim.twin() {
                Some(twin) => Some(self.sight(LOOK, Asking::Resolver, &twin).await),
                None => None,
            }
        };
        let forbids = async {
            let late = || Err(LookupFailed(late(LOOK)));
            timeout(LOOK, self.policy.forbids(&self.resolver, &aim.hostname)).await.unwrap_or_else(|_| late())
        };
        let sight = self.sight(LOOK, Asking::Resolver, &name);
        let (sighting, place, ownership, delegation, caa, twin) =
            tokio::join!(sight, self.place(aim), owner, self.delegation(aim), forbids, twin);
        let twin = twin.filter(|twin| place.leads(twin) == Leads::Elsewhere).map(|twin| twin.name);
        Seen {
            name: aim.hostname.clone(),
            place,
            sighting,
            validates: true,
            old_for: None,
            ownership,
            delegation,
            caa,
            twin,
        }
    }

    /// Follows `_acme-challenge` as far as the wanted place, and not into it: that there is nothing yet
    /// would be kept by the resolver.
    async fn delegation(&self, aim: &Aim) -> Option<Delegation> {
        let (name, wanted) = (delegation::owner(&aim.hostname), aim.delegation.clone()?);
        let follow = async {
            let mut aliases: Vec<Alias> = Vec::new();
            loop {
                let end = aliases.last().map_or(&name, |alias| &alias.target);
                if *end == wanted || aliases.len() == MOST_ALIASES {
                    return Ok(aliases);
                }
                let answer = self.resolver.ask(Asking::Resolver, end, Kind::Cname).await?;
                match answer.aliases.into_iter().find(|alias| alias.name == *end) {
                    Some(next) => aliases.push(next),
                    None => return Ok(aliases),
                }
            }
        };
        let found = within(LOOK, follow).await;
        Some(Delegation { name, wanted, found })
    }

    /// Where this edge is: by the configuration, else by what customers point at.
    async fn place(&self, aim: &Aim) -> Place {
        let target = aim.cname_targets.first().or(aim.preview.as_ref());
        let ours = match target {
            _ if !self.edge.is_empty() => Ours::Given(self.edge.clone()),
            None => Ours::Unsaid,
            Some(target) => {
                let found = self.sight(LOOK, Asking::Resolver, target.as_str()).await;
                match (found.ipv4, found.ipv6) {
                    (Ok(ipv4), Ok(ipv6)) => {
                        let addresses = ipv4.addresses.iter().chain(&ipv6.addresses);
                        Ours::Found(addresses.map(|address| address.ip).collect())
                    }
                    (Err(why), _) | (_, Err(why)) => Ours::Unknown(why),
                }
            }
        };
        Place { ours, targets: aim.cname_targets.clone(), preview: aim.preview.clone() }
    }

    async fn sight(&self, patience: Duration, asking: Asking, name: &str) -> Sighting {
        let follow = |kind| within(patience, Trail::follow(&self.resolver, asking, name, kind));
        let (ipv4, ipv6) = tokio::join!(follow(Kind::A), follow(Kind::Aaaa));
        Sighting { name: name.to_owned(), ipv4, ipv6 }
    }

    /// A resolver fails where it runs in a circle, where the answer does not validate, and where it
    /// could not ask; which one it is shows in what it says to other questions.
    async fn explain_failure(&self, seen: &mut Seen) {
        let failed = |sighting: &Sighting| {
            [&sighting.ipv4, &sighting.ipv6].map(|trail| trail.as_ref().err() == Some(&Unanswered::Failed))
        };
        if failed(&seen.sighting) == [false, false] {
            return;
        }
        let name = seen.sighting.name.clone();
        let (again, unchecked, aliases) = tokio::join!(
            self.sight(CLOSER, Asking::Resolver, &name),
            self.sight(CLOSER, Asking::Unchecked, &name),
            within(CLOSER, Trail::follow(&self.resolver, Asking::Resolver, &name, Kind::Cname)),
        );
        if let Ok(aliases) = aliases
            && aliases.endless
        {
            seen.sighting = Sighting { name, ipv4: Ok(aliases.clone()), ipv6: Ok(aliases) };
            return;
        }
        let [ipv4, ipv6] = failed(&again);
        let refused = ipv4 && unchecked.ipv4.is_ok() || ipv6 && unchecked.ipv6.is_ok();
        // A resolver that failed by chance may say so again for some seconds, as it keeps that too.
        if refused && self.secured(&unchecked).await {
            seen.validates = false;
            let (ipv4, ipv6) = (
                if ipv4 { unchecked.ipv4 } else { again.ipv4 },
                if ipv6 { unchecked.ipv6 } else { again.ipv6 },
            );
            seen.sighting = Sighting { name, ipv4, ipv6 };
        } else {
            seen.sighting = again;
        }
    }

    /// Whether a zone that the name leads through has to be signed.
    async fn secured(&self, sighting: &Sighting) -> bool {
        let targets = sighting.trails().flat_map(|trail| &trail.aliases).map(|alias| alias.target.as_str());
        let mut zones: Vec<String> =
            std::iter::once(sighting.name.as_str()).chain(targets).flat_map(climb).collect();
        zones.sort();
        zones.dedup();
        let ask = |zone: String| async move {
            let answer = within(SERVER, self.resolver.ask(Asking::Unchecked, &zone, Kind::Ds)).await;
            answer.is_ok_and(|answer| answer.secured)
        };
        join_all(zones.into_iter().map(ask)).await.contains(&true)
    }

    /// Finds what is right at the zone's own servers and old at the resolver.
    async fn ask_the_zone(&self, aim: &Aim, seen: &mut Seen) {
        let astray = seen.leads() == Leads::Elsewhere && seen.validates && !seen.sighting.endless();
        let unproved = seen
            .ownership
            .as_ref()
            .filter(|ownership| matches!(ownership.status(), RecordStatus::Missing | RecordStatus::Wrong));
        if !astray && unproved.is_none() {
            return;
        }
        let look = async {
            let servers = self.servers_of(aim).await;
            let sight = |server| self.sight(SERVER, Asking::Server(server), &seen.sighting.name);
            let proof = aim.proof();
            let prove = |server| within(SERVER, self.resolver.ask(Asking::Server(server), &proof, Kind::Txt));
            let sightings = join_all(servers.iter().copied().filter(|_| astray).map(sight));
            let proofs = join_all(servers.iter().copied().filter(|_| unproved.is_some()).map(prove));
            tokio::join!(sightings, proofs)
        };
        let Ok((sightings, proofs)) = timeout(CLOSER, look).await else { return };
        seen.old_for = old_sighting(seen, &sightings);
        let proofs: Vec<Answer> = proofs.into_iter().flatten().collect();
        if let Some(ownership) = &mut seen.ownership {
            ownership.old_for = old_proof(ownership, &proofs);
        }
    }

    /// Where some name servers of the hostname's zone listen; none where they could not be found.
    async fn servers_of(&self, aim: &Aim) -> Vec<SocketAddr> {
        let climb = climb(aim.bare());
        let ask = |zone: String| async move { self.resolver.ask(Asking::Resolver, &zone, Kind::Ns).await };
        let answers = join_all(climb.iter().cloned().map(ask)).await;
        let servers = climb.iter().zip(answers).find_map(|(zone, answer)| {
            let servers = answer.ok()?.servers.into_iter().filter(|(owner, _)| owner == zone);
            let servers: Vec<String> = servers.map(|(_, server)| server).take(ASKED_SERVERS).collect();
            (!servers.is_empty()).then_some(servers)
        });
        let sight = |server: String| async move { self.sight(SERVER, Asking::Resolver, &server).await };
        let sightings = join_all(servers.unwrap_or_default().into_iter().map(sight)).await;
        let first =
            |sighting: &Sighting| sighting.trails().flat_map(|trail| &trail.addresses).next().cloned();
        let addresses = sightings.iter().filter_map(first);
        addresses.map(|address| SocketAddr::new(address.ip, self.authoritative_port)).collect()
    }
}

/// The name and those above it, up to what somebody registered: one of them is its zone.
fn climb(name: &str) -> Vec<String> {
    let Ok(hostname) = name.parse::<Hostname>() else { return Vec::new() };
    let top = hostname.registrable_domain();
    let names = std::iter::successors(Some(hostname.as_str()), |name| {
        (*name != top).then(|| name.split_once('.').map(|(_, above)| above))?
    });
    names.map(str::to_owned).collect()
}

/// How long resolvers keep what is wrong, where every server of the zone that answers is right.
fn old_sighting(seen: &Seen, sightings: &[Sighting]) -> Option<u32> {
    let place = &seen.place;
    let answered = sightings.iter().filter(|at_zone| at_zone.trails().count() == 2);
    let right = |at_zone: &&Sighting| place.passed_by(at_zone) || place.leads(at_zone) == Leads::Here;
    let (right, wrong): (Vec<&Sighting>, Vec<&Sighting>) = answered.partition(right);
    if right.is_empty() || !wrong.is_empty() {
        return None;
    }
    let trails = [&seen.sighting.ipv4, &seen.sighting.ipv6];
    let old = trails.into_iter().filter(|trail| match place.family(trail, &seen.sighting) {
        Family::Strange => true,
        // Whatever is right may have addresses of the other kind alone.
        Family::Absent => seen.sighting.trails().all(|trail| trail.addresses.is_empty()),
        Family::Ours | Family::Unknown => false,
    });
    old.flatten().filter_map(|trail| trail.lasts(&seen.sighting.name)).max()
}

fn old_proof(ownership: &Ownership, at_zone: &[Answer]) -> Option<u32> {
    let right = |answer: &Answer| answer.texts.iter().any(|(text, _)| *text == ownership.wanted);
    (!at_zone.is_empty() && at_zone.iter().all(right)).then(|| ownership.lasts()).flatten()
}

async fn within<T>(
    patience: Duration,
    look: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, Unanswered> {
    let late = |_elapsed| Err(Unanswered::Silent(LookupFailed(late(patience))));
    timeout(patience, look).await.unwrap_or_else(late)
}

fn late(patience: Duration) -> String {
    format!("DNS did not answer within {:.1} s", patience.as_secs_f32())
}
