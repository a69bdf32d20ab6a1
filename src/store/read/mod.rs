//! What the rows of either engine mean, and what goes into them.

pub mod accounts;
pub mod attempts;
pub mod certificates;
pub mod ledger;
pub mod names;
pub mod own;
pub mod revocations;
pub mod sealed;
