//! `nameplate reload` and `nameplate upgrade`: change what runs without closing a connection.

use std::path::PathBuf;
use std::process::ExitCode;

use super::control::{Request, ask_and_tell};
use super::{configuration, failure};
use crate::config::file;

/// Arguments of both.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, whose data_dir says which process is meant.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Lets the running process load its configuration file again; exit code 1 where the file, or what
/// it asks for, is wrong. Then the configuration before it stays in force.
pub fn reload(args: &Args) -> ExitCode {
    let path = match file::locate(args.config.as_deref()) {
        Ok(path) => path,
        Err(missing) => return failure(&missing),
    };
    // The process itself says what is wrong with the file, so that its log and metrics say so too.
    match file::data_dir(&path) {
        Ok(data_dir) => ask_and_tell(&data_dir, &Request::Reload),
        Err(problems) => failure(&problems),
    }
}

/// Lets the running process start the program anew, as it is on the disk now, with all that
/// listens; exit code 1 where the new process does not come to serve. Then the old one goes on.
pub fn upgrade(args: &Args) -> ExitCode {
    match configuration(args.config.as_deref()) {
        Ok(config) => ask_and_tell(&config.data_dir, &Request::Upgrade),
        Err(code) => code,
    }
}
