//! The dashboard as people use it: the program, and a real browser before it.

#[path = "../bed/mod.rs"]
mod bed;

mod browser;
mod guard;
#[allow(dead_code, reason = "the tests of the API use the rest of it")]
#[path = "../api/bed.rs"]
mod house;
mod pages;
mod pictures;
mod store;
