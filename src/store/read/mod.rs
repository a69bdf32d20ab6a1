//! What the rows of either engine mean, and what goes into them.

pub mod accounts;
pub mod answer;
pub mod attempts;
pub mod certificates;
pub mod event;
pub mod hostname;
pub mod ledger;
pub mod names;
pub mod own;
pub mod registry;
pub mod revocations;
pub mod row;
pub mod sealed;
pub mod webhook;
