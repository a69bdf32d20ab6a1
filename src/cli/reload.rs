//! `nameplate reload` and `nameplate upgrade`: change what runs without closing a connection.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::control::{self, Request};
use super::{configuration, failure, predecessor};
use crate::config::file;

/// Longest wait for a reload, and for a new process to serve.
const PATIENCE: Duration = Duration::from_secs(300);

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
        Ok(data_dir) => ask(data_dir, Request::Reload),
        Err(problems) => failure(&problems),
    }
}

/// Lets the running process start the program anew, as it is on the disk now, with all that
/// listens; exit code 1 where the new process does not come to serve. Then the old one goes on.
pub fn upgrade(args: &Args) -> ExitCode {
    match configuration(args.config.as_deref()) {
        Ok(config) => ask(config.data_dir, Request::Upgrade),
        Err(code) => code,
    }
}

fn ask(data_dir: PathBuf, request: Request) -> ExitCode {
    match control::ask(&data_dir, request, PATIENCE) {
        Ok(answer) if answer.done => {
            println!("{}", answer.report);
            ExitCode::SUCCESS
        }
        Ok(answer) => failure(&answer.report),
        Err(error) if predecessor::is_nobody(&error) => {
            failure(&format!("no process serves from {}; start one with `nameplate run`", data_dir.display()))
        }
        Err(error) => failure(&cannot_ask(&data_dir, &error)),
    }
}

fn cannot_ask(data_dir: &std::path::Path, error: &io::Error) -> String {
    format!("the process that serves from {} cannot be asked: {error}", data_dir.display())
}
