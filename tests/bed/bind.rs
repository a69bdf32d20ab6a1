//! A real DNS server, BIND's `named`, as a process on loopback.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{eventually, free_port};

/// Where Debian has `named`, which is not in everybody's PATH.
const SBIN: &str = "/usr/sbin";
/// What every zone lies below.
const TOP: &str = "test";
/// What ends the options of a server that answers for its own zones alone.
const SERVES: &str = "recursion no;\ndnssec-validation no;\n};\n";

/// A key that updates are signed with, and its name.
pub const KEY_NAME: &str = "nameplate-key";
pub const KEY: &str = "c2VjcmV0LW9mLTMyLW9jdGV0cy1mb3ItdGhlLXRlc3Q=";

/// A running server; killed when dropped.
pub struct Bind {
    process: Child,
    folder: TempDir,
    pub port: u16,
    /// What a validating server has to trust, where a zone is signed.
    anchor: Option<String>,
}

impl Bind {
    /// Has `zones`, each with its records beside SOA, NS and `ns`, and an empty [`TOP`]; answers for
    /// them alone.
    pub async fn serving(zones: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        write_zone(folder.path(), TOP, "");
        for (zone, records) in zones {
            write_zone(folder.path(), zone, records);
        }
        let names: Vec<&str> = std::iter::once(TOP).chain(zones.iter().map(|(zone, _)| *zone)).collect();
        Self::start(folder, &format!("{SERVES}{}", primaries(&names)), None).await
    }

    /// Has `zones` as [`Bind::serving`]; whoever signs by [`KEY_NAME`] and [`KEY`] (TSIG) may change TXT
    /// records in those of `open`.
    pub async fn taking_updates(zones: &[(&str, &str)], open: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        write_zone(folder.path(), TOP, "");
        let mut text = format!("{SERVES}key {KEY_NAME:?} {{ algorithm hmac-sha256; secret {KEY:?}; }};\n");
        text.push_str(&primaries(&[TOP]));
        for (zone, records) in zones {
            write_zone(folder.path(), zone, records);
            let policy = match open.contains(zone) {
                true => format!("update-policy {{ grant {KEY_NAME} zonesub TXT; }};"),
                false => String::new(),
            };
            text.push_str(&format!("zone {zone:?} {{ type primary; file \"{zone}.zone\"; {policy} }};\n"));
        }
        Self::start(folder, &text, None).await
    }

    /// Has what `primary` has of `zones`, and looks for changes every few seconds: nobody tells it.
    pub async fn behind(primary: &Self, zones: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let times = "min-refresh-time 3;\nmax-refresh-time 3;\n";
        let mut text = format!("{times}{SERVES}");
        for zone in zones {
            text.push_str(&format!(
                "zone {zone:?} {{ type secondary; file \"{zone}.copy\"; primaries {{ 127.0.0.1 port {}; }}; }};\n",
                primary.port
            ));
        }
        let server = Self::start(folder, &text, None).await;
        let copied = zones.iter().map(|zone| server.folder.path().join(format!("{zone}.copy")));
        let copied: Vec<_> = copied.collect();
        eventually("it has copied the zones", async || copied.iter().all(|copy| copy.exists())).await;
        server
    }

    /// Has one zone, signed, in which `good` then became `spoilt`, its signature left as it was.
    pub async fn serving_spoilt(zone: &str, records: &str, good: &str, spoilt: &str) -> Self {
        let folder = TempDir::new().unwrap();
        write_zone(folder.path(), zone, records);
        let file = format!("{zone}.zone");
        run(folder.path(), "dnssec-keygen", &["-a", "ECDSAP256SHA256", "-f", "KSK", zone]).await;
        // -z: the one key signs everything.
        run(folder.path(), "dnssec-signzone", &["-S", "-z", "-o", zone, "-f", "signed", &file]).await;
        let signed = fs::read_to_string(folder.path().join("signed")).unwrap();
        assert!(signed.contains(good), "{signed}");
        fs::write(folder.path().join(&file), signed.replace(good, spoilt)).unwrap();
        let delegation = fs::read_to_string(folder.path().join(format!("dsset-{zone}."))).unwrap();
        let delegation = format!("{zone}. NS ns.{zone}.\nns.{zone}. A 127.0.0.1\n{delegation}");
        write_zone(folder.path(), TOP, &delegation);
        let anchor = Some(anchor(folder.path()));
        Self::start(folder, &format!("{SERVES}{}", primaries(&[TOP, zone])), anchor).await
    }

