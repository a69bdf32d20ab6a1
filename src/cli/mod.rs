//! One file a command, and how they reach a process at work.

pub mod authority;
pub mod cert;
pub mod check;
pub mod client;
pub mod completions;
pub mod control;
pub mod demo;
pub mod events;
pub mod explain;
pub mod fleet;
pub mod health;
pub mod hostname;
pub mod hostname_view;
pub mod import;
pub mod import_view;
pub mod main;
pub mod organization;
pub mod own_certificate;
pub mod predecessor;
pub mod process;
pub mod reload;
pub mod run;
pub mod service;
pub mod serving;
pub mod site;
pub mod store;
pub mod table;
pub mod tickets;
pub mod token;
pub mod webhook;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{Config, file};
use crate::domain::clock::SystemClock;
use crate::store::opened::Opened;
use crate::store::{Error, key_file};
use crate::telemetry::metrics::Metrics;

/// The configuration that a command works with; where there is none that can be used, its
/// problems go to stderr.
fn configuration(given: Option<&Path>) -> Result<Config, ExitCode> {
    let path = file::locate(given).map_err(|missing| failure(&missing))?;
    file::load(&path).map_err(|problems| failure(&problems))
}

/// The store of this configuration, beside whoever serves from it.
async fn open_beside(config: &Config) -> Result<Opened, Error> {
    let key = key_file::open(&config.store.key)?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let place = (&config.store.engine, &*config.data_dir);
    Opened::beside(place, key, Arc::new(SystemClock), metrics).await
}

fn failure(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
