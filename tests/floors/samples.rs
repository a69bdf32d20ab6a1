//! The laws themselves, held against sources that break them.

use crate::laws;
use crate::source::Source;

fn breaches(law: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    law(&Source::new(path, text)).len()
}

#[test]
fn an_import_up_the_floors_is_caught_however_it_is_written() {
    for text in [
        "use crate::edge::connection::Connection;",
        "use crate::{domain::clock::Clock, edge::connection};",
        "use super::super::edge::connection as c;",
        "use crate::edge::*;",
        "fn f() { crate::edge::connection::open(); }",
        "fn f(x: Vec<crate::edge::Listener>) {}",
        "fn f() { println!(\"{}\", crate::edge::NAME); }",
        "fn f() { vec![(1, Some(crate::edge::NAME))]; }",
        "mod inner { use super::super::super::edge::X; }",
        "#[cfg(test)] mod tests { use crate::edge::X; }",
    ] {
        assert_eq!(breaches(laws::imports, "src/certs/find.rs", text), 1, "{text}");
    }
}

#[test]
fn an_import_down_the_floors_passes() {
    for text in [
        "use crate::store::{Error, Store};",
        "use crate::acme::challenge;",
        "use super::Refusal;",
        "mod tests { use super::*; }",
        "pub(crate) fn f() { telemetry::x(); std::edge::y(); }",
        "fn f() { tracing::info!(name = %name, \"text\"); }",
    ] {
        assert_eq!(breaches(laws::imports, "src/certs/find.rs", text), 0, "{text}");
    }
}

#[test]
fn a_part_of_a_folder_can_be_allowed_alone() {
    let allowed = "use crate::acme::challenge::Answers;";
    let others = "use crate::acme::order::Order; use crate::acme;";
    assert_eq!(breaches(laws::imports, "src/edge/request.rs", allowed), 0);
    assert_eq!(breaches(laws::imports, "src/edge/request.rs", others), 2);
}

#[test]
fn the_ground_imports_nothing_above_it() {
    assert_eq!(breaches(laws::imports, "src/domain/site.rs", "use crate::config::Config;"), 1);
    assert_eq!(breaches(laws::imports, "src/config/mod.rs", "use crate::telemetry::log;"), 1);
    assert_eq!(breaches(laws::imports, "src/main.rs", "use nameplate::edge;"), 1);
    assert_eq!(breaches(laws::imports, "src/main.rs", "use nameplate::cli;"), 0);
}

#[test]
fn a_folder_without_a_floor_is_caught() {
    assert_eq!(breaches(laws::floor, "src/util/mod.rs", ""), 1);
    assert_eq!(breaches(laws::floor, "src/edge/mod.rs", ""), 0);
}

#[test]
fn words_that_use_their_children_are_caught() {
    for text in [
        "pub mod find; use find::Finder;",
        "pub mod find; pub use self::find::Finder;",
        "pub mod find; use crate::certs::find::Finder;",
        "pub mod find; fn f() { find::f(); }",
        "pub mod find; mod tests { use super::find::Finder; }",
    ] {
        assert_eq!(breaches(laws::children, "src/certs/mod.rs", text), 1, "{text}");
    }
    assert_eq!(breaches(laws::children, "src/certs/mod.rs", "pub mod find; use crate::store::find;"), 0);
    assert_eq!(breaches(laws::children, "src/certs/index.rs", "use super::find::Finder;"), 0);
}

#[test]
fn long_files_and_functions_are_caught() {
    let file = |lines: usize| "\n".repeat(lines);
    assert_eq!(breaches(laws::file_length, "src/lib.rs", &file(500)), 0);
    assert_eq!(breaches(laws::file_length, "src/lib.rs", &file(501)), 1);
    let function = |lines: usize| format!("impl X {{ fn f() {{{}}} }}", "\n".repeat(lines - 1));
    assert_eq!(breaches(laws::function_length, "src/lib.rs", &function(60)), 0);
    assert_eq!(breaches(laws::function_length, "src/lib.rs", &function(61)), 1);
}

#[test]
fn panics_outside_tests_are_caught() {
    for text in [
        "fn f() { x.unwrap(); }",
        "fn f() { x.expect(why); }",
        "fn f() { x.expect(\"\"); }",
        "fn f() { panic!(\"oh\"); }",
        "fn f() { todo!() }",
        "fn f() { unreachable!() }",
        "fn f() { format!(\"{}\", x.unwrap()); }",
    ] {
        assert_eq!(breaches(laws::panics, "src/certs/find.rs", text), 1, "{text}");
    }
    for text in [
        "fn f() { x.expect(\"a constant prefix\"); unreachable!(\"parsed above\"); x.unwrap_or(1); }",
        "#[cfg(test)] mod tests { fn f() { x.unwrap(); panic!(); } }",
    ] {
        assert_eq!(breaches(laws::panics, "src/certs/find.rs", text), 0, "{text}");
    }
}

#[test]
fn printing_and_ignored_tests_are_caught() {
    assert_eq!(breaches(laws::printing, "src/certs/find.rs", "fn f() { println!(); }"), 1);
    assert_eq!(breaches(laws::printing, "src/cli/check.rs", "fn f() { println!(); }"), 0);
    assert_eq!(breaches(laws::ignored, "tests/x.rs", "#[test] #[ignore = \"slow\"] fn f() {}"), 1);
}
