//! `nameplate import`: certificates from other servers.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::certs::import::{PemFolder, Report, Row, import_folder};
use crate::certs::in_full;
use crate::config::Config;
use crate::domain::clock::{Clock, SystemClock};
use crate::store::local::{LOCAL_TIER, LocalTier};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store, key_file};
use crate::telemetry::metrics::Metrics;

/// Files between two lines of progress.
const PROGRESS_STEP: usize = 500;
/// Names of a file that the table shows.
const NAMES_SHOWN: usize = 3;

/// Bring certificates from other servers.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Where they come from.
    #[command(subcommand)]
    pub source: Source,
}

/// What can be imported.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Source {
    /// A folder of *.pem files with leaf, chain and private key in one file.
    Haproxy(Haproxy),
}

/// `import haproxy`
#[derive(clap::Args, Clone, Debug)]
pub struct Haproxy {
    /// The folder.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Write into the store; without it, only show what would be done.
    #[arg(long)]
    pub apply: bool,
    /// The configuration file; read with --apply only.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Does it. The configuration is loaded by `load` where it is needed: a dry run needs none. The
/// server may run meanwhile.
///
/// 0: done; 1: nothing was there to import, or an error stopped it (what was imported until then
/// stays).
pub async fn run(args: &Args, load: impl FnOnce(Option<&Path>) -> Result<Config, ExitCode>) -> ExitCode {
    let Source::Haproxy(haproxy) = &args.source;
    let config = match haproxy.apply.then(|| load(haproxy.config.as_deref())).transpose() {
        Ok(config) => config,
        Err(code) => return code,
    };
    match import(&haproxy.folder, config.as_ref(), &mut io::stdout().lock()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nameplate import: {}", in_full(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Imports `folder` into the store of `config`, or shows what would be imported where there is
/// none; writes its report to `out`. Whether there was anything to import.
pub async fn import(
    folder: &Path,
    config: Option<&Config>,
    out: &mut dyn Write,
) -> Result<bool, Box<dyn Error>> {
    let files = PemFolder::open(folder)?;
    let store = match config {
        Some(config) => Some(open_store(config).await?),
        None => None,
    };
    let total = files.len();
    let now = SystemClock.now();
    let store_words = store.as_ref().map(|store| store as &dyn Store);
    let report = import_folder(files, store_words, now, |read| show_progress(read, total)).await;
    if let Some(store) = &store {
        store.close().await;
    }
    let report = report?;
    if let Some(config) = config {
        forget_local_copies(config, &report).await?;
    }
    write_table(&report, store.is_some(), out)?;
    write_summary(&report, store.is_some(), out)?;
    Ok(report.names > 0)
}

/// This machine's own copies of what was replaced would be served before the store is asked.
async fn forget_local_copies(config: &Config, report: &Report) -> Result<(), crate::store::Error> {
    let key = key_file::open(&config.store.key)?;
    let local = LocalTier::open(&config.data_dir.join(LOCAL_TIER), key)?;
    for name in report.rows.iter().flat_map(|row| &row.names) {
        local.forget(name).await?;
    }
    Ok(())
}

async fn open_store(config: &Config) -> Result<SqliteStore, crate::store::Error> {
    let key = key_file::open(&config.store.key)?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    SqliteStore::open_beside(&config.data_dir, key, Arc::new(SystemClock), metrics).await
}

fn show_progress(read: usize, total: usize) {
    if (read.is_multiple_of(PROGRESS_STEP) || read == total) && io::stderr().is_terminal() {
        let end = if read == total { "\n" } else { "" };
        eprint!("\r{read} of {total} files{end}");
    }
}

/// A dry run shows every file; otherwise only what was left out is worth a line.
fn write_table(report: &Report, applied: bool, out: &mut dyn Write) -> io::Result<()> {
    let shown = |row: &&Row| !applied || row.skipped.is_some() || !row.beaten.is_empty();
    let lines: Vec<[String; 4]> =
        report.rows.iter().filter(shown).map(|row| cells(row, report, applied)).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let head = ["FILE", "NAMES", "NOT AFTER", "VERDICT"].map(str::to_owned);
    let mut widths = [0; 3];
    for line in std::iter::once(&head).chain(&lines) {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for [file, names, not_after, verdict] in std::iter::once(&head).chain(&lines) {
        let [a, b, c] = widths;
        writeln!(out, "{file:a$}  {names:b$}  {not_after:c$}  {verdict}")?;
    }
    Ok(())
}

fn cells(row: &Row, report: &Report, applied: bool) -> [String; 4] {
    let mut names: Vec<&str> = row.names.iter().take(NAMES_SHOWN).map(|name| name.as_str()).collect();
    let more = format!("+{}", row.names.len().saturating_sub(NAMES_SHOWN));
    if row.names.len() > NAMES_SHOWN {
        names.push(&more);
    }
    let not_after = row.not_after.map_or_else(String::new, |not_after| not_after.to_string());
    // A file's name is anybody's: no control character of it reaches the terminal.
    let file = row.file.escape_debug().to_string();
    [file, names.join(" "), not_after, verdict(row, report, applied)]
}

fn verdict(row: &Row, report: &Report, applied: bool) -> String {
    if let Some(error) = &row.skipped {
        return format!("skipped: {}", in_full(error));
    }
    let done = if applied { "imported" } else { "will be imported" };
    let beaten: Vec<String> = row
        .beaten
        .iter()
        .take(NAMES_SHOWN)
        .map(|(name, by)| format!("{name} by {}", report.rows[*by].file.escape_debug()))
        .collect();
    let ellipsis = if row.beaten.len() > NAMES_SHOWN { ", …" } else { "" };
    match (row.is_used(), beaten.is_empty()) {
        (_, true) => done.to_owned(),
        (true, false) => format!("{done}, but covered longer: {}{ellipsis}", beaten.join(", ")),
        (false, false) => format!("skipped: covered longer: {}{ellipsis}", beaten.join(", ")),
    }
}

fn write_summary(report: &Report, applied: bool, out: &mut dyn Write) -> io::Result<()> {
    let used = report.rows.iter().filter(|row| row.is_used()).count();
    let skipped = report.rows.len() - used;
    let files = report.rows.len();
    if files == 0 {
        return writeln!(out, "no *.pem files there");
    }
    if !applied {
        writeln!(out, "{} names in {used} of {files} files; {skipped} files skipped", report.names)?;
        return writeln!(out, "nothing was written; add --apply to import");
    }
    writeln!(out, "{} names imported from {used} of {files} files; {skipped} files skipped", report.names)?;
    if report.kept > 0 {
        writeln!(out, "{} certificates stayed out: the store has one that lasts longer", report.kept)?;
    }
    Ok(())
}
