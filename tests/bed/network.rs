//! Machines in networks of their own (Linux network namespaces), joined by a switch (a bridge): a machine
//! whose plug is pulled, or that loses packets, is told of it by nobody.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Addresses for measurements between networks (RFC 2544): nobody's real network has them.
pub const RANGE: &str = "198.18.0.0/16";

/// What joins the networks; the processes of the test are at its own address. Gone when dropped.
pub struct Switch {
    number: u8,
    machines: AtomicU32,
}

/// A machine's own network, with one plug in the switch. Gone when dropped.
pub struct Network {
    /// Of the namespace, and of its plug.
    pub name: String,
    switch: String,
    pub address: Ipv4Addr,
}

impl Switch {
    /// None where this user may make no networks, as anybody but root.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let begin = std::process::id();
        // Another switch may have a number.
        let mut numbers =
            (0..256).map(|offset| u8::try_from(begin.wrapping_add(offset) % 256).expect("below 256"));
        let free = |number: &u8| tried("ip", &["link", "add", &bridge(*number), "type", "bridge"]);
        let made = Self { number: numbers.find(free)?, machines: AtomicU32::new(1) };
        done("ip", &["address", "add", &format!("{}/24", made.address()), "dev", &made.name()]);
        done("ip", &["link", "set", &made.name(), "up"]);
        Some(made)
    }

    fn name(&self) -> String {
        bridge(self.number)
    }

    /// Where processes outside of the machines' networks listen for them.
    pub fn address(&self) -> Ipv4Addr {
        address(self.number, 1)
    }

    /// One more network, plugged in.
    pub fn network(&self) -> Network {
        let machine =
            u8::try_from(self.machines.fetch_add(1, Ordering::Relaxed) + 1).expect("a few machines");
        let address = address(self.number, machine);
        let name = format!("nplate{}x{machine}", self.number);
        let network = Network { name: name.clone(), switch: self.name(), address };
        done("ip", &["netns", "add", &name]);
        done("ip", &["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &name]);
        done("ip", &["-n", &name, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
        for device in ["lo", "eth0"] {
            done("ip", &["-n", &name, "link", "set", device, "up"]);
        }
        done("ip", &["link", "set", &name, "up"]);
        network.plug_in();
        network
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        tried("ip", &["link", "delete", &self.name()]);
    }
}

impl Network {
    /// From now on no packet comes or goes.
    pub fn pull_the_plug(&self) {
        done("ip", &["link", "set", &self.name, "nomaster"]);
    }

    pub fn plug_in(&self) {
        done("ip", &["link", "set", &self.name, "master", &self.switch]);
    }

    /// From now on this many packets out of a hundred are lost, in each direction, by chance.
    pub fn lose_packets(&self, percent: u8) {
        let rules = |device: &str| {
            format!(
                "table netdev {} {{ chain in {{ type filter hook ingress device \"{device}\" priority 0; \
                 numgen random mod 100 < {percent} drop; }}\n}}",
                self.name
            )
        };
        // What comes out of the machine, and what comes in.
        done("nft", &[&rules(&self.name)]);
        done("ip", &["netns", "exec", &self.name, "nft", &rules("eth0")]);
    }

    /// What a process of this network comes to.
    pub fn inside<T: Send>(&self, what: impl AsyncFnOnce() -> T + Send) -> T {
        let work = || {
            let network = File::open(format!("/run/netns/{}", self.name)).unwrap();
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), kind).unwrap();
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what())
        };
        tokio::task::block_in_place(|| std::thread::scope(|scope| scope.spawn(work).join().unwrap()))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        tried("nft", &["delete", "table", "netdev", &self.name]);
        // The namespace stays for as long as a connection of it does.
        tried("ip", &["link", "delete", &self.name]);
        tried("ip", &["netns", "delete", &self.name]);
    }
}

/// Of a machine of a switch, in [`RANGE`].
fn address(switch: u8, machine: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, switch, machine)
}

fn bridge(number: u8) -> String {
    format!("nameplate{number}")
}

fn tried(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn done(program: &str, arguments: &[&str]) {
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let ran = ran.unwrap_or_else(|error| panic!("{program}, from Debian's iproute2 and nftables: {error}"));
    assert!(ran.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
