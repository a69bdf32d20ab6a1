//! The socket in `data_dir` by which commands reach the process that serves from it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Blocking;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::failure;
use crate::domain::revocation::Reason;
use crate::store::files::FILE_MODE;

/// The socket's name in `data_dir`.
pub const CONTROL_FILE: &str = "control.sock";

/// Longest request, in octets.
const LONGEST: u64 = 1024;
/// Requests that wait for the one before them.
const WAITING: usize = 8;
/// A command's time to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for an answer: for a new process to serve, or an authority to be asked.
const ANSWER: Duration = Duration::from_secs(300);

/// What a command wants; one line of JSON.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "snake_case")]
pub enum Request {
    /// Load the configuration file again.
    Reload,
    /// Give everything that listens to the process that asks (see [`crate::app::hand_over`]).
    TakeOver,
    /// Start the program anew and give everything to that process.
    Upgrade,
    /// Change the sealing key.
    Rekey,
    /// Make a new key of session tickets.
    RotateTickets {
        /// Whether all keys of before end at once.
        discard: bool,
    },
    /// Revoke a certificate.
    Revoke {
        /// Of this name.
        hostname: String,
        /// Why.
        reason: Reason,
    },
}

/// What came of it; one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub done: bool,
    /// What was done, or why not and what to change.
    pub report: String,
}

/// A request and whom to answer.
pub struct Asked {
    /// What is wanted.
    pub request: Request,
    stream: UnixStream,
}

/// Takes requests, until it is dropped.
pub struct Control {
    asked: mpsc::Receiver<Asked>,
    accepts: JoinHandle<()>,
}

impl Control {
    /// Opens the socket in `data_dir`, in the place of one that an earlier process had.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(CONTROL_FILE);
        let new = path.with_extension("sock.new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(FILE_MODE))?;
        std::fs::rename(&new, &path)?;
        let (asks, asked) = mpsc::channel(WAITING);
        let accepts = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(read(stream, asks.clone()));
            }
        });
        Ok(Self { asked, accepts })
    }

    /// The next request; never, once the socket is gone.
    pub async fn next(&mut self) -> Asked {
        match self.asked.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

async fn read(mut stream: UnixStream, asks: mpsc::Sender<Asked>) {
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new((&mut stream).take(LONGEST));
    let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    match (read, serde_json::from_str(&line)) {
        // A look whether somebody is here.
        (Ok(Ok(0)), _) => {}
        (Ok(Ok(_)), Ok(request)) => {
            // Where nobody takes requests any more, the stream ends unanswered.
            let _ended = asks.send(Asked { request, stream }).await;
        }
        _ => reply(stream, Answer { done: false, report: "the request was not understood".into() }).await,
    }
}

async fn reply(mut stream: UnixStream, answer: Answer) {
    let line = serde_json::to_string(&answer).unwrap_or_default() + "\n";
    // Who asked may have gone; what was asked for is done all the same.
    let _gone = stream.write_all(line.as_bytes()).await;
}

impl Asked {
    /// Tells what came of it.
    pub async fn answer(self, done: bool, report: String) {
        reply(self.stream, Answer { done, report }).await;
    }

    /// Who asked, for more than an answer.
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }
}

/// Reaches the process that serves from `data_dir` and tells it what is wanted.
///
/// Fails with [`io::ErrorKind::NotFound`] or [`io::ErrorKind::ConnectionRefused`] where none serves.
pub fn want(data_dir: &Path, request: &Request) -> io::Result<Blocking> {
    let mut stream = Blocking::connect(data_dir.join(CONTROL_FILE))?;
    let line = serde_json::to_string(request)? + "\n";
    stream.write_all(line.as_bytes())?;
    Ok(stream)
}

/// As [`want`], and waits for the answer.
fn ask(data_dir: &Path, request: &Request) -> io::Result<Answer> {
    let stream = want(data_dir, request)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the process ended without an answer"));
    }
    Ok(serde_json::from_str(&line)?)
}

/// Tells the process that serves from `data_dir` what is wanted; its answer goes to the user, with the exit code that it means.
pub fn ask_and_tell(data_dir: &Path, request: &Request) -> ExitCode {
    match ask(data_dir, request) {
        Ok(answer) if answer.done => {
            println!("{}", answer.report);
            ExitCode::SUCCESS
        }
        Ok(answer) => failure(&answer.report),
        Err(error) if is_nobody(&error) => {
            failure(&format!("no process serves from {}; start one with `nameplate run`", data_dir.display()))
        }
        Err(error) => {
            failure(&format!("the process that serves from {} cannot be asked: {error}", data_dir.display()))
        }
    }
}

/// Whether it means that no process serves from a `data_dir`.
pub fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Whether a process serves from `data_dir` that takes requests.
pub fn somebody_serves(data_dir: &Path) -> bool {
    Blocking::connect(data_dir.join(CONTROL_FILE)).is_ok()
}
