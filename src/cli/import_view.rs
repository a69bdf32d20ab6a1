//! What `nameplate import` shows: progress, a table, a report for programs, what it came to.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::certs::import::batches::Listener;
use crate::certs::import::{Fate, Kind, Row, Source, Summary};
use crate::certs::in_full;

/// Names of an item that the table shows.
const NAMES_SHOWN: usize = 3;
/// Lines by which the table's columns are made wide enough; later ones may stand out.
const LINES_MEASURED: usize = 1_000;

/// Where it is shown.
pub struct View<'a> {
    kind: Kind,
    applied: bool,
    out: &'a mut dyn Write,
    /// Lines of JSON, one for each item.
    report: Option<BufWriter<File>>,
    bar: ProgressBar,
    /// Lines of the table that are not written yet.
    lines: Vec<[String; 4]>,
    widths: Option<[usize; 3]>,
}

impl<'a> View<'a> {
    /// - `applied`: whether it is done, or only shown
    /// - `report`: where to write lines of JSON too
    pub fn new(
        source: &Source,
        applied: bool,
        report: Option<BufWriter<File>>,
        out: &'a mut dyn Write,
    ) -> Self {
        // It goes to stderr, and nowhere where that is no terminal.
        let bar = source.total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = format!("{{wide_bar}} {{pos}} of {{len}} {} ({{elapsed}})", source.kind.many);
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self { kind: source.kind, applied, out, report, bar, lines: Vec::new(), widths: None }
    }

    /// Writes what is left: the table's end, what it came to, and what to do `afterwards`.
    ///
    /// - `whole`: whether the source was read to its end
    pub fn end(mut self, summary: &Summary, afterwards: &[String], whole: bool) -> io::Result<()> {
        self.write_lines()?;
        self.bar.finish_and_clear();
        if let Some(report) = &mut self.report {
            report.flush()?;
        }
        let Summary { items, used, kept_items, names, wildcards, kept } = *summary;
        let (one, many) = (self.kind.one, self.kind.many);
        if items == 0 {
            return if whole { writeln!(self.out, "{}", self.kind.none) } else { Ok(()) };
        }
        let skipped = items - used - kept_items;
        let imported = if self.applied { "imported from" } else { "in" };
        writeln!(self.out, "{names} names {imported} {used} of {items} {many}; {skipped} {many} skipped")?;
        if kept > 0 {
            writeln!(
                self.out,
                "{kept} names were there already: the store has the same certificate or one that lasts longer"
            )?;
        }
        if wildcards > 0 {
            writeln!(
                self.out,
                "{wildcards} of them are wildcards: served like the others, but renewed only where the \
                 configuration has dns-01 for them; bring a new certificate before the end of the others"
            )?;
        }
        if !whole {
            let end =
                if self.applied { "what was imported stays; do it again to go on" } else { "do it again" };
            writeln!(self.out, "it ended before the last {one} was read; {end}")?;
        } else if !self.applied {
            writeln!(self.out, "nothing was written; add --apply to import")?;
        }
        for paragraph in afterwards.iter().filter(|_| whole && self.applied) {
            writeln!(self.out, "{paragraph}")?;
        }
        Ok(())
    }

    fn write_lines(&mut self) -> io::Result<()> {
        let lines = std::mem::take(&mut self.lines);
        if lines.is_empty() {
            return Ok(());
        }
        let heading = [&*self.kind.one.to_uppercase(), "NAMES", "NOT AFTER", "VERDICT"].map(str::to_owned);
        let first = self.widths.is_none();
        let widths = *self.widths.get_or_insert_with(|| widths(std::iter::once(&heading).chain(&lines)));
        let out = &mut self.out;
        self.bar.suspend(|| {
            for [place, names, not_after, verdict] in first.then_some(&heading).into_iter().chain(&lines) {
                let [a, b, c] = widths;
                writeln!(out, "{place:a$}  {names:b$}  {not_after:c$}  {verdict}")?;
            }
            Ok(())
        })
    }
}

impl Listener for View<'_> {
    fn read(&mut self, items: u64) {
        self.bar.set_position(items);
    }

    /// A dry run shows every item; otherwise only what was left out is worth a line.
    fn row(&mut self, row: &Row) -> io::Result<()> {
        let verdict = Verdict::of(row, self.applied);
        if let Some(report) = &mut self.report {
            let names: Vec<&str> = row.names.iter().map(|(name, _)| name.as_str()).collect();
            let line = json!({
                "place": &*row.place,
                "names": names,
                "not_after": row.not_after.map(|not_after| not_after.to_string()),
                "verdict": verdict.word,
                "why": verdict.why,
                "note": row.note,
            });
            writeln!(report, "{line}")?;
        }
        let is_worth_it = row.note.is_some() || verdict.why.is_some();
        if !self.applied || is_worth_it {
            self.lines.push(cells(row, &verdict));
        }
        if self.lines.len() >= LINES_MEASURED {
            self.write_lines()?;
        }
        Ok(())
    }
}

fn widths<'a>(lines: impl Iterator<Item = &'a [String; 4]>) -> [usize; 3] {
    let mut widths = [0; 3];
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn cells(row: &Row, verdict: &Verdict) -> [String; 4] {
    let mut names: Vec<&str> = row.names.iter().take(NAMES_SHOWN).map(|(name, _)| name.as_str()).collect();
    let more = format!("+{}", row.names.len().saturating_sub(NAMES_SHOWN));
    if row.names.len() > NAMES_SHOWN {
        names.push(&more);
    }
    let not_after = row.not_after.map_or_else(String::new, |not_after| not_after.to_string());
    let mut text = verdict.word.to_owned();
    if let Some(why) = &verdict.why {
        let joint = if row.is_used() { ", but " } else { ": " };
        text.push_str(joint);
        text.push_str(why);
    }
    if let Some(note) = &row.note {
        text.push_str("; ");
        text.push_str(note);
    }
    // What a place is called and what lies there is anybody's: no control character of it reaches the
    // terminal.
    [shown(&row.place), names.join(" "), not_after, super::table::plain(&text).replace('\n', " ")]
}

fn shown(place: &str) -> String {
    place.escape_debug().to_string()
}

/// What became of an item.
struct Verdict {
    word: &'static str,
    /// Why not, or why not for all of its names.
    why: Option<String>,
}

impl Verdict {
    fn of(row: &Row, applied: bool) -> Self {
        if let Some(error) = &row.skipped {
            return Self { word: "skipped", why: Some(in_full(error)) };
        }
        let mut reasons: Vec<String> = Vec::new();
        let beaten = row.names.iter().filter_map(|(name, fate)| match fate {
            Fate::Beaten(by) => Some(format!("{} is better for {name}", shown(by))),
            Fate::Revoked => Some(format!("it was revoked here, for {name}")),
            Fate::Taken | Fate::Kept => None,
        });
        reasons.extend(beaten.take(NAMES_SHOWN + 1));
        if reasons.len() > NAMES_SHOWN {
            reasons.truncate(NAMES_SHOWN);
            reasons.push("…".to_owned());
        }
        let kept = row.names.iter().any(|(_, fate)| *fate == Fate::Kept);
        let word = match (row.is_used(), kept, applied) {
            (true, _, true) => "imported",
            (true, _, false) => "will be imported",
            (false, true, _) => "already there",
            (false, false, _) => "skipped",
        };
        Self { word, why: (!reasons.is_empty()).then(|| reasons.join(", ")) }
    }
}
