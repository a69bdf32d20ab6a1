//! `nameplate events`: what happened, and who asked for it, by the API.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Connection, Failure, code};
use super::table::{cell, list, print};

/// Arguments of `nameplate events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of this hostname alone.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// What somebody asked for alone: who changed what.
    #[arg(long)]
    audit: bool,
    /// All of them, not the newest alone.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Exit code 1 where the API says no.
pub async fn run(args: Args) -> ExitCode {
    code(list_them(args).await)
}

async fn list_them(args: Args) -> Result<bool, Failure> {
    let api = args.connection.open()?;
    let filters =
        [("filter[hostname]", args.hostname.as_deref()), ("filter[audit]", args.audit.then_some("true"))];
    let document = api.list(&["events"], &filters, args.all).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    list(&document, &["AT", "WHAT", "ABOUT", "BY", "DETAIL"], |one| {
        let about = ["hostname", "site", "organization"].into_iter().find(|key| !one[*key].is_null());
        let detail =
            one["detail"].as_object().filter(|detail| !detail.is_empty()).map_or("-".into(), details);
        vec![
            cell(&one["at"]),
            cell(&one["kind"]),
            about.map_or("-".into(), |key| cell(&one[key])),
            cell(&one["actor"]),
            detail,
        ]
    });
    Ok(true)
}

fn details(detail: &serde_json::Map<String, Value>) -> String {
    detail.iter().map(|(key, value)| format!("{key}: {}", cell(value))).collect::<Vec<_>>().join("; ")
}
