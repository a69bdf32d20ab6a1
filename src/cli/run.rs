//! `nameplate run`: serve until told to stop.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::control::Control;
use super::predecessor::{self, Predecessor};
use super::serving::{self, Program, Serving, Signals};
use super::{failure, process};
use crate::app;
use crate::app::hand_over::{self, Inheritance};
use crate::certs::in_full;
use crate::config::{Config, file};
use crate::telemetry::log;

/// Environment variable with the number of worker threads; as many as there are processors
/// unless it is set.
const THREADS: &str = "NAMEPLATE_THREADS";

/// SIGXFSZ: a file grew beyond what the system allows us (`RLIMIT_FSIZE`).
const FILE_TOO_LARGE: std::ffi::c_int = 25;

/// Arguments of `nameplate run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; ./nameplate.toml, then /etc/nameplate/nameplate.toml, unless given.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Worker threads; one for each processor unless given.
    #[arg(long, env = THREADS, value_name = "NUMBER")]
    threads: Option<usize>,
    /// Take over from the process that serves from the same data_dir, when SIGQUIT tells it to.
    #[arg(long)]
    upgrade: bool,
}

/// Serves until SIGTERM or SIGINT, or until another process has taken over.
pub fn run(args: &Args) -> ExitCode {
    let path = match file::locate(args.config.as_deref()) {
        Ok(path) => path,
        Err(missing) => return failure(&missing),
    };
    let config = match file::load(&path) {
        Ok(config) => config,
        Err(problems) => return failure(&problems),
    };
    log::start();
    process::open_many_files();
    match inherit(args.upgrade, &config.data_dir) {
        Ok((inheritance, predecessor)) => {
            block_on(args.threads, serve(config, path, inheritance, predecessor))
        }
        Err(error) => failure(&format!("nameplate cannot start: {error}")),
    }
}

/// What this process need not open, and from whom it comes.
fn inherit(upgrade: bool, data_dir: &Path) -> io::Result<(Inheritance, Option<Predecessor>)> {
    if upgrade {
        tracing::info!("waiting for the process that serves now; SIGQUIT makes it hand over");
        match predecessor::take_over(data_dir)? {
            Some((inheritance, predecessor)) => return Ok((inheritance, Some(predecessor))),
            None => tracing::warn!("no process serves from this data_dir; starting as the first one"),
        }
    }
    Ok((hand_over::of_systemd()?, None))
}

async fn serve(
    config: Config,
    file: PathBuf,
    inheritance: Inheritance,
    predecessor: Option<Predecessor>,
) -> ExitCode {
    // Caught, so that a file that may not grow is an error of that write and not our end.
    let _too_large = signal(SignalKind::from_raw(FILE_TOO_LARGE));
    let data_dir = config.data_dir.clone();
    let (signals, program) = match Signals::new().and_then(|signals| Ok((signals, Program::current()?))) {
        Ok(both) => both,
        Err(error) => return failure(&format!("nameplate cannot start: {error}")),
    };
    let running = match app::start_with(config, Vec::new(), inheritance).await {
        Ok(running) => running,
        Err(error) => return failure(&format!("nameplate cannot start: {}", in_full(&error))),
    };
    let control = Control::open(&data_dir).inspect_err(|error| {
        tracing::error!(%error, "no command reaches this process: its socket in data_dir cannot be made");
    });
    running.report();
    if let Some(Err(error)) = predecessor.map(Predecessor::we_serve) {
        tracing::warn!(%error, "the process before this one cannot be told that it may leave");
    }
    serving::serve(Serving { running, file, control: control.ok(), program }, signals).await;
    ExitCode::SUCCESS
}

/// Runs a command that waits for things.
pub(super) fn block_on(threads: Option<usize>, command: impl Future<Output = ExitCode>) -> ExitCode {
    match runtime(threads) {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            eprintln!("the worker threads could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A runtime with `threads` workers.
pub(super) fn runtime(threads: Option<usize>) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    builder.enable_all().build()
}
