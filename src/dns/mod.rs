//! What a customer's name leads to, by DNS; and the zone that we answer for ourselves.

pub mod advice;
pub mod caa;
pub mod cdn;
pub mod check;
pub mod delegation;
pub mod diagnose;
pub mod diagnosis;
pub mod place;
pub mod records;
pub mod resolver;
pub mod seen;
pub mod server;
pub mod trail;

use std::net::IpAddr;

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
