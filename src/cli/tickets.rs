//! `nameplate tickets`: the keys of session tickets.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::control::{self, Request, ask_and_tell};
use super::{configuration, failure};
use crate::certs::in_full;
use crate::certs::tickets::{Parts, Rotated, Tickets};
use crate::config::Config;
use crate::domain::clock::SystemClock;
use crate::store::local::{LOCAL_TIER, LocalTier};
use crate::store::opened::Opened;
use crate::store::{Error, key_file};
use crate::telemetry::metrics::Metrics;

/// Arguments of `nameplate tickets`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a new key, which encrypts from now on. A running process does it while it serves.
    Rotate {
        /// End all keys of before at once, as after a leak: no session of before is resumed any more.
        #[arg(long)]
        discard: bool,
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Exit code 1 where not everything was done; the report says what to do.
pub async fn run(args: Args) -> ExitCode {
    let What::Rotate { discard, config } = args.what;
    let config = match configuration(config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if control::somebody_serves(&config.data_dir) {
        return ask_and_tell(&config.data_dir, &Request::RotateTickets { discard });
    }
    match rotate_here(&config, discard).await {
        Ok(rotated) if rotated.is_through() => {
            println!("{rotated}");
            ExitCode::SUCCESS
        }
        Ok(rotated) => failure(&rotated),
        Err(error) => failure(&in_full(&error)),
    }
}

async fn rotate_here(config: &Config, discard: bool) -> Result<Rotated, Error> {
    let key = key_file::open(&config.store.key)?;
    let local = LocalTier::open(&config.data_dir.join(LOCAL_TIER), key.clone())?;
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))));
    let place = (&config.store.engine, &*config.data_dir);
    let store = Arc::new(Opened::alone(place, key, clock.clone(), metrics.clone()).await?);
    let period = config.tickets.rotate;
    let tickets = Tickets::begin(Parts { store: store.clone(), local, clock, metrics, period }).await;
    let rotated = tickets.rotate(discard).await;
    store.close().await;
    Ok(rotated)
}
