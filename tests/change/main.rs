//! Change in a running edge: another configuration, another program, systemd's sockets.

#[path = "../bed/mod.rs"]
mod bed;
mod load;
mod reload;
mod service;
mod upgrade;

use std::net::SocketAddr;

use bed::program::Ran;

/// One site for the `names` at `origin`; `more`: tables before it.
fn config(names: &[&str], origin: SocketAddr, more: &str) -> String {
    format!(
        "{more}\n[[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n\
         [[site]]\nname = \"default\"\nhostnames = {names:?}\norigins = [\"{origin}\"]\n"
    )
}

/// A process that `nameplate upgrade` started; ended when dropped.
struct Ends(u32);

impl Ends {
    /// The one that `upgrade` told of: "process N serves now".
    fn told_by(upgrade: &Ran) -> Self {
        let pid = upgrade.out.split(' ').nth(1).and_then(|pid| pid.parse().ok());
        Self(pid.unwrap_or_else(|| panic!("no process is told of: {} {}", upgrade.out, upgrade.err)))
    }

    fn signal(&self, name: &str) {
        let _gone = std::process::Command::new("kill").args(["-s", name, &self.0.to_string()]).status();
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}
