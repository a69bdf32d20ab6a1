//! `nameplate cert`: what is done with a certificate that is stored.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Subcommand, ValueEnum};

use super::configuration;
use super::control::{Request, ask_and_tell};
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
    let What::Revoke(Revoke { hostname, reason, config }) = args.what;
    match configuration(config.as_deref()) {
        Ok(config) => {
            ask_and_tell(&config.data_dir, &Request::Revoke { hostname: hostname.to_string(), reason })
        }
        Err(code) => code,
    }
}
