//! `nameplate authority`: who gives certificates, and how they do, by the API.

use std::process::ExitCode;

use clap::Subcommand;

use super::client::{Connection, Failure, code};
use super::table::{cell, list, print};

/// Arguments of `nameplate authority`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List authorities in the order they are tried.
    List {
        #[command(flatten)]
        connection: Connection,
    },
}

/// Exit code 1 where the API says no.
pub async fn run(args: Args) -> ExitCode {
    let What::List { connection } = args.what;
    code(list_them(connection).await)
}

async fn list_them(connection: Connection) -> Result<bool, Failure> {
    let api = connection.open()?;
    let document = api.list(&["authorities"], &[], false).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    list(&document, &["AUTHORITY", "ASKED", "FAILURES", "CLOSED UNTIL", "REASON"], |one| {
        ["name", "open", "failures", "closed_until", "reason"].map(|key| cell(&one[key])).to_vec()
    });
    Ok(true)
}
