//! What a customer's name leads to, by DNS; and the zone that we answer for ourselves.

pub mod advice;
pub mod caa;
pub mod cdn;
pub mod check;
pub mod delegation;
pub mod diagnose;
pub mod diagnosis;
pub mod place;
pub mod propagation;
pub mod records;
pub mod resolver;
pub mod seen;
pub mod server;
pub mod trail;
pub mod write;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::domain::hostname::Hostname;

/// A question could not be answered: no server answered, or it answered with a failure. That says
/// nothing about the name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct LookupFailed(pub String);

/// A CAA record (RFC 8659 §4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caa {
    /// Whoever does not know its tag must not issue.
    pub critical: bool,
    /// `issue`, `issuewild`, `iodef`, …
    pub tag: String,
    /// As it stands in the record.
    pub value: String,
}

/// Why an authority would not validate a name, or not give a certificate for it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Misled {
    /// It has no address at all.
    #[error("it has neither an A nor an AAAA record; let it lead to this edge ({wanted})")]
    NoAddress {
        /// What it should lead to.
        wanted: String,
    },
    /// Its addresses are not this edge's: all of them, or all of one kind, which authorities and
    /// many clients then use.
    #[error("its {kind} records lead to {}, which is not this edge; let it lead to {wanted} and to nothing else",
        found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", "))]
    OtherAddresses {
        /// `A` or `AAAA`.
        kind: &'static str,
        /// Where they lead.
        found: Vec<IpAddr>,
        /// What it should lead to.
        wanted: String,
    },
    /// A CAA record forbids every authority that is configured.
    #[error("a CAA record of {at} allows {allowed} only; add one with {}, or remove it",
        identities.iter().map(|identity| format!("{tag} \"{identity}\"")).collect::<Vec<_>>().join(" or "))]
    Forbidden {
        /// The name that has the record: the hostname itself or one above it.
        at: String,
        /// Whom it allows, as its values have it.
        allowed: String,
        /// The property that says so: `issue`, or `issuewild` for a wildcard.
        tag: &'static str,
        /// The names of the configured authorities in such records.
        identities: Vec<String>,
    },
}

/// What a look at a name's DNS came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// Nothing stands in the way of an order.
    Leads,
    /// An order would be in vain.
    Misled(Misled),
    /// Nobody could tell, which stands in nobody's way.
    Unknown(String),
}

/// Why a TXT record of dns-01 is not where it should be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WriteFailed {
    /// The access cannot be used at all.
    #[error("the access to {zone} cannot be used: {why}; correct the dns of it in the configuration")]
    Access {
        /// The zone of the configuration.
        zone: Hostname,
        /// What the provider's library said.
        why: String,
    },
    /// The system's resolvers cannot be read.
    #[error("the system's resolvers cannot be read: {why}; give dns.resolvers")]
    NoResolver {
        /// What stood in the way.
        why: String,
    },
    /// The provider did not take it.
    #[error(
        "the TXT record of {owner} could not be written by the access to {zone}: {why}; \
         see that its key or token may change TXT records there"
    )]
    Present {
        /// Where the record should stand.
        owner: String,
        /// The zone of the configuration.
        zone: Hostname,
        /// What the provider said.
        why: String,
    },
    /// Other machines had the turn at the zone all the time.
    #[error(
        "the TXT record of {owner} could not be changed: for {} s other machines had the turn at {zone}; see \
         why its provider is slow, or spread the names over several zones",
        after.as_secs()
    )]
    NoTurn {
        /// Where the record stands, or should.
        owner: String,
        /// The zone of the configuration.
        zone: Hostname,
        /// How long the turn was waited for.
        after: Duration,
    },
    /// The provider did not remove it.
    #[error(
        "the TXT record of {owner} with the value {value} could not be removed by the access to {zone}: {why}"
    )]
    CleanUp {
        /// Where the record stands.
        owner: String,
        /// Its value.
        value: String,
        /// The zone of the configuration.
        zone: Hostname,
        /// What the provider said.
        why: String,
    },
    /// Some name servers do not show it.
    #[error(
        "the TXT record of {owner} was written, but after {} s these name servers do not show it: {}; see why \
         they are behind, or give the zone a longer propagation_timeout",
        after.as_secs(), servers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
    )]
    NotSeen {
        /// Where the record stands.
        owner: String,
        /// How long that was waited for.
        after: Duration,
        /// Who does not show it.
        servers: Vec<SocketAddr>,
    },
    /// Nobody could be asked.
    #[error(
        "the TXT record of {owner} was written, but no name server of {apex} could be asked for it: {why}; give \
         the zone name_servers that this machine reaches"
    )]
    NobodyAsked {
        /// Where the record stands.
        owner: String,
        /// The zone that it lies in.
        apex: String,
        /// What stood in the way.
        why: String,
    },
}
