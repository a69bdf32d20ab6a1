//! Certificates of one's own, against the real parts: the program, SQLite, DNS, Pebble.

#[path = "../bed/mod.rs"]
mod bed;
#[path = "../api/bed.rs"]
#[allow(dead_code, reason = "the API's tests use the rest")]
mod house;

mod bad;
mod ca;
mod choice;
mod files;
mod life;
mod ocsp;
