//! A process at work: what signals and commands make of it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::control::{Asked, Control, Request};
use super::service;
use crate::app::{Running, hand_over};
use crate::certs::in_full;
use crate::certs::tickets::Rotated;
use crate::config::file;
use crate::domain::revocation::Reason;
use crate::store::Error;
use crate::store::rekey::Rekeyed;

/// The program and its arguments, to start it anew.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The one that runs; asked before it is replaced on the disk.
    pub fn current() -> io::Result<Self> {
        let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
        if !arguments.iter().any(|argument| argument == "--upgrade") {
            arguments.push("--upgrade".into());
        }
        Ok(Self { path: std::env::current_exe()?, arguments })
    }
}

/// A process at work.
pub struct Serving {
    /// What serves.
    pub running: Running,
    /// What it was configured by.
    pub file: PathBuf,
    /// What commands reach it by; without it only signals do.
    pub control: Option<Control>,
    /// How it is started anew.
    pub program: Program,
}

/// The signals that are heeded, from the moment this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
}

/// What a signal wants.
enum Wish {
    Stop,
    Reload,
    HandOver,
}

impl Signals {
    /// Fails where the system gives no signal to wait for.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.quit.recv() => Wish::HandOver,
        }
    }

    async fn stop(&mut self) {
        while !matches!(self.next().await, Wish::Stop) {}
    }
}

/// How far the way to a process that follows this one has come.
#[derive(Default)]
struct Succession {
    /// SIGQUIT or a command asked for it.
    wanted: bool,
    /// The new process waits for what this one listens on.
    waits: Option<Asked>,
    /// It has it, and will say when it serves: its number, else `None`.
    takes_over: Option<JoinHandle<Option<u32>>>,
    /// The command that waits for the outcome.
    asked: Option<Asked>,
    /// The new process, where this one started it.
    started: Option<tokio::process::Child>,
}

/// Serves until SIGTERM or SIGINT, or until another process has taken over, then ends gracefully.
pub async fn serve(mut serving: Serving, mut signals: Signals) {
    let mut succession = Succession::default();
    service::serves();
    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Stop => return stop(serving.running, signals).await,
                Wish::Reload => drop(reload(&mut serving)),
                Wish::HandOver => {
                    tracing::info!("SIGQUIT: the process that `nameplate run --upgrade` starts takes over");
                    succession.wanted = true;
                }
            },
            asked = next(&mut serving.control) => match asked.request.clone() {
                Request::Reload => {
                    let (done, report) = reload(&mut serving);
                    asked.answer(done, report).await;
                }
                Request::Revoke { hostname, reason } => {
                    tokio::spawn(revoke(&serving.running, &hostname, reason, asked));
                }
                Request::Rekey => {
                    tokio::spawn(rekey(serving.running.rekey(), asked));
                }
                Request::RotateTickets { discard } => {
                    tokio::spawn(rotate_tickets(serving.running.rotate_tickets(discard), asked));
                }
                Request::TakeOver => succession.waits = Some(asked),
                Request::Upgrade => succession.start(&serving.program, asked).await,
            },
            follower = succession.outcome() => match follower {
                Some(pid) => return leave(serving.running, signals, succession, pid).await,
                None => succession.fail().await,
            },
        }
        succession.go_on(&serving.running);
    }
}

/// Serves until SIGTERM or SIGINT, then stops gracefully.
pub async fn until_stopped(running: Running, mut signals: Signals) {
    signals.stop().await;
    stop(running, signals).await;
}

async fn next(control: &mut Option<Control>) -> Asked {
    match control {
        Some(control) => control.next().await,
        None => std::future::pending().await,
    }
}

impl Succession {
    async fn start(&mut self, program: &Program, asked: Asked) {
        if self.started.is_some() {
            return asked.answer(false, "an upgrade is under way already".into()).await;
        }
        match Command::new(&program.path).args(&program.arguments).spawn() {
            Ok(started) => {
                tracing::info!(program = %program.path.display(), "the program is started anew, to take over");
                (self.started, self.asked, self.wanted) = (Some(started), Some(asked), true);
            }
            Err(error) => {
                let report = format!("{} cannot be started: {error}", program.path.display());
                tracing::error!(error = report, "no upgrade; this process goes on");
                asked.answer(false, report).await;
            }
        }
    }

