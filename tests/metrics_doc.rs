//! docs/metrics.md lists every metric, and `/metrics` gives what is listed.

use std::fmt::Write as _;

use nameplate::telemetry::metrics::Metrics;

const PAGE: &str = include_str!("../docs/metrics.md");

#[test]
fn the_page_lists_every_metric_as_it_is_declared() {
    let rows = Metrics::ALL.iter().fold(String::new(), |mut rows, metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(rows, "| `{}` | {} | {} | {} |", metric.name, metric.kind, labels.join(", "), metric.help)
            .expect("a String takes all");
        rows
    });
    let listed: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(listed, rows.lines().collect::<Vec<_>>(), "docs/metrics.md should have these rows:\n{rows}");
}

#[test]
fn what_is_rendered_has_the_listed_names_and_kinds() {
    let metrics = Metrics::new("1.2.3");
    metrics.tls_handshakes.with_label_values(&["full"]).inc();

    let text = String::from_utf8(metrics.render()).unwrap();

    assert!(text.contains("nameplate_build_info{version=\"1.2.3\"} 1\n"), "{text}");
    assert!(text.contains("nameplate_tls_handshakes_total{result=\"full\"} 1\n"), "{text}");
    for metric in Metrics::ALL.iter().filter(|metric| metric.labels.is_empty()) {
        assert!(
            text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind)),
            "{}: {text}",
            metric.name
        );
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        assert!(Metrics::ALL.iter().any(|metric| metric.name == name), "{name} is not listed");
    }
}
