//! `[[platform]]`

use std::collections::HashMap;

use super::place::{Wrong, quoted};
use super::section::Section;
use super::{Platform, PlatformCertificate, address, dns_zone, on_demand, secret};
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
    let certificate = certificate(section, domain.as_ref());
    Some(Platform { domain: domain?, site: site?, certificate: certificate? })
}

/// From files, or to be obtained: one of both.
fn certificate(section: &Section<'_>, domain: Option<&Hostname>) -> Option<PlatformCertificate> {
    const FILES: [&str; 2] = ["certificate_file", "certificate_key_file"];
    let by_files = FILES.iter().find(|key| section.has(key));
    match (section.value("dns"), by_files) {
        (Some(value), Some(file)) => {
            let what = format!("it is given beside {file}");
            value.problem(Wrong::new(what, "keep dns to have the wildcard obtained, or the files"));
            None
        }
        (Some(_), None) => {
            let dns = section.optional_section("dns")?;
            dns_zone::read_access(&dns, domain).map(|zone| PlatformCertificate::Obtained(Box::new(zone)))
        }
        (None, Some(_)) => {
            secret::certificate_files(section, FILES[0], FILES[1]).map(PlatformCertificate::Files)
        }
        (None, None) => {
            let like = "dns = { provider = \"rfc2136\", … } to have it obtained, or certificate_file = \
                \"wildcard.pem\" with certificate_key_file beside it";
            section.missing("dns", like);
            None
        }
    }
}