    /// Asks `server` for everything, and keeps what it is told; where a zone of it is signed, this
    /// one validates.
    pub async fn before(server: &Self) -> Self {
        let validation = if server.anchor.is_some() { "yes" } else { "no" };
        let anchor = server.anchor.as_deref().unwrap_or_default();
        let forward = format!(
            "recursion yes;\nallow-recursion {{ any; }};\ndnssec-validation {validation};\n\
             forward only;\nforwarders {{ 127.0.0.1 port {}; }};\n}};\n{anchor}\n",
            server.port
        );
        Self::start(TempDir::new().unwrap(), &forward, None).await
    }

    /// Asks `server` for everything but `zones`, each of which somebody else answers for at a port.
    pub async fn between(server: &Self, zones: &[(&str, u16)]) -> Self {
        let forward = format!(
            "recursion yes;\nallow-recursion {{ any; }};\ndnssec-validation no;\nforward only;\n\
             forwarders {{ 127.0.0.1 port {}; }};\nprefetch 0;\nservfail-ttl 0;\n}};\n",
            server.port
        );
        let zone = |(name, port): &(&str, u16)| {
            format!(
                "zone \"{name}\" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {port}; }}; }};\n"
            )
        };
        let zones: String = zones.iter().map(zone).collect();
        Self::start(TempDir::new().unwrap(), &format!("{forward}{zones}"), None).await
    }

    async fn start(folder: TempDir, rest: &str, anchor: Option<String>) -> Self {
        let port = free_port();
        let process = spawn(folder.path(), rest, port);
        let mut server = Self { process, folder, port, anchor };
        // Another test process may have taken the port since.
        while !server.has_loaded(1).await {
            server.port = free_port();
            server.process = spawn(server.folder.path(), rest, server.port);
        }
        server
    }

    /// Where it answers.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Gives `zone` other records.
    pub async fn rewrite(&mut self, zone: &str, records: &str) {
        let loaded = self.loads();
        write_zone(self.folder.path(), zone, records);
        let pid = self.process.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap();
        assert!(sent.success());
        assert!(self.has_loaded(loaded + 1).await);
    }

    /// Waits for it; false where somebody else has its port.
    async fn has_loaded(&mut self, times: usize) -> bool {
        let mut taken = false;
        eventually("named has its zones", async || {
            if let Some(status) = self.process.try_wait().unwrap() {
                taken = self.log().contains("interface ignored");
                assert!(taken, "named ended with {status}: {}", self.log());
            }
            taken || self.loads() >= times
        })
        .await;
        assert!(!self.log().contains("not loaded due to errors"), "{}", self.log());
        !taken
    }

    fn loads(&self) -> usize {
        self.log().matches("all zones loaded").count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn spawn(folder: &Path, rest: &str, port: u16) -> Child {
    // Without `reuseport no` two of them could have the same port.
    let config = format!(
        "controls {{ }};\noptions {{\ndirectory {:?};\nlisten-on port {port} {{ 127.0.0.1; }};\n\
         listen-on-v6 {{ none; }};\nreuseport no;\npid-file none;\nlock-file none;\n\
         session-keyfile none;\nempty-zones-enable no;\nallow-query {{ any; }};\nnotify no;\n{rest}",
        folder.display().to_string()
    );
    fs::write(folder.join("named.conf"), config).unwrap();
    let log = File::create(folder.join("log")).unwrap();
    command("named")
        .args(["-g", "-n", "1", "-c", "named.conf"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("named, from Debian's package bind9")
}

fn write_zone(folder: &Path, zone: &str, records: &str) {
    let text = format!(
        "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n{}\n",
        records.lines().map(str::trim_start).collect::<Vec<_>>().join("\n")
    );
    fs::write(folder.join(format!("{zone}.zone")), text).unwrap();
}

fn primaries(zones: &[&str]) -> String {
    let zone = |name: &&str| format!("zone \"{name}\" {{ type primary; file \"{name}.zone\"; }};\n");
    zones.iter().map(zone).collect()
}

/// The `trust-anchors` for the one key in `folder`.
fn anchor(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "key")).unwrap();
    let text = fs::read_to_string(file).unwrap();
    let record = text.lines().find(|line| line.contains(" DNSKEY ")).unwrap();
    let (name, data) = record.split_once(" IN DNSKEY ").unwrap();
    let mut words = data.split_whitespace();
    let mut word = || words.next().unwrap().to_owned();
    let (flags, protocol, algorithm) = (word(), word(), word());
    let key: String = words.collect();
    format!("trust-anchors {{ {name} static-key {flags} {protocol} {algorithm} \"{key}\"; }};")
}

async fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output = command(program).args(arguments).current_dir(folder).output().await.unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn command(program: &str) -> Command {
    let there = Path::new(SBIN).join(program);
    if there.exists() { Command::new(there) } else { Command::new(program) }
}
