//! `nameplate check`: loads a configuration file and says what is wrong with it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{Authority, Config, Directory, KeySource, file};
use crate::domain::site::Site;

/// Items of one kind that the summary names before it only counts.
const NAMED: usize = 8;

/// What `nameplate check` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration file [default: ./nameplate.toml, then /etc/nameplate/nameplate.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Loads the file. Every problem goes to stderr, a line each, with exit code 1; without one a
/// summary goes to stdout.
pub fn run(args: Args) -> ExitCode {
    match check(&args, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        // A closed pipe is the reader's choice, and the answer cannot be given either way.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// [`run`] with its outputs as arguments; whether the file is in order. Fails where an output does.
pub fn check(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let path = match file::locate(args.config.as_deref()) {
        Ok(path) => path,
        Err(error) => {
            writeln!(err, "{error}")?;
            return Ok(false);
        }
    };
    match file::load(&path) {
        Ok(config) => {
            writeln!(out, "{}: ok", path.display())?;
            summarize(&config, out)?;
            Ok(true)
        }
        Err(problems) => {
            writeln!(err, "{problems}")?;
            Ok(false)
        }
    }
}

fn summarize(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let addresses = |list: &[crate::config::ListenAddress]| {
        let list: Vec<String> = list.iter().map(|listen| listen.address.to_string()).collect();
        if list.is_empty() { "nowhere".to_owned() } else { list.join(", ") }
    };
    writeln!(out, "  data         {}", config.data_dir.display())?;
    match &config.store.key {
        KeySource::File(path) => writeln!(out, "  sealing key  {}", path.display())?,
        KeySource::Environment { name, .. } => writeln!(out, "  sealing key  ${name}")?,
    }
    writeln!(out, "  http         {}", addresses(&config.listen.http))?;
    writeln!(out, "  https        {}", addresses(&config.listen.https))?;
    writeln!(out, "  admin        {}", config.listen.admin)?;
    if let Some(metrics) = config.listen.metrics {
        writeln!(out, "  metrics      {metrics}")?;
    }
    writeln!(out, "  authorities  {}", named(&config.authorities, "none: nothing is obtained", authority))?;
    // The URL may hold a token, so only whether there is one is told.
    let on_demand = match &config.on_demand.approval {
        Some(_) => format!("names that the approval endpoint approves, for site {}", config.on_demand.site),
        None => "no: only the sites' own hostnames".to_owned(),
    };
    writeln!(out, "  on demand    {on_demand}")?;
    let platform = |platform: &crate::config::Platform| format!("*.{} ({})", platform.domain, platform.site);
    writeln!(out, "  platforms    {}", named(&config.platforms, "none", platform))?;
    writeln!(out, "  sites        {}", named(&config.sites, "none", site))
}

fn named<T>(items: &[T], none: &str, name: impl Fn(&T) -> String) -> String {
    if items.is_empty() {
        return none.to_owned();
    }
    let mut names: Vec<String> = items.iter().take(NAMED).map(name).collect();
    if items.len() > NAMED {
        names.push(format!("and {} more", items.len() - NAMED));
    }
    names.join(", ")
}

fn authority(authority: &Authority) -> String {
    let place = match &authority.directory {
        Directory::Internal { .. } => "internal",
        Directory::Acme(url) => url.host_str().unwrap_or_default(),
    };
    format!("{} ({place})", authority.name)
}

fn site(site: &Site) -> String {
    let count = |count: usize, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
    let shown = match &site.files {
        Some(files) => format!("files in {}", files.root),
        None => count(site.origins.len(), "origin"),
    };
    format!("{} ({}, {shown})", site.name, count(site.hostnames.len(), "hostname"))
}
