//! The TOML file and how it becomes a [`Config`].

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::place::{Source, Wrong, place};
use super::section::Section;
use super::{Config, NotFound, Problem, Problems};
use super::{
    authority, bridge, certificate, dns_server, dns_zone, limits, listen, on_demand, platform, site, store,
};

/// Where a file is looked for, in this order.
const PLACES: [&str; 2] = ["./nameplate.toml", "/etc/nameplate/nameplate.toml"];

/// Longest file that is read, in octets.
pub const LONGEST: u64 = 16 * 1024 * 1024;

/// Our own folder unless the file says otherwise.
const DATA_DIR: &str = "/var/lib/nameplate";

/// The file to load: the `given` one, else the first of `./nameplate.toml` and
/// `/etc/nameplate/nameplate.toml` that exists.
pub fn locate(given: Option<&Path>) -> Result<PathBuf, NotFound> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let found = PLACES.iter().map(Path::new).find(|path| path.exists());
    let looked_for = || PLACES.map(str::to_owned).to_vec();
    found.map(Path::to_owned).ok_or_else(|| NotFound { looked_for: looked_for() })
}

/// Reads the file at `path`; secrets given as `x_env` come from this process's environment.
///
/// Fails with everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let octets = read(path).map_err(|wrong| whole_file(path, (1, 1), wrong))?;
    let text = str::from_utf8(&octets).map_err(|error| {
        let valid = str::from_utf8(&octets[..error.valid_up_to()]).unwrap_or_default();
        let wrong = Wrong::new("it is not UTF-8 here", "save the file as UTF-8");
        whole_file(path, place(valid, valid.len()), wrong)
    })?;
    parse(text, path)
}

/// The `data_dir` of the file at `path`, whatever else is wrong with it.
pub fn data_dir(path: &Path) -> Result<PathBuf, Problems> {
    let octets = read(path).map_err(|wrong| whole_file(path, (1, 1), wrong))?;
    let text = String::from_utf8_lossy(&octets);
    let source = Source::new(&text, path, &|_| None);
    let (document, _) = DeTable::parse_recoverable(&text);
    let data_dir = Section::top(&source, document.get_ref()).path("data_dir");
    Ok(data_dir.map_or_else(|| PathBuf::from(DATA_DIR), |(_, path)| path))
}

/// Reads `text`, the content of `file`, whose folder relative paths start from; secrets given as
/// `x_env` come from this process's environment.
pub fn parse(text: &str, file: &Path) -> Result<Config, Problems> {
    parse_with(text, file, &|name| std::env::var(name).ok())
}

/// As [`parse`], with an environment of the caller's.
pub fn parse_with(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let source = Source::new(text, file, environment);
    let (document, errors) = DeTable::parse_recoverable(text);
    let readable = record_syntax(&source, text, errors);
    // What is left of a file whose syntax is broken would only give misleading problems.
    let config = readable.then(|| read_document(&Section::top(&source, document.get_ref())));
    source.finish()?;
    config.ok_or_else(|| whole_file(file, (1, 1), Wrong::new("it is not TOML", "mend the file")))
}

/// Records what is wrong with the syntax, the first of each line, as one slip is often followed
/// by others of its own making. Whether the rest can be judged all the same.
fn record_syntax(source: &Source<'_>, text: &str, errors: Vec<toml::de::Error>) -> bool {
    const DUPLICATE: &str = "duplicate key";
    let mut places: Vec<(usize, &str)> = errors
        .iter()
        .map(|error| (error.span().map_or(0, |span| span.start.min(text.len())), error.message()))
        .collect();
    places.sort_by_key(|(at, _)| *at);
    let mut before = None;
    for &(at, message) in &places {
        let same_line = before.is_some_and(|before| !text.as_bytes()[before..at].contains(&b'\n'));
        if same_line {
            continue;
        }
        before = Some(at);
        source.problem(
            at,
            "",
            match message {
                DUPLICATE => Wrong::new("the key is there already", "keep one of them"),
                unquoted if unquoted.starts_with("string values must be quoted") => {
                    Wrong::new("this is no value of TOML", "put a text in quotes")
                }
                message => Wrong::new(message, "mend the TOML here (https://toml.io)"),
            },
        );
    }
    // The first of two values is kept, so a file with duplicates can still be judged.
    places.iter().all(|(_, message)| *message == DUPLICATE)
}

fn read_document(top: &Section<'_>) -> Config {
    let data_dir = top.path("data_dir");
    if let Some((text, path)) = &data_dir
        && path.exists()
        && !path.is_dir()
    {
        let what = format!("{} is not a folder", path.display());
        text.problem(Wrong::new(what, "name a folder; it is made where it is missing"));
    }
    let data_dir = data_dir.map_or_else(|| PathBuf::from(DATA_DIR), |(_, path)| path);
    let sites = top.sections("site");
    let site_names = site::names(&sites);
    let mut config = Config {
        listen: listen::read(&top.section("listen")),
        store: store::read(&top.section("store"), &data_dir),
        authorities: authority::read(&top.sections("authority")),
        on_demand: on_demand::read(&top.section("on_demand"), &site_names),
        platforms: platform::read(&top.sections("platform"), &site_names),
        certificates: certificate::read(&top.sections("certificate")),
        limits: limits::read(&top.section("limits")),
        api: limits::read_api(&top.section("api")),
        dns: limits::read_dns(&top.section("dns")),
        dns_server: None,
        dns_zones: dns_zone::read(&top.sections("dns_zone")),
        webhooks: limits::read_webhooks(&top.section("webhooks")),
        ocsp: limits::read_ocsp(&top.section("ocsp")),
        tickets: limits::read_tickets(&top.section("tickets")),
        bridge: bridge::read(&top.section("bridge")),
        sites: site::read(&sites),
        access_log: top.section("log").flag("access", true),
        data_dir,
    };
    config.dns_server =
        top.optional_section("dns_server").and_then(|section| dns_server::read(&section, &config));
    config
}

fn read(path: &Path) -> Result<Vec<u8>, Wrong> {
    let cannot = |error: std::io::Error| {
        Wrong::new(format!("it cannot be read: {error}"), "correct the path, or let this user read the file")
    };
    let mut octets = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(LONGEST + 1).read_to_end(&mut octets).map_err(cannot)?;
    if octets.len() as u64 > LONGEST {
        return Err(Wrong::new(format!("it is longer than {LONGEST} octets"), "name another file"));
    }
    Ok(octets)
}

fn whole_file(file: &Path, (line, column): (usize, usize), wrong: Wrong) -> Problems {
    let Wrong { what, cure } = wrong;
    let file = file.display().to_string().into();
    Problems(vec![Problem { file, line, column, key: String::new(), what, cure }])
}
