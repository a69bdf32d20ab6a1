//! The commands and their help.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::{
    authority, cert, check, completions, demo, events, explain, fleet, health, hostname, import,
    organization, process, reload, run, site, store, tickets, token, webhook,
};

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
    /// Register, list, show, change and remove customers' hostnames.
    Hostname(hostname::Args),
    /// Say why a name is or is not served, and what to do.
    Explain(explain::Args),
    /// Make, list, show, change and remove sites.
    Site(site::Args),
    /// Webhooks: who is told what happens.
    Webhook(webhook::Args),
    /// List organizations and set their quotas.
    Organization(organization::Args),
    /// Say how many hostnames an organization has and may have.
    Quota(organization::QuotaArgs),
    /// List what happened, and who asked for it.
    Events(events::Args),
    /// List and revoke certificates.
    #[command(visible_alias = "certificate")]
    Cert(cert::Args),
    /// List the authorities that give certificates.
    Authority(authority::Args),
    /// Make, list and revoke tokens of the API.
    Token(token::Args),
    /// Show the machines that share the store.
    Fleet(fleet::Args),
    /// Change the sealing key.
    Store(store::Args),
    /// Rotate the keys of session tickets.
    Tickets(tickets::Args),
    /// Bring certificates from elsewhere.
    Import(import::Args),
    /// Ask the running process whether it is ready (for container health checks).
    Health(health::Args),
    /// Print what a shell needs to complete commands and options.
    Completions(completions::Args),
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
        Command::Hostname(args) => run::block_on(None, hostname::run(args)),
        Command::Explain(args) => run::block_on(None, explain::run(args)),
        Command::Webhook(args) => run::block_on(None, webhook::run(args)),
        Command::Site(args) => run::block_on(None, site::run(args)),
        Command::Organization(args) => run::block_on(None, organization::run(args)),
        Command::Quota(args) => run::block_on(None, organization::run_quota(args)),
        Command::Events(args) => run::block_on(None, events::run(args)),
        Command::Authority(args) => run::block_on(None, authority::run(args)),
        Command::Completions(args) => completions::run(&args, Arguments::command()),
        Command::Cert(args) => cert::run(args),
        Command::Token(args) => run::block_on(None, token::run(args)),
        Command::Fleet(args) => run::block_on(None, fleet::run(args)),
        Command::Store(args) => run::block_on(None, store::run(args)),
        Command::Tickets(args) => run::block_on(None, tickets::run(args)),
        Command::Import(args) => run::block_on(None, import::run(&args, super::configuration)),
        Command::Health(args) => health::run(&args),
    }
}
