//! `[[platform]]`

use std::collections::HashMap;

use super::place::{Wrong, quoted};
use super::section::Section;
use super::{Platform, address, on_demand, secret};
use crate::domain::hostname::Hostname;

/// Reads all `[[platform]]`; `site_names` are those of the file's `[[site]]`.
pub(super) fn read(sections: &[Section<'_>], site_names: &[String]) -> Vec<Platform> {
    let mut domains = HashMap::new();
    sections.iter().filter_map(|section| read_one(section, site_names, &mut domains)).collect()
}

fn read_one(
    section: &Section<'_>,
    site_names: &[String],
    domains: &mut HashMap<Hostname, usize>,
) -> Option<Platform> {
    let domain = section.required("domain", "domain = \"example.io\"").and_then(|text| {
        let domain = text.read(address::hostname)?;
        if let Some(line) = domains.insert(domain.clone(), text.line()) {
            let what = format!("{} is the domain of the one on line {line}", quoted(domain.as_str()));
            text.problem(Wrong::new(what, "keep one of them"));
        }
        Some(domain)
    });
    let site = section.required("site", "site = \"default\"").and_then(|text| {
        on_demand::check_site(&text, site_names);
        text.read(address::label)
    });
    let files = ["certificate_file", "certificate_key_file"];
    if let Some(value) = section.value("dns") {
        let what = "obtaining a wildcard by DNS is not available in this version";
        value.problem(Wrong::new(what, "give certificate_file and certificate_key_file"));
    } else if !files.iter().any(|key| section.has(key)) {
        section.missing(files[0], "certificate_file = \"wildcard.pem\", and certificate_key_file beside it");
    }
    let certificate = secret::certificate_files(section, files[0], files[1]);
    Some(Platform { domain: domain?, site: site?, certificate: certificate? })
}
