//! Where a name leads: its aliases, and the addresses at their end.

use super::resolver::{Address, Alias, Answer, Asking, Kind, Resolver, Unanswered};

/// More aliases than resolvers follow.
const MOST_ALIASES: usize = 16;

/// What was found on the way from a name, for addresses of one kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trail {
    /// In the order they are followed.
    pub aliases: Vec<Alias>,
    /// At their end; none: the name leads nowhere.
    pub addresses: Vec<Address>,
    /// The aliases come back to a name before, or are more than anybody follows.
    pub endless: bool,
    /// Seconds that the absence of an address may be kept.
    pub absent_for: Option<u32>,
}

impl Trail {
    /// Follows `name` to its addresses of `kind`; of [`Kind::Cname`] to its last alias.
    ///
    /// Resolvers follow by themselves; others give one alias at a time.
    pub async fn follow(
        resolver: &Resolver,
        asking: Asking,
        name: &str,
        kind: Kind,
    ) -> Result<Self, Unanswered> {
        let mut trail = Self::default();
        loop {
            let end = trail.end(name).to_owned();
            match resolver.ask(asking, &end, kind).await {
                Ok(answer) => trail.go_on(name, answer),
                // A zone's server knows nothing of where its aliases lead outside of it.
                Err(_) if matches!(asking, Asking::Server(_)) && !trail.aliases.is_empty() => {
                    return Ok(trail);
                }
                Err(why) => return Err(why),
            }
            if trail.endless || !trail.addresses.is_empty() || trail.end(name) == end {
                return Ok(trail);
            }
        }
    }

    /// The name that has the addresses, or would have them.
    pub fn end<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.last().map_or(name, |alias| &alias.target)
    }

    /// Seconds until another answer may be had for `name` itself.
    pub fn lasts(&self, name: &str) -> Option<u32> {
        let own = self.aliases.first().map(|alias| alias.ttl);
        let addresses = self.addresses.iter().filter(|address| address.name == name);
        own.or(addresses.map(|address| address.ttl).max()).or(self.absent_for)
    }

    fn go_on(&mut self, name: &str, answer: Answer) {
        let Answer { aliases, addresses, absent_for, .. } = answer;
        while let Some(next) = aliases.iter().find(|alias| alias.name == self.end(name)) {
            let before = next.target == name || self.aliases.iter().any(|alias| alias.target == next.target);
            self.aliases.push(next.clone());
            self.endless = before || self.aliases.len() > MOST_ALIASES;
            if self.endless {
                return;
            }
        }
        let end = self.end(name).to_owned();
        self.addresses = addresses.into_iter().filter(|address| address.name == end).collect();
        self.absent_for = absent_for;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(aliases: &[(&str, &str)], addresses: &[(&str, &str)]) -> Answer {
        let alias =
            |&(name, target): &(&str, &str)| Alias { name: name.into(), target: target.into(), ttl: 60 };
        let address =
            |&(name, ip): &(&str, &str)| Address { name: name.into(), ip: ip.parse().unwrap(), ttl: 30 };
        Answer {
            aliases: aliases.iter().map(alias).collect(),
            addresses: addresses.iter().map(address).collect(),
            ..Answer::default()
        }
    }

    #[test]
    fn aliases_are_followed_in_whatever_order_they_come() {
        let mut trail = Trail::default();
        let aliases = [("b.test", "c.test"), ("a.test", "b.test"), ("x.test", "y.test")];
        trail.go_on("a.test", answer(&aliases, &[("c.test", "192.0.2.1"), ("x.test", "192.0.2.9")]));
        assert_eq!(trail.end("a.test"), "c.test");
        assert_eq!(trail.addresses.len(), 1, "that of another name does not count");
        assert_eq!(trail.lasts("a.test"), Some(60));
        assert!(!trail.endless);
    }

    #[test]
    fn a_circle_ends_in_one_round() {
        for aliases in [
            &[("a.test", "a.test")][..],
            &[("a.test", "b.test"), ("b.test", "a.test")],
            &[("a.test", "b.test"), ("b.test", "c.test"), ("c.test", "b.test")],
        ] {
            let mut trail = Trail::default();
            trail.go_on("a.test", answer(aliases, &[]));
            assert!(trail.endless, "{aliases:?}");
            assert_eq!(trail.aliases.len(), aliases.len());
        }
    }

    #[test]
    fn a_server_that_gives_one_alias_at_a_time_leads_to_the_same_end() {
        let mut trail = Trail::default();
        trail.go_on("a.test", answer(&[("a.test", "b.test")], &[]));
        assert_eq!(trail.end("a.test"), "b.test");
        trail.go_on("a.test", answer(&[], &[("b.test", "192.0.2.1")]));
        assert_eq!((trail.aliases.len(), trail.addresses.len()), (1, 1));
    }
}
