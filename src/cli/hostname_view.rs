//! A hostname as people read it.

use serde_json::Value;

use super::table::{cell, pairs, say, table};

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What is said of a hostname first: where it can be seen, and what its owner sets.
pub fn to_begin_with(attributes: &Value) {
    if let Some(preview) = attributes["preview_hostname"].as_str() {
        say(&format!("Preview: https://{preview}/"));
    }
    wanted(&attributes["dns"]);
}

/// The records that are wanted.
pub fn wanted(dns: &Value) {
    let rows: Vec<Vec<String>> = array(&dns["records_wanted"])
        .iter()
        .map(|record| ["name", "kind", "value", "status", "note"].map(|key| cell(&record[key])).to_vec())
        .collect();
    if !rows.is_empty() {
        say("DNS records to set:");
        table(&["NAME", "TYPE", "VALUE", "STATUS", "NOTE"], &rows, "  ");
    }
}

/// What DNS wants and has, and what to change.
pub fn dns(dns: &Value) {
    wanted(dns);
    let rows: Vec<Vec<String>> = array(&dns["records_found"])
        .iter()
        .map(|record| ["name", "kind", "value", "ttl", "status"].map(|key| cell(&record[key])).to_vec())
        .collect();
    if rows.is_empty() {
        say("DNS records found: none");
    } else {
        say("DNS records found:");
        table(&["NAME", "TYPE", "VALUE", "TTL", "STATUS"], &rows, "  ");
    }
}

/// Its certificates, and the attempts to obtain one.
pub fn certificates(attributes: &Value) {
    let rows: Vec<Vec<String>> = array(&attributes["certificates"])
        .iter()
        .map(|one| {
            let by = if one["authority"].is_null() { &one["source"] } else { &one["authority"] };
            let [name, key, end, renewal] =
                ["name", "key_type", "not_after", "renew_at"].map(|key| cell(&one[key]));
            vec![name, cell(by), key, end, renewal]
        })
        .collect();
    if rows.is_empty() {
        say("Certificates: none");
    } else {
        say("Certificates:");
        table(&["NAME", "FROM", "KEY", "VALID UNTIL", "RENEWED AT"], &rows, "  ");
    }
    let attempt = &attributes["last_attempt"];
    if !attempt.is_null() {
        say(&format!("Last attempt: {}, {}", cell(&attempt["at"]), cell(&attempt["report"])));
    }
    if let Some(next) = attributes["next_attempt_at"].as_str() {
        say(&format!("Next attempt: not before {next}"));
    }
}

/// All about a hostname.
pub fn show(attributes: &Value) {
    say(&format!("{}: {}", cell(&attributes["unicode"]), cell(&attributes["state"])));
    say(&cell(&attributes["reason"]));
    let own = |key: &str| cell(&attributes[key]);
    let ownership = &attributes["ownership"];
    pairs(&[
        ("hostname", own("hostname")),
        ("site", own("site")),
        ("organization", own("organization")),
        ("came by", own("via")),
        ("preview", own("preview_hostname")),
        ("origin", own("origin")),
        ("redirect to", own("redirect_to")),
        ("redirect status", own("redirect_status")),
        ("metadata", own("metadata")),
        ("held", cell(&ownership["held"])),
        ("shown by", cell(&ownership["proof"])),
        ("since", own("created_at")),
        ("looked at", own("checked_at")),
        ("looked at again", own("next_check_at")),
    ]);
    dns(&attributes["dns"]);
    let reason = own("reason");
    for advice in array(&attributes["dns"]["advice"]) {
        let text = cell(&advice["text"]);
        if !reason.contains(&text) {
            say(&format!("Advice: {text}"));
        }
    }
    certificates(attributes);
}
