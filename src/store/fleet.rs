//! The part of a store that knows which machines share it.

use std::time::Duration;

use async_trait::async_trait;

use super::{Error, Health};
use crate::domain::clock::UnixTime;
use crate::domain::fleet::Machine;

/// How often a machine says that it is there.
pub const CHECK_IN: Duration = Duration::from_secs(10);
/// A machine that has not said so for this long is taken for gone.
pub const SILENT: Duration = Duration::from_secs(60);
/// A machine that has been gone for this long is forgotten.
pub const FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A machine as the fleet sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// What it said.
    pub machine: Machine,
    /// When, by the store's clock.
    pub at: UnixTime,
    /// How many changes there are that it had not looked at then.
    pub behind: u64,
}

/// What the fleet is at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Work {
    /// The present moment, by the store's clock.
    pub now: UnixTime,
    /// Names on which somebody holds a lease.
    pub leases: u64,
    /// Authorities of whom something is kept: their names, and how they do.
    pub authorities: Vec<(String, Health)>,
}

/// Which machines there are.
#[async_trait]
pub trait Fleet: Send + Sync + 'static {
    /// Keeps what a machine says of itself; those that are gone for long are forgotten.
    async fn check_in(&self, machine: &Machine) -> Result<(), Error>;

    /// Forgets a machine that leaves.
    async fn sign_off(&self, id: &str) -> Result<(), Error>;

    /// Every machine, in the order of their names and identifiers.
    async fn machines(&self) -> Result<Vec<Seen>, Error>;

    /// What is under way.
    async fn work(&self) -> Result<Work, Error>;

    /// How many orders were placed with the authority of this name since `since`.
    async fn orders_since(&self, authority: &str, since: UnixTime) -> Result<u64, Error>;
}
