//! Session tickets: resumed on any machine of a fleet, and never where they must not be.

#[path = "../bed/mod.rs"]
mod bed;
mod fleet;
mod handshakes;
mod program;
mod rotation;
