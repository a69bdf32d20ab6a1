//! A fleet: three machines as processes, a real PostgreSQL, a real CA whose validations land on any of them.

mod away;
#[path = "../bed/mod.rs"]
mod bed;
mod faults;
#[path = "bed.rs"]
mod fleet;
mod keys;
mod kill;
mod networks;
mod one;
mod renewals;
mod restore;
mod zone;