    /// Hands over once it is wanted and somebody waits.
    fn go_on(&mut self, running: &Running) {
        if !self.wanted || self.takes_over.is_some() {
            return;
        }
        let Some(waits) = self.waits.take() else { return };
        let given = running.hand_over().and_then(|inheritance| {
            let stream = waits.into_stream();
            let pid = pid_of(&stream);
            let stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            hand_over::send(&stream, &inheritance)?;
            Ok((stream, pid))
        });
        match given {
            Ok((stream, pid)) => {
                let serves = move || hand_over::serves(&stream).then_some(pid.unwrap_or(0));
                self.takes_over = Some(tokio::task::spawn_blocking(serves));
            }
            Err(error) => {
                tracing::error!(%error, "the sockets could not be handed over; this process goes on")
            }
        }
    }

    /// Waits until the new process serves, and gives its number; `None` where it ended instead.
    async fn outcome(&mut self) -> Option<u32> {
        if let Some(takes_over) = &mut self.takes_over {
            return takes_over.await.ok().flatten();
        }
        match &mut self.started {
            Some(started) => {
                let _ended = started.wait().await;
                None
            }
            None => std::future::pending().await,
        }
    }

    async fn fail(&mut self) {
        tracing::error!("the process that was to take over ended before it served; this one goes on");
        let asked = std::mem::take(self).asked;
        if let Some(asked) = asked {
            let report = "the new process ended before it served; its reason is in the log, and the process \
                          before it serves on";
            asked.answer(false, report.into()).await;
        }
    }
}

fn pid_of(stream: &UnixStream) -> Option<u32> {
    u32::try_from(stream.peer_cred().ok()?.pid()?).ok()
}

/// Loads the file again. Whether it is in force, and what there is to say.
fn reload(serving: &mut Serving) -> (bool, String) {
    service::reloads();
    let loaded = load(&serving.file, &mut serving.running);
    serving.running.note_reload(loaded.is_ok());
    service::serves();
    let file = serving.file.display();
    match loaded {
        Ok(()) => {
            tracing::info!(%file, "the configuration is in force");
            (true, format!("{file} is in force"))
        }
        Err(why) => {
            tracing::error!(%file, error = why, "the configuration before this one stays in force");
            (false, format!("{why}\nthe configuration before it stays in force"))
        }
    }
}

/// Revokes, and answers who asked for it.
fn revoke(
    running: &Running,
    hostname: &str,
    reason: Reason,
    asked: Asked,
) -> impl Future<Output = ()> + use<> {
    let work = hostname.parse().map(|hostname| running.revoke(hostname, reason));
    async move {
        let (done, report) = match work {
            Err(invalid) => (false, format!("{invalid}")),
            Ok(work) => match work.await {
                Ok(Some(outcome)) => (outcome.is_through(), outcome.to_string()),
                Ok(None) => (false, "no certificate of exactly this name is stored".to_owned()),
                Err(refusal) => (false, format!("nothing is revoked: {refusal}")),
            },
        };
        asked.answer(done, report).await;
    }
}

/// Answers who asked for another sealing key once everything is sealed with it.
async fn rekey(work: impl Future<Output = Result<Rekeyed, Error>>, asked: Asked) {
    match work.await {
        Ok(rekeyed) => {
            tracing::info!(id = rekeyed.id, stored = rekeyed.stored, "the sealing key was changed");
            asked.answer(rekeyed.unusable == 0, rekeyed.to_string()).await;
        }
        Err(error) => {
            let why = in_full(&error);
            tracing::error!(error = why, "the change of the sealing key is not through; do it again");
            asked.answer(false, format!("the change is not through; do it again: {why}")).await;
        }
    }
}

/// Answers who asked for a new key of session tickets once there is one.
async fn rotate_tickets(work: impl Future<Output = Rotated>, asked: Asked) {
    let rotated = work.await;
    tracing::info!(
        discard = rotated.discard,
        "a new key of session tickets was made, as somebody asked for it"
    );
    asked.answer(rotated.is_through(), rotated.to_string()).await;
}

fn load(path: &Path, running: &mut Running) -> Result<(), String> {
    let config = file::load(path).map_err(|problems| problems.to_string())?;
    running.reload(config).map_err(|error| in_full(&error))
}

async fn leave(mut running: Running, mut signals: Signals, succession: Succession, pid: u32) {
    tracing::info!(pid, "another process serves now; this one finishes what it has begun");
    service::is_followed_by(pid);
    if let Some(asked) = succession.asked {
        asked.answer(true, format!("process {pid} serves now")).await;
    }
    tokio::select! {
        () = running.leave() => {}
        () = signals.stop() => stop(running, signals).await,
    }
}

async fn stop(running: Running, mut signals: Signals) {
    service::stops();
    tokio::select! {
        () = running.stop() => {}
        () = signals.stop() => tracing::warn!("stopping at once"),
    }
}
