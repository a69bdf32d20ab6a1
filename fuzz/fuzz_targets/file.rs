//! See `file_request` in the entry points.
#![no_main]

#[allow(dead_code, reason = "each target begins with one of them")]
#[path = "../../tests/fuzz/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| entries::file_request(octets));
