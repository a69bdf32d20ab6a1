//! The API against the real parts: the program, SQLite, DNS, Pebble.

#[path = "../bed/mod.rs"]
mod bed;

mod cli;
mod delegation;
mod docs;
#[path = "../webhooks/receiver.rs"]
#[allow(dead_code, reason = "the webhooks' own tests use the rest")]
mod receiver;

mod faults;
mod hooks;
#[path = "bed.rs"]
mod house;
mod idempotency;
mod input;
mod life;
mod over_tls;
mod owners;
mod schemathesis;
mod settings;
mod strangers;
