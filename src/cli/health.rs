//! `nameplate health`: ask the running process whether it is ready.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::configuration;

/// Longest wait for each step.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `nameplate health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, whose admin address is asked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Exit code 0 where `/readyz` answers 200.
pub fn run(args: &Args) -> ExitCode {
    let config = match configuration(args.config.as_deref()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match ask(config.listen.admin) {
        Ok(status) if status.contains(" 200 ") => {
            println!("ready");
            ExitCode::SUCCESS
        }
        Ok(status) => {
            eprintln!("not ready: {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{} does not answer: {error}", config.listen.admin);
            ExitCode::FAILURE
        }
    }
}

/// The status line that `/readyz` answers with.
fn ask(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
