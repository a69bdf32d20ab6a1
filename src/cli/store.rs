//! `nameplate store`: care of the store.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::control::{self, Request, ask_and_tell};
use super::{configuration, failure};
use crate::certs::in_full;
use crate::config::{Config, Engine};
use crate::domain::clock::SystemClock;
use crate::store::local::{LOCAL_TIER, LocalTier};
use crate::store::opened::Opened;
use crate::store::postgres::PostgresStore;
use crate::store::postgres::take_in::Taken;
use crate::store::rekey::{Rekeyed, rekey};
use crate::store::seal::SealingKey;
use crate::store::sqlite::{DATABASE_FILE, SqliteStore};
use crate::store::{Error, SealError, key_file};
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
    /// process does it while it serves. Where machines share the store, each of them has the new key
    /// first.
    Rekey {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Move from the embedded store to PostgreSQL: everything is copied, and nothing of the embedded
    /// store changes. Nobody may serve from it meanwhile.
    Move {
        /// The configuration with the embedded store.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The configuration with the PostgreSQL store, whose database is empty, and with the same
        /// sealing key.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

/// Exit code 1 where it is not through; done again, it goes on.
pub async fn run(args: Args) -> ExitCode {
    match args.what {
        What::Rekey { config } => match configuration(config.as_deref()) {
            Ok(config) => run_rekey(&config).await,
            Err(code) => code,
        },
        What::Move { config, to } => {
            match configuration(config.as_deref()).and_then(|from| Ok((from, configuration(Some(&to))?))) {
                Ok((from, to)) => run_move(&from, &to).await,
                Err(code) => code,
            }
        }
    }
}

async fn run_rekey(config: &Config) -> ExitCode {
    if control::somebody_serves(&config.data_dir) {
        return ask_and_tell(&config.data_dir, &Request::Rekey);
    }
    match rekey_here(config).await {
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
    let place = (&config.store.engine, &*config.data_dir);
    let store = Opened::alone(place, key.clone(), Arc::new(SystemClock), metrics).await?;
    let shared = config.store.engine != Engine::Embedded;
    let rekeyed = rekey(&key, &config.store.key, (store.records(), shared), &local).await;
    store.close().await;
    rekeyed
}

async fn run_move(from: &Config, to: &Config) -> ExitCode {
    let Engine::Postgres(access) = &to.store.engine else {
        return failure(&"store.url of the configuration to move to is no PostgreSQL database");
    };
    if from.store.engine != Engine::Embedded {
        return failure(&"store.url of the configuration to move from is not the embedded store");
    }
    let moved = async {
        let key = key_file::open(&to.store.key)?;
        same_key(&key_file::open(&from.store.key)?, &key, &from.data_dir)?;
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
        let clock = Arc::new(SystemClock);
        // It has its lock while this lasts, and its schema is this version's.
        let here = SqliteStore::open(&from.data_dir, key.clone(), clock.clone(), metrics.clone()).await?;
        let there = PostgresStore::open(access, key, clock, metrics).await?;
        let taken = there.take_in(&from.data_dir.join(DATABASE_FILE)).await;
        there.close().await;
        here.close().await;
        taken
    };
    match moved.await {
        Ok(taken) => {
            tell(&taken, &access.place);
            ExitCode::SUCCESS
        }
        Err(error) => failure(&in_full(&error)),
    }
}

/// Whether what was sealed there opens here.
fn same_key(from: &SealingKey, to: &SealingKey, data_dir: &Path) -> Result<(), Error> {
    let ours = to.ids();
    match from.ids().into_iter().find(|id| !ours.contains(id)) {
        None => Ok(()),
        Some(sealed_with) => {
            let what = format!("the store in {}", data_dir.display()).into();
            let configured = ours.into_iter().next().unwrap_or_default();
            Err(SealError::OtherKey { what, sealed_with, configured }.into())
        }
    }
}

fn tell(taken: &[Taken], place: &str) {
    for (table, rows) in taken.iter().filter(|(_, rows)| *rows > 0) {
        println!("{rows:>10} {table}");
    }
    println!("Everything is in {place}. Start the machines with the new configuration; the embedded store");
    println!("stays as it was, and is not followed any more.");
}
