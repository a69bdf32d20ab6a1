//! `[[site]]`

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::duration::{LEAST, days};
use super::place::{Wrong, quoted};
use super::section::Section;
use super::{address, authority, files};
use crate::domain::hostname::CertificateName;
use crate::domain::site::{Hsts, Origin, OriginTimeouts, Site};

/// How long browsers keep to HTTPS unless the file says otherwise.
const MAX_AGE: Duration = days(365);

/// The names of all `[[site]]`, also of those that have problems.
pub(super) fn names(sections: &[Section<'_>]) -> Vec<String> {
    let name = |section: &Section<'_>| section.value("name")?.as_text().map(str::to_owned);
    sections.iter().filter_map(name).collect()
}

/// Reads all `[[site]]`.
pub(super) fn read(sections: &[Section<'_>]) -> Vec<Site> {
    let (mut names, mut hostnames) = (HashMap::new(), HashMap::new());
    sections.iter().filter_map(|section| read_one(section, &mut names, &mut hostnames)).collect()
}

fn read_one(
    section: &Section<'_>,
    names: &mut HashMap<Arc<str>, usize>,
    taken: &mut HashMap<CertificateName, usize>,
) -> Option<Site> {
    let name = authority::unique_name(section, names);
    let organization = section.text("organization", "organization = \"default\"");
    let organization = organization.and_then(|text| text.read(address::label));
    let hostnames = hostnames(section, taken);
    let files = files::read(section);
    let origins = origins(section);
    let hsts = hsts(section);
    let timeouts = timeouts(&section.section("timeouts"));
    Some(Site {
        name: name?,
        organization: organization.unwrap_or_else(|| "default".into()),
        hostnames,
        origins,
        files,
        hsts,
        timeouts,
    })
}

fn hostnames(section: &Section<'_>, taken: &mut HashMap<CertificateName, usize>) -> Vec<CertificateName> {
    let texts = section.texts("hostnames", "hostnames = [\"shop.example.com\", \"*.example.net\"]");
    let mut hostnames = Vec::new();
    for text in texts.unwrap_or_default() {
        let Some(name) = text.read(address::certificate_name) else { continue };
        if let Some(line) = taken.get(&name) {
            let what = format!("{} is given on line {line} already", quoted(name.as_str()));
            text.problem(Wrong::new(what, "keep it with one site"));
            continue;
        }
        taken.insert(name.clone(), text.line());
        hostnames.push(name);
    }
    hostnames
}

fn origins(section: &Section<'_>) -> Vec<Origin> {
    const LIKE: &str = "origins = [\"127.0.0.1:3000\"]";
    match section.value("origins") {
        None if !section.has("root") => {
            let cure = format!("give it, as in {LIKE}, or root, as in root = \"/var/www\"");
            section.problem("origins", Wrong::new("it is missing", cure));
        }
        Some(value) if value.is_empty_list() => {
            value.problem(Wrong::new("it is empty", format!("give at least one, as in {LIKE}")));
        }
        _ => {}
    }
    section.list("origins", LIKE, address::origin).unwrap_or_default()
}

fn hsts(section: &Section<'_>) -> Option<Hsts> {
    let value = section.value("hsts")?;
    let defaults = Hsts { max_age: MAX_AGE, include_subdomains: false, preload: false };
    if let Some(on) = value.as_flag() {
        return on.then_some(defaults);
    }
    if !value.is_table() {
        value.wrong_type("true, false or a table", "hsts = true or hsts = { max_age = \"365d\" }");
        return None;
    }
    let table = section.section("hsts");
    let hsts = Hsts {
        max_age: table.duration("max_age", Duration::ZERO..=days(3650), defaults.max_age),
        include_subdomains: table.flag("include_subdomains", false),
        preload: table.flag("preload", false),
    };
    if hsts.preload && (!hsts.include_subdomains || hsts.max_age < MAX_AGE) {
        let what = "the browsers' preload lists want include_subdomains and a max_age of at least 365d";
        table.problem("preload", Wrong::new(what, "give both, or leave preload out"));
    }
    Some(hsts)
}

fn timeouts(section: &Section<'_>) -> OriginTimeouts {
    let default = OriginTimeouts::default();
    let range = || LEAST..=days(1);
    OriginTimeouts {
        connect: section.duration("connect", range(), default.connect),
        read: section.duration("read", range(), default.read),
        write: section.duration("write", range(), default.write),
        idle: section.duration("idle", range(), default.idle),
    }
}
