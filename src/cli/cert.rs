//! `nameplate cert`: certificates that are stored, and what is done with them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Subcommand, ValueEnum};

use super::client::{Connection, Failure, code};
use super::control::{Request, ask_and_tell};
use super::table::{cell, list, print};
use super::{configuration, run};
use crate::domain::hostname::Hostname;
use crate::domain::revocation::Reason;

/// Arguments of `nameplate cert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Have a certificate revoked by its authority, and put another one with a new key in its place.
    Revoke(Revoke),
    /// List certificates.
    List {
        /// All of them, not the first page alone.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connection: Connection,
    },
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Whose certificate.
    hostname: Hostname,
    /// Why, by its name in RFC 5280.
    #[arg(long, value_name = "REASON")]
    reason: Reason,
    /// The configuration, whose data_dir says which process is asked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ValueEnum for Reason {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// Exit code 1 where something is left to do; what that is, is said.
pub fn run(args: Args) -> ExitCode {
    let Revoke { hostname, reason, config } = match args.what {
        What::Revoke(revoke) => revoke,
        What::List { all, connection } => {
            return run::block_on(None, async { code(list_them(connection, all).await) });
        }
    };
    match configuration(config.as_deref()) {
        Ok(config) => {
            ask_and_tell(&config.data_dir, &Request::Revoke { hostname: hostname.to_string(), reason })
        }
        Err(code) => code,
    }
}

async fn list_them(connection: Connection, all: bool) -> Result<bool, Failure> {
    let api = connection.open()?;
    let document = api.list(&["certificates"], &[], all).await?;
    if api.json {
        print(&document);
        return Ok(true);
    }
    list(&document, &["NAME", "FROM", "KEY", "VALID UNTIL", "RENEWED AT", "PARKED"], |one| {
        let by = if one["authority"].is_null() { "source" } else { "authority" };
        ["name", by, "key_type", "not_after", "renew_at", "parked"].map(|key| cell(&one[key])).to_vec()
    });
    Ok(true)
}
