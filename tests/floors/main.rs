//! The architecture as a test: who may import whom, and how long things may grow.
//!
//! Changing a table here is a decision on the design, in a commit of its own.

mod laws;
mod paths;
mod samples;
mod source;

use source::Source;

/// Folders that everyone above may import.
const GROUND: &[&str] = &["domain", "config", "telemetry"];

/// Who may import whom beside [`GROUND`], from the ground up. An entry such as `acme::challenge`
/// allows that part alone.
const FLOORS: &[(&str, &[&str])] = &[
    ("store", &[]),
    // How other servers keep certificates; for whoever brings them along or shares them.
    ("peers", &[]),
    ("dns", &["store"]),
    ("acme", &["store", "dns", "peers"]),
    ("script", &["store"]),
    ("approval", &["store", "script"]),
    ("certs", &["acme", "approval", "store", "dns", "peers"]),
    ("sites", &["certs", "store", "dns"]),
    ("edge", &["certs", "acme::challenge", "sites", "script"]),
    ("api", &["sites", "certs", "store", "dns::diagnosis"]),
    // The composition root: chooses implementations and wires them.
    ("app", &["api", "edge", "sites", "certs", "approval", "script", "acme", "dns", "store"]),
    // `import` and `token` work on the store itself, without a running edge.
    ("cli", &["app", "api", "certs", "store", "peers"]),
    ("main", &["cli", "app"]),
];

/// What the ground itself may import.
const UNDERGROUND: &[(&str, &[&str])] =
    &[("domain", &[]), ("config", &["domain"]), ("telemetry", &["domain"]), ("lib", &[])];

/// Folders whose output is the terminal.
const MAY_PRINT: &[&str] = &["cli", "main"];

/// Longest file, in lines.
const LONGEST_FILE: usize = 500;
/// Longest function, in lines, from `fn` to its closing brace.
const LONGEST_FUNCTION: usize = 60;

/// Whether `from` may import `to` (a path such as `["acme", "challenge", "Answers"]`).
fn may_import(from: &str, to: &[String]) -> bool {
    let Some(floor) = to.first() else { return true };
    if floor == from {
        return true;
    }
    if let Some((_, allowed)) = UNDERGROUND.iter().find(|(name, _)| *name == from) {
        return allowed.contains(&floor.as_str());
    }
    let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == from) else { return false };
    let within = |entry: &&str| {
        entry.split("::").zip(to).all(|(a, b)| a == b) && entry.split("::").count() <= to.len()
    };
    GROUND.contains(&floor.as_str()) || allowed.iter().any(within)
}

/// Holds every file of `folders` against `law`; the first of them is never empty.
fn hold(law: fn(&Source) -> Vec<String>, folders: &[&str]) {
    let sources: Vec<Source> = folders.iter().flat_map(|folder| source::under(folder)).collect();
    assert!(sources.iter().any(|source| source.path.starts_with(folders[0])), "{} was not found", folders[0]);
    let broken: Vec<String> = sources.iter().flat_map(law).collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn imports_run_down_the_floors() {
    hold(laws::imports, &["src"]);
}

#[test]
fn every_folder_has_a_floor() {
    hold(laws::floor, &["src"]);
}

#[test]
fn a_folders_words_never_use_its_children() {
    hold(laws::children, &["src"]);
}

#[test]
fn no_file_is_too_long() {
    hold(laws::file_length, &["src", "tests", "benches", "examples"]);
}

#[test]
fn no_function_is_too_long() {
    hold(laws::function_length, &["src", "tests", "benches", "examples"]);
}

#[test]
fn nothing_panics_without_saying_why_it_cannot_happen() {
    hold(laws::panics, &["src"]);
}

#[test]
fn only_the_command_line_prints() {
    hold(laws::printing, &["src"]);
}

#[test]
fn no_test_is_ignored() {
    hold(laws::ignored, &["src", "tests"]);
}
