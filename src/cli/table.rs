//! What commands print for people.

use std::io::Write;

use serde_json::Value;

/// A text of somebody else's without what would move a terminal's cursor.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Prints a line; a reader that has gone, as `head` does, is no fault.
pub fn say(line: &str) {
    let _gone = writeln!(std::io::stdout(), "{}", plain(line));
}

/// Prints a document as it is.
pub fn print(document: &Value) {
    let _gone = writeln!(std::io::stdout(), "{document}");
}

/// A value of a document, as it stands in a table; `-` where there is none.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.replace('\n', " "),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The attributes of a list's resources.
pub fn rows(document: &Value) -> impl Iterator<Item = &Value> {
    document["data"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(|data| &data["attributes"])
}

/// Prints a table, each column as wide as its widest cell.
pub fn table(heads: &[&str], rows: &[Vec<String>], indent: &str) {
    let width = |text: &str| text.chars().count();
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell));
        cells.chain(heads.get(column).map(|head| width(head))).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(widest).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{indent}{}", padded.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    say(&line(&mut heads.iter().copied()));
    for row in rows {
        say(&line(&mut row.iter().map(String::as_str)));
    }
}

/// Prints names and values, one pair a line.
pub fn pairs(pairs: &[(&str, String)]) {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty() && value != "-") {
        say(&format!("  {name:width$}  {value}"));
    }
}

/// Prints a list, and that there is more of it; `row` makes one of attributes.
pub fn list(document: &Value, heads: &[&str], row: impl Fn(&Value) -> Vec<String>) {
    let rows: Vec<Vec<String>> = rows(document).map(row).collect();
    if rows.is_empty() {
        eprintln!("There are none.");
        return;
    }
    table(heads, &rows, "");
    if !document["links"]["next"].is_null() {
        eprintln!("There are more; --all lists all of them.");
    }
}
