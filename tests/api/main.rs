//! The API against the real parts: the program, SQLite, DNS, Pebble.

#[path = "../bed/mod.rs"]
mod bed;

#[path = "bed.rs"]
mod house;
mod life;
