//! Static sites: the program beside nginx on the same folder, and what nginx has no word for.

#[path = "../bed/mod.rs"]
mod bed;
mod beside_nginx;
mod cases;
mod client;
mod escapes;
mod folder;
mod hostnames;
#[path = "../api/bed.rs"]
#[allow(dead_code, reason = "the API's own tests use the rest")]
mod house;
mod nginx;
mod pages;
mod precompressed;
mod streaming;
