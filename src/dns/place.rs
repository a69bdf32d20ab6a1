//! Where this edge is, and whether a name leads there.

use std::net::IpAddr;

use super::diagnosis::Leads;
use super::resolver::Unanswered;
use super::trail::Trail;
use crate::domain::hostname::Hostname;

/// The addresses of this edge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ours {
    /// As the configuration has them.
    Given(Vec<IpAddr>),
    /// Those of the name that customers point at.
    Found(Vec<IpAddr>),
    /// They could not be looked up.
    Unknown(Unanswered),
    /// Nothing says where this edge is.
    Unsaid,
}

/// Where a hostname should lead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// By address.
    pub ours: Ours,
    /// By alias; the first one is shown.
    pub targets: Vec<Hostname>,
    /// The hostname's own preview hostname.
    pub preview: Option<Hostname>,
}

/// Where a name was seen to lead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sighting {
    /// The name that was looked at.
    pub name: String,
    /// By IPv4.
    pub ipv4: Result<Trail, Unanswered>,
    /// By IPv6.
    pub ipv6: Result<Trail, Unanswered>,
}

/// A name's addresses of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// There are none.
    Absent,
    /// All are ours.
    Ours,
    /// There is one that is not.
    Strange,
    /// Nobody could tell.
    Unknown,
}

impl Sighting {
    /// Both trails, as far as there are any: IPv4's first.
    pub fn trails(&self) -> impl Iterator<Item = &Trail> {
        [&self.ipv4, &self.ipv6].into_iter().flatten()
    }

    /// Whether its aliases have no end.
    pub fn endless(&self) -> bool {
        self.trails().any(|trail| trail.endless)
    }

    /// Whether there is no record at all, as far as anybody could tell.
    pub fn empty(&self) -> bool {
        self.trails().all(|trail| trail.aliases.is_empty() && trail.addresses.is_empty())
    }

    fn passes(&self, target: &Hostname) -> bool {
        self.trails().flat_map(|trail| &trail.aliases).any(|alias| alias.target == target.as_str())
    }
}

impl Place {
    /// The addresses, as far as they are known.
    pub fn addresses(&self) -> &[IpAddr] {
        match &self.ours {
            Ours::Given(addresses) | Ours::Found(addresses) => addresses,
            Ours::Unknown(_) | Ours::Unsaid => &[],
        }
    }

    /// What customers are shown as the target of an alias.
    pub fn target(&self) -> Option<&Hostname> {
        let addressed = matches!(self.ours, Ours::Given(_));
        self.targets.first().or(self.preview.as_ref().filter(|_| !addressed))
    }

    /// Whether the aliases of a name lead over a target of ours.
    pub fn passed_by(&self, sighting: &Sighting) -> bool {
        self.by_preview(sighting) || self.targets.iter().any(|target| sighting.passes(target))
    }

    /// Whether they lead over the preview hostname.
    pub fn by_preview(&self, sighting: &Sighting) -> bool {
        self.preview.as_ref().is_some_and(|preview| sighting.passes(preview))
    }

    /// Whether an address that was seen is ours; `None`: nobody could tell.
    ///
    /// What a target of ours leads to is, unless the configuration says where this edge is.
    pub fn is_ours(&self, ip: IpAddr, sighting: &Sighting) -> Option<bool> {
        match &self.ours {
            Ours::Given(addresses) => Some(addresses.contains(&ip)),
            Ours::Found(addresses) => Some(addresses.contains(&ip) || self.passed_by(sighting)),
            Ours::Unknown(_) | Ours::Unsaid => self.passed_by(sighting).then_some(true),
        }
    }

    /// A name's addresses of one kind, `trail` being that of `sighting` for it.
    pub fn family(&self, trail: &Result<Trail, Unanswered>, sighting: &Sighting) -> Family {
        let Ok(trail) = trail else { return Family::Unknown };
        let verdicts = trail.addresses.iter().map(|address| self.is_ours(address.ip, sighting));
        let worst = verdicts.map(|ours| match ours {
            Some(true) => Family::Ours,
            Some(false) => Family::Strange,
            None => Family::Unknown,
        });
        worst.reduce(|one, other| if one == Family::Ours { other } else { one }).unwrap_or(Family::Absent)
    }

