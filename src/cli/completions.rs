//! `nameplate completions`: what shells complete after `nameplate`.

use std::io::Write;
use std::process::ExitCode;

use clap::ValueEnum;

/// Arguments of `nameplate completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For which shell; `source <(nameplate completions bash)` is enough to try it.
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script for `command`.
pub fn run(args: &Args, mut command: clap::Command) -> ExitCode {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "nameplate", &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_gone) => ExitCode::FAILURE,
    }
}
