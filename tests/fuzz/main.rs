//! What strangers send, changed at random: the entry points of the fuzz targets as property tests.

mod entries;

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Inputs for each entry.
const CASES: u32 = 4_000;

/// A change of some octets.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// A piece of another seed.
    Graft(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, octet)| Change::Set(at, octet)),
        (place(), prop::collection::vec(any::<u8>(), 1..16)).prop_map(|(at, new)| Change::Insert(at, new)),
        (place(), 1..64_usize).prop_map(|(at, octets)| Change::Remove(at, octets)),
        (place(), place(), 1..64_usize).prop_map(|(from, at, octets)| Change::Graft(from, at, octets)),
    ]
}

fn changed(mut octets: Vec<u8>, changes: &[Change], other: &[u8]) -> Vec<u8> {
    for change in changes {
        let room = octets.len() + 1;
        match change {
            Change::Set(at, octet) if !octets.is_empty() => *at.get_mut(&mut octets) = *octet,
            Change::Set(..) => {}
            Change::Insert(at, new) => {
                let at = at.index(room);
                octets.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = at.index(room);
                octets.drain(at..(at + length).min(octets.len()));
            }
            Change::Graft(from, at, length) => {
                let (from, at) = (from.index(other.len() + 1), at.index(room));
                let piece = other[from..(from + length).min(other.len())].to_vec();
                octets.splice(at..at, piece);
            }
        }
    }
    octets
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seeds", folder.display());
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn holds(name: &str) {
    let (_, entry) = entries::ALL.into_iter().find(|(its, _)| *its == name).unwrap();
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| entry(seed));
    let noise = prop::collection::vec(any::<u8>(), 0..600);
    let of_seeds = (
        prop::sample::select(seeds.clone()),
        prop::sample::select(seeds),
        prop::collection::vec(change(), 1..8),
    )
        .prop_map(|(seed, other, changes)| changed(seed, &changes, &other));
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
    let outcome = runner.run(&prop_oneof![1 => noise, 4 => of_seeds], |octets| {
        entry(&octets);
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{name}: {failed}"));
}

#[test]
fn a_client_hello() {
    holds("client_hello");
}

#[test]
fn a_proxy_header() {
    holds("proxy_protocol");
}

#[test]
fn a_host() {
    holds("host");
}

#[test]
fn a_request_for_a_file() {
    holds("file");
}

#[test]
fn a_configuration() {
    holds("configuration");
}

#[test]
fn a_stored_record() {
    holds("stored_record");
}

#[test]
fn an_approval_answer() {
    holds("approval_answer");
}

#[test]
fn a_message_of_dns() {
    holds("dns_message");
}

#[test]
fn every_entry_is_a_fuzz_target_and_a_test() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let here = include_str!("main.rs");
    for (name, _) in entries::ALL {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no target");
        assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} has no target");
        assert!(here.contains(&format!("holds(\"{name}\")")), "{name} has no test");
    }
}