    /// Both kinds: IPv4's, then IPv6's.
    pub fn families(&self, sighting: &Sighting) -> [Family; 2] {
        [self.family(&sighting.ipv4, sighting), self.family(&sighting.ipv6, sighting)]
    }

    /// Where a name leads.
    pub fn leads(&self, sighting: &Sighting) -> Leads {
        if sighting.endless() {
            return Leads::Elsewhere;
        }
        match self.families(sighting) {
            _ if self.ours == Ours::Unsaid => Leads::Unknown,
            [Family::Strange, _] | [_, Family::Strange] => Leads::Elsewhere,
            [Family::Unknown, _] | [_, Family::Unknown] => Leads::Unknown,
            [Family::Absent, Family::Absent] => Leads::Elsewhere,
            [Family::Ours, _] | [_, Family::Ours] => Leads::Here,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::resolver::{Address, Alias};

    fn trail(alias: Option<&str>, addresses: &[&str]) -> Result<Trail, Unanswered> {
        let end = alias.unwrap_or("a.test");
        let address = |ip: &&str| Address { name: end.into(), ip: ip.parse().unwrap(), ttl: 60 };
        let alias = alias.map(|target| Alias { name: "a.test".into(), target: target.into(), ttl: 60 });
        Ok(Trail {
            aliases: alias.into_iter().collect(),
            addresses: addresses.iter().map(address).collect(),
            ..Trail::default()
        })
    }

    #[test]
    fn a_name_leads_here_only_by_all_its_addresses() {
        let failed = || Err(Unanswered::Failed);
        let place = Place {
            ours: Ours::Given(vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]),
            targets: vec!["edge.test".parse().unwrap()],
            preview: None,
        };
        let none = || trail(None, &[]);
        for (ipv4, ipv6, leads) in [
            (trail(None, &["192.0.2.1"]), none(), Leads::Here),
            (none(), trail(None, &["2001:db8::1"]), Leads::Here),
            (trail(None, &["192.0.2.1"]), trail(None, &["2001:db8::9"]), Leads::Elsewhere),
            (trail(None, &["192.0.2.1", "192.0.2.9"]), none(), Leads::Elsewhere),
            (none(), none(), Leads::Elsewhere),
            (trail(None, &["192.0.2.1"]), failed(), Leads::Unknown),
            (failed(), none(), Leads::Unknown),
            (failed(), trail(None, &["2001:db8::9"]), Leads::Elsewhere),
            (trail(Some("edge.test"), &["192.0.2.1"]), none(), Leads::Here),
            (trail(Some("edge.test"), &["192.0.2.9"]), none(), Leads::Elsewhere),
        ] {
            let sighting = Sighting { name: "a.test".into(), ipv4, ipv6 };
            assert_eq!(place.leads(&sighting), leads, "{sighting:?}");
        }
    }

    #[test]
    fn without_given_addresses_what_a_target_leads_to_is_ours() {
        let found = Ours::Found(vec!["192.0.2.1".parse().unwrap()]);
        let leads = |ours: &Ours, alias, address| {
            let targets = vec!["edge.test".parse().unwrap(), "old-edge.test".parse().unwrap()];
            let place = Place { ours: ours.clone(), targets, preview: Some("p7.plat.test".parse().unwrap()) };
            let sighting =
                Sighting { name: "a.test".into(), ipv4: trail(alias, &[address]), ipv6: trail(alias, &[]) };
            (place.leads(&sighting), place.by_preview(&sighting))
        };
        assert_eq!(leads(&found, None, "192.0.2.1"), (Leads::Here, false));
        assert_eq!(leads(&found, None, "192.0.2.9"), (Leads::Elsewhere, false));
        assert_eq!(leads(&found, Some("old-edge.test"), "192.0.2.9"), (Leads::Here, false));
        assert_eq!(leads(&found, Some("p7.plat.test"), "192.0.2.9"), (Leads::Here, true));
        let unknown = Ours::Unknown(Unanswered::Failed);
        assert_eq!(leads(&unknown, None, "192.0.2.1"), (Leads::Unknown, false));
        assert_eq!(leads(&unknown, Some("edge.test"), "192.0.2.1"), (Leads::Here, false));
        assert_eq!(leads(&Ours::Unsaid, None, "192.0.2.1"), (Leads::Unknown, false));
    }
}
