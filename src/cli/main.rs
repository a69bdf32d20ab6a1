//! The commands and their help.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{cert, check, demo, health, import, process, reload, run, store, token};

/// Custom hostnames with automatic HTTPS for SaaS platforms.
#[derive(Debug, Parser)]
#[command(name = "nameplate", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run(run::Args),
    /// Let the running process load its configuration file again.
    Reload(reload::Args),
    /// Let the running process start the program anew, which takes over without closing a
    /// connection.
    Upgrade(reload::Args),
    /// Load the configuration and print every error in it.
    Check(check::Args),
    /// Show it at work on loopback: an edge, an example origin and an approval endpoint.
    Demo(demo::Args),
    /// Revoke a certificate.
    Cert(cert::Args),
    /// Make, list and revoke tokens of the API.
    Token(token::Args),
    /// Change the sealing key.
    Store(store::Args),
    /// Bring certificates from elsewhere.
    Import(import::Args),
    /// Ask the running process whether it is ready (for container health checks).
    Health(health::Args),
}

/// Runs the command that the process was called with.
///
/// 0: done; 1: the answer is no; 2: the call was wrong.
pub fn main() -> ExitCode {
    process::keep_memory_to_itself();
    match Arguments::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Reload(args) => reload::reload(&args),
        Command::Upgrade(args) => reload::upgrade(&args),
        Command::Check(args) => check::run(args),
        Command::Demo(args) => demo::run(&args),
        Command::Cert(args) => cert::run(args),
        Command::Token(args) => run::block_on(None, token::run(args)),
        Command::Store(args) => run::block_on(None, store::run(args)),
        Command::Import(args) => run::block_on(None, import::run(&args, super::configuration)),
        Command::Health(args) => health::run(&args),
    }
}
