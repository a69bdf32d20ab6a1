//! Records of DNS side by side: what a customer sets, and what stands there.

use maud::{Markup, html};

use super::super::hostname::{Dns, Ownership};
use super::words;
use crate::dns::diagnosis::{FoundRecord, Purpose, RecordKind, RecordStatus, WantedRecord};

fn kind(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Cname => "CNAME",
        RecordKind::Alias => "ALIAS",
        RecordKind::A => "A",
        RecordKind::Aaaa => "AAAA",
        RecordKind::Txt => "TXT",
    }
}

fn row(name: &str, of: RecordKind, value: &str, status: RecordStatus, note: &str) -> Markup {
    html! {
        tr {
            td data-label="Name" { code { (name) } }
            td data-label="Type" { (kind(of)) }
            td data-label="Value" { code { (value) } @if !note.is_empty() { p.faint { (note) } } }
            td data-label="Status" { (words::status(status)) }
        }
    }
}

fn table(caption: &str, rows: &Markup) -> Markup {
    html! {
        div.panel {
            table.records {
                caption { (caption) }
                thead {
                    tr { th scope="col" { "Name" } th scope="col" { "Type" } th scope="col" { "Value" } th scope="col" { "Status" } }
                }
                tbody { (rows) }
            }
        }
    }
}

/// What DNS has to have, has, and what to change.
///
/// - `reason`: what the page says already
pub fn section(dns: &Dns, reason: &str) -> Markup {
    // The proof of whose it is has a section of its own.
    let here = |record: &&WantedRecord| record.purpose != Purpose::Ownership;
    let wanted = html! {
        @for record in dns.records_wanted.iter().filter(here) {
            (row(&record.name, record.kind, &record.value, record.status, &record.note))
        }
    };
    let found = |record: &FoundRecord| row(&record.name, record.kind, &record.value, record.status, "");
    let found = html! {
        @for record in &dns.records_found { (found(record)) }
        @if dns.records_found.is_empty() {
            tr { td colspan="4" { span.faint { "Nothing was found, or nobody has looked yet." } } }
        }
    };
    html! {
        section aria-labelledby="dns" {
            h2 #dns { "DNS" }
            @for advice in dns.advice.iter().filter(|advice| !reason.contains(&advice.text)) { p.note.soon { (advice.text) } }
            div.sides { (table("To be set", &wanted)) (table("Found", &found)) }
        }
    }
}

/// What shows whose the hostname is.
pub fn ownership(ownership: &Ownership) -> Markup {
    let said = match (ownership.held, ownership.proof) {
        (true, Some(_)) => "Requests for it come to this organization, which has shown that it is its.",
        (true, None) => "Requests for it come to this organization. Nobody has shown whose it is yet.",
        (false, _) => "Another organization has it. This record shows that it is this one's.",
    };
    let record = row(&ownership.txt_name, RecordKind::Txt, &ownership.txt_value, ownership.txt_status, "");
    html! {
        section aria-labelledby="ownership" {
            h2 #ownership { "Ownership" }
            p { (said) }
            (table("The record that shows it whatever else DNS says", &record))
        }
    }
}
