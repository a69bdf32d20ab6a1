//! `nameplate explain`: why a name is or is not served.

use std::process::ExitCode;

use super::client::{Connection, Failure, code};
use super::hostname_view::{certificates, dns};
use super::table::{cell, print, say};

/// Arguments of `nameplate explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Any hostname, registered or not.
    hostname: String,
    #[command(flatten)]
    connection: Connection,
}

/// Exit code 1 where nothing can be said of it.
pub async fn run(args: Args) -> ExitCode {
    code(explain(args).await)
}

async fn explain(args: Args) -> Result<bool, Failure> {
    let api = args.connection.open()?;
    let document = api.get(&["explain", &args.hostname]).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    let attributes = &document["data"]["attributes"];
    say(&cell(&attributes["unicode"]));
    say(&cell(&attributes["summary"]));
    for step in attributes["to_do"].as_array().map(Vec::as_slice).unwrap_or_default() {
        say(&format!("To do: {}", cell(step)));
    }
    say("");
    let holder = &attributes["holder"];
    if holder.is_null() {
        say("Registered: no");
    } else {
        let [organization, site, via, state] =
            ["organization", "site", "via", "state"].map(|key| cell(&holder[key]));
        say(&format!("Registered: by {organization} for the site {site} ({via}), {state}"));
    }
    let approval = &attributes["approval"];
    match approval["reason"].as_str() {
        Some(reason) => say(&format!("Approval: {}, {reason}", cell(&approval["verdict"]))),
        None => say(&format!("Approval: {}", cell(&approval["verdict"]))),
    }
    dns(&attributes["dns"]);
    certificates(attributes);
    Ok(true)
}
