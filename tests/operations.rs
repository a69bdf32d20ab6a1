//! The operations guide, the alerts and the dashboard, held against the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use nameplate::telemetry::metrics::Metrics;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

/// Words of our metrics in an expression, without what a histogram adds.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("nameplate_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

fn expressions() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(&read("conf/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    let mut found: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    let alerts = read("conf/alerts.yml");
    found.extend(alerts.lines().filter_map(|line| Some(line.trim().strip_prefix("expr: ")?.to_owned())));
    found
}

#[test]
fn alerts_and_dashboard_use_metrics_and_labels_that_exist() {
    let expressions = expressions();
    assert!(expressions.len() > 30);
    for expression in &expressions {
        for name in metrics_in(expression) {
            let metric = Metrics::ALL.iter().find(|metric| metric.name == name);
            let metric = metric.unwrap_or_else(|| panic!("there is no {name}: {expression}"));
            let after = expression.split(&name).nth(1).unwrap();
            let selector = after.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or("");
            for label in selector.split(',').filter_map(|part| part.split(['=', '!']).next()) {
                let label = label.trim();
                assert!(label.is_empty() || metric.labels.contains(&label), "{label}: {expression}");
            }
        }
    }
}

#[test]
fn the_dashboard_shows_every_metric() {
    let dashboard = read("conf/dashboard.json");
    let shown = metrics_in(&dashboard);
    for metric in Metrics::ALL {
        assert!(shown.contains(metric.name), "the dashboard lacks {}", metric.name);
    }
}

#[test]
fn every_alert_has_its_chapter_and_every_chapter_its_alert() {
    let alerts = read("conf/alerts.yml");
    let alerts: BTreeSet<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let guide = read("docs/operations.md");
    let chapters: BTreeSet<&str> = guide.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(!alerts.is_empty());
    assert_eq!(alerts, chapters);
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The message of each `warn!` and `error!`: the literal that no `=` stands before.
fn messages(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for call in ["tracing::warn!(", "tracing::error!("] {
        for rest in source.split(call).skip(1) {
            let tokens: proc_macro2::TokenStream =
                rest[..end_of_call(rest)].parse().expect("the arguments of a call");
            let mut after_equals = false;
            for token in tokens {
                if let proc_macro2::TokenTree::Literal(literal) = &token
                    && !after_equals
                    && let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                {
                    found.push(text.value());
                    break;
                }
                after_equals = token.to_string() == "=";
            }
        }
    }
    found
}

/// Where the parenthesis that is open at the start is closed.
fn end_of_call(rest: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, octet) in rest.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("a call that does not end")
}

#[test]
fn the_guide_explains_every_warning_and_error_of_the_log() {
    let guide = read("docs/operations.md");
    let rows: Vec<&str> =
        guide.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let said: Vec<String> =
        files.iter().flat_map(|path| messages(&fs::read_to_string(path).unwrap())).collect();
    assert!(said.len() > 30, "{said:?}");
    let explained =
        |message: &String| message.starts_with("{what}") || rows.iter().any(|row| message.starts_with(row));
    let unexplained: Vec<_> = said.iter().filter(|message| !explained(message)).collect();
    assert!(unexplained.is_empty(), "docs/operations.md does not explain: {unexplained:#?}");
    let unsaid = |row: &&str| !said.iter().any(|message| message.starts_with(row));
    let unsaid: Vec<_> = rows.into_iter().filter(unsaid).collect();
    assert!(unsaid.is_empty(), "nothing says any more: {unsaid:#?}");
}
