//! `nameplate store`: care of the store.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::control::{self, Request, ask_and_tell};
use super::{configuration, failure};
use crate::certs::in_full;
use crate::config::Config;
use crate::domain::clock::SystemClock;
use crate::store::local::{LOCAL_TIER, LocalTier};
use crate::store::rekey::{Rekeyed, rekey};
use crate::store::sqlite::SqliteStore;
use crate::store::{Error, key_file};
use crate::telemetry::metrics::Metrics;

/// Arguments of `nameplate store`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Change the sealing key: a new one for the key file, and everything sealed with it. A running
    /// process does it while it serves.
    Rekey {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Exit code 1 where the change is not through; done again, it goes on.
pub async fn run(args: Args) -> ExitCode {
    let What::Rekey { config } = args.what;
    let config = match configuration(config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if control::somebody_serves(&config.data_dir) {
        return ask_and_tell(&config.data_dir, &Request::Rekey);
    }
    match rekey_here(&config).await {
        Ok(rekeyed) if rekeyed.unusable == 0 => {
            println!("{rekeyed}");
            ExitCode::SUCCESS
        }
        Ok(rekeyed) => failure(&rekeyed),
        Err(error) => failure(&in_full(&error)),
    }
}

async fn rekey_here(config: &Config) -> Result<Rekeyed, Error> {
    let key = key_file::open(&config.store.key)?;
    let local = LocalTier::open(&config.data_dir.join(LOCAL_TIER), key.clone())?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let store = SqliteStore::open(&config.data_dir, key.clone(), Arc::new(SystemClock), metrics).await?;
    let rekeyed = rekey(&key, &config.store.key, &store, &local).await;
    store.close().await;
    rekeyed
}
