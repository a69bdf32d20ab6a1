//! The cut-over from lua-resty-auto-ssl, with its layout in a real Redis.

#[path = "../bed/mod.rs"]
mod bed;

mod access;
mod cut_over;
mod faults;
#[path = "bed.rs"]
mod house;
mod locks;
