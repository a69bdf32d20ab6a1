//! How many orders an authority may get.

use std::time::Duration;

use super::budget::Purpose;
use super::clock::UnixTime;

/// What a bound on orders counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Every order by the same account at the authority.
    Authority,
    /// Those for names of the same registrable domain, by whatever account.
    Domain,
    /// Those for the same name, by whatever account.
    Hostname,
}

/// At most so many orders in a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bound {
    /// Which orders.
    pub scope: Scope,
    /// How many; never zero.
    pub count: u32,
    /// In any time as long as this.
    pub per: Duration,
}

impl Bound {
    /// The bound as it holds for one more order of this purpose: renewals leave a part of what the whole
    /// authority takes to new names. What a name or a domain may have is the same for all.
    pub fn for_purpose(self, purpose: Purpose) -> Self {
        match self.scope {
            Scope::Authority => Self { count: purpose.share(self.count), ..self },
            Scope::Domain | Scope::Hostname => self,
        }
    }
}

/// What became of an order that was to be placed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placed {
    /// It is noted and may be placed.
    Noted {
        /// How many more fit into the tightest bound on the whole authority; `None`: it has none.
        left: Option<u32>,
    },
    /// Nothing is noted, as it would exceed a bound.
    Full {
        /// From this moment on all bounds allow it.
        until: UnixTime,
        /// Where a bound on the whole authority is full: from when on it has room for some name.
        for_any: Option<UnixTime>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_whole_authority_takes_is_shared_out() {
        let count = |scope, purpose| {
            Bound { scope, count: 300, per: Duration::from_secs(60) }.for_purpose(purpose).count
        };
        assert_eq!(count(Scope::Authority, Purpose::Renewal), 225);
        assert_eq!(count(Scope::Authority, Purpose::LateRenewal), 300);
        assert_eq!(count(Scope::Authority, Purpose::NewName), 300);
        assert_eq!(count(Scope::Domain, Purpose::Renewal), 300);
        assert_eq!(count(Scope::Hostname, Purpose::Renewal), 300);
    }
}
