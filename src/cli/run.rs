//! `nameplate run`: serve until told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::configuration;
use crate::app::{self, Running};
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
}

/// Serves until SIGTERM or SIGINT.
pub fn run(args: &Args) -> ExitCode {
    let config = match configuration(args.config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    log::start();
    block_on(args.threads, async {
        // Caught, so that a file that may not grow is an error of that write and not our end.
        let _too_large = signal(SignalKind::from_raw(FILE_TOO_LARGE));
        match app::start(config, Vec::new()).await {
            Ok(running) => {
                until_stopped(running).await;
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("nameplate cannot start: {}", crate::certs::in_full(&error));
                ExitCode::FAILURE
            }
        }
    })
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

/// Waits for SIGTERM or SIGINT, then stops gracefully; a second one ends the wait.
pub(super) async fn until_stopped(running: Running) {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        tracing::error!("signals cannot be received; stopping");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                tracing::warn!("this version does not reload its configuration; restart to apply changes");
            }
        }
    }
    tokio::select! {
        () = running.stop() => {}
        _ = terminate.recv() => tracing::warn!("stopping at once"),
        _ = interrupt.recv() => tracing::warn!("stopping at once"),
    }
}
