//! The API against the real parts: the program, SQLite, DNS, Pebble.

#[path = "../bed/mod.rs"]
mod bed;

mod cli;
mod docs;
mod faults;
#[path = "bed.rs"]
mod house;
mod input;
mod life;
mod over_tls;
mod owners;
mod schemathesis;
mod settings;
