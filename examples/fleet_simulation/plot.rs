//! The drawings.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::scenario::Scenario;
use crate::world::{Hour, World};

type Drawn = Result<(), Box<dyn Error>>;

/// What a line shows of an hour.
type Value = fn(&Hour) -> f64;

const SIZE: (u32, u32) = (900, 420);
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 96, 196), RGBColor(214, 96, 26), RGBColor(38, 140, 80), RGBColor(150, 60, 150)];

/// A line: its name, and the values of each hour.
struct Line<'a> {
    name: &'a str,
    values: Vec<f64>,
}

/// Draws all of them into `folder`.
pub fn all(worlds: &[(Scenario, World)], folder: &Path) -> Drawn {
    std::fs::create_dir_all(folder)?;
    let of = |title: &str, name: &'static str, value: Value| {
        let found = worlds.iter().find(|(scenario, _)| scenario.title == title);
        let hours = found.map(|(_, world)| world.hours.as_slice()).unwrap_or_default();
        Line { name, values: hours.iter().map(value).collect() }
    };
    let orders: Value = |hour| hour.orders as f64;
    let lives = ["90 days", "45 days", "6 days"];
    let lines: Vec<Line<'_>> = lives.iter().map(|&life| of(life, life, orders)).collect();
    draw(
        &folder.join("lifetimes.svg"),
        "Orders an hour, by the certificates' lifetime",
        "orders an hour",
        lines,
    )?;
    let import = "90 days, all came in one day";
    let renewals = of(import, "without a limit", |hour| hour.renewals as f64);
    let limited =
        of("90 days, all came in one day, limited", "limited to twice the mean", |hour| hour.renewals as f64);
    draw(
        &folder.join("import.svg"),
        "Renewals after all names came in one day",
        "renewals an hour",
        vec![renewals, limited],
    )?;
    let outage = "6 days, 1 day outage";
    let lines = vec![
        of(outage, "waiting for an order", |hour| hour.backlog as f64),
        of(outage, "late", |hour| hour.late as f64),
        of(outage, "expired in all", |hour| hour.expired as f64),
    ];
    draw(&folder.join("outage.svg"), "An outage of one day, certificates of 6 days", "names", lines)?;
    let lines = vec![
        of(outage, "6 days, 1 day outage", |hour| hour.used * 100.0),
        of("90 days, 3 days outage", "90 days, 3 days outage", |hour| hour.used * 100.0),
    ];
    draw(&folder.join("budget.svg"), "How much of the limit on orders is used", "per cent", lines)
}

fn draw(file: &Path, title: &str, unit: &str, lines: Vec<Line<'_>>) -> Drawn {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let hours = lines.iter().map(|line| line.values.len()).max().unwrap_or(1);
    let most = lines.iter().flat_map(|line| line.values.iter().copied()).fold(1.0, f64::max);
    let days = hours as f64 / 24.0;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(96)
        .build_cartesian_2d(0.0..days, 0.0..most * 1.08)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(225, 225, 225))
        .axis_style(RGBColor(120, 120, 120))
        .x_desc("days")
        .y_desc(unit)
        .x_label_formatter(&|day| format!("{day:.0}"))
        .y_label_formatter(&|value| thousands(*value))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        let points = line.values.iter().enumerate().map(|(hour, value)| (hour as f64 / 24.0, *value));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.9))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}

/// A number with spaces between its thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(" ")
}
