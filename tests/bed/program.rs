//! The `nameplate` program itself, as a process, on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::appears;
use super::client::{Client, Refused, Served};

/// A running edge; killed when dropped.
pub struct Edge {
    process: Child,
    folder: TempDir,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub admin: SocketAddr,
    pub client: Client,
}

impl Edge {
    /// Starts with `config`, in which `data_dir` and the listeners are left out unless it has
    /// them; waits until it listens.
    pub async fn start(config: &str) -> Self {
        Self::start_in(TempDir::new().unwrap(), config).await
    }

    /// The same in a folder of the caller's, which may hold data of an earlier process.
    pub async fn start_in(folder: TempDir, config: &str) -> Self {
        let mut text = format!("data_dir = {:?}\n", folder.path().join("data").display().to_string());
        if !config.contains("[listen]") {
            text.push_str(
                "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n",
            );
        }
        text.push_str(config);
        std::fs::write(folder.path().join("nameplate.toml"), text).unwrap();
        Self::spawn(folder).await
    }

    async fn spawn(folder: TempDir) -> Self {
        let command = command(folder.path());
        Self::spawn_by(folder, command).await
    }

    /// Starts by a command of the caller's, such as one that begins with [`command`].
    pub async fn spawn_by(folder: TempDir, mut command: Command) -> Self {
        let listening = folder.path().join("data/listening.json");
        if listening.exists() {
            std::fs::remove_file(&listening).unwrap();
        }
        let mut process = command.spawn().unwrap();
        let bound = appears("the edge listens", async || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the edge ended with {status}: {}", read(&folder.path().join("log")));
            }
            let text = std::fs::read(&listening).ok()?;
            serde_json::from_slice::<serde_json::Value>(&text).ok()
        })
        .await;
        let address = |value: &serde_json::Value| value.as_str().and_then(|a| a.parse().ok());
        Self {
            http: address(&bound["http"][0]).unwrap_or_else(|| ([127, 0, 0, 1], 0).into()),
            https: address(&bound["https"][0]).unwrap(),
            admin: address(&bound["admin"]).unwrap(),
            process,
            folder,
            client: Client::default(),
        }
    }

    /// Lets a new process take over, as SIGQUIT does it; the old one, which goes on with what it has
    /// begun, and the new one.
    pub async fn upgraded(self) -> (Leaving, Self) {
        self.signal("QUIT");
        let mut command = command(self.folder.path());
        command.arg("--upgrade");
        let new = Self::spawn_by(self.folder, command).await;
        (Leaving(self.process), new)
    }

    /// Stops it by SIGTERM; its folder, once it has ended well.
    pub async fn stop(self) -> TempDir {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until it has ended, which it must do well; its folder.
    pub async fn ended(mut self) -> TempDir {
        let status = tokio::time::timeout(Duration::from_secs(20), self.process.wait())
            .await
            .expect("the edge stops within its drain time")
            .unwrap();
        assert!(status.success(), "the edge ended with {status}: {}", self.log());
        self.folder
    }

    /// Kills it as a crash would; its folder.
    pub async fn kill(mut self) -> TempDir {
        self.process.kill().await.unwrap();
        self.folder
    }

    /// Starts again what ran in `folder`, with the configuration that is there.
    pub async fn again(folder: TempDir) -> Self {
        Self::spawn(folder).await
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// Its folder; data lies in `data`.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Whether a copy of a certificate, as a whole, is on its own disk.
    pub fn has_a_copy(&self) -> bool {
        self.copies() > 0
    }

    /// How many copies of certificates, as a whole, are on its own disk: at `AB/HASH`.
    pub fn copies(&self) -> usize {
        let local = std::fs::read_dir(self.folder.path().join("data/local"));
        let folders = local.into_iter().flatten().filter_map(|folder| Some(folder.ok()?.path()));
        let files = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        let names = files.filter_map(|file| Some(file.ok()?.file_name().to_string_lossy().into_owned()));
        names.filter(|name| name.len() == 64 && name.bytes().all(|octet| octet.is_ascii_hexdigit())).count()
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("nameplate.toml")
    }

    /// What it wrote about where it listens.
    pub fn listening(&self) -> serde_json::Value {
        let text = std::fs::read(self.folder.path().join("data/listening.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Every log line so far, each of which must be JSON.
    pub fn log_lines(&self) -> Vec<serde_json::Value> {
        let log = self.log();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        log.lines().map(parse).collect()
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }

    /// One handshake for `sni`.
    pub async fn handshake(&self, sni: &str) -> Result<Served, Refused> {
        self.client.handshake(self.https, sni).await
    }

    /// A handshake that must succeed, and one request.
    pub async fn get(&self, hostname: &str, path: &str) -> String {
        match self.handshake(hostname).await {
            Ok(served) => served.get(hostname, path).await,
            Err(refused) => panic!("{hostname} is refused: {refused:?}\n{}", self.log()),
        }
    }

    /// Many handshakes for one name at the same time.
    pub async fn handshakes(&self, number: usize, sni: &str) -> Vec<Result<Served, Refused>> {
        let names = vec![sni.to_owned(); number];
        self.handshakes_for(&names).await
    }

    /// A handshake for each name, all at the same time.
    pub async fn handshakes_for(&self, names: &[String]) -> Vec<Result<Served, Refused>> {
        let tasks: Vec<_> = names
            .iter()
            .map(|name| {
                let (client, address, name) = (self.client.clone(), self.https, name.clone());
                tokio::spawn(async move { client.handshake(address, &name).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        outcomes
    }

    /// The sum of a metric's samples whose line begins with `nameplate_` and `line`, such as
    /// `orders_total` or `approvals_total{result="denied"}`.
    pub async fn metric(&self, line: &str) -> f64 {
        let text = super::plain(self.admin, "admin.test", "/metrics").await;
        let wanted = format!("nameplate_{line}");
        text.lines()
            .filter(|sample| sample.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with([' ', '{'])))
            .filter_map(|sample| sample.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

/// The program; where something is put between it and libc, the one with libc's allocator.
fn program(environment: &[(String, String)]) -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_nameplate"));
    if environment.iter().all(|(name, _)| name != "LD_PRELOAD") {
        return program;
    }
    let other = program.with_file_name("examples").join("libc_allocator");
    assert!(other.exists(), "{} is missing; run: cargo build --examples", other.display());
    other
}

/// What the file `environment` in `folder` has, as lines of NAME=VALUE.
fn environment(folder: &Path) -> Vec<(String, String)> {
    let lines = read(&folder.join("environment"));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    lines.lines().filter_map(pair).collect()
}

/// What starts the program by the configuration in `folder`, with its log there, in the network that the file
/// `network` names.
pub fn command(folder: &Path) -> Command {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let environment = environment(folder);
    let mut command = match std::fs::read_to_string(folder.join("network")) {
        Err(_) => Command::new(program(&environment)),
        Ok(network) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &network]).arg(program(&environment));
            command
        }
    };
    command
        .args(["run", "--threads", "2", "--config"])
        .arg(folder.join("nameplate.toml"))
        .envs(std::fs::read_to_string(folder.join("log-filter")).map(|f| ("NAMEPLATE_LOG", f)))
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    command
}

/// A process that another one replaced; killed when dropped.
pub struct Leaving(Child);

impl Leaving {
    /// Whether it still has something to finish.
    pub fn goes_on(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended, which it must do well.
    pub async fn ended(mut self) {
        let status = tokio::time::timeout(super::DEADLINE, self.0.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "the process before ended with {status}");
    }
}

/// How a command ended.
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

/// Runs `nameplate` with `arguments` until it ends.
pub async fn run(arguments: &[&str]) -> Ran {
    let command = Command::new(env!("CARGO_BIN_EXE_nameplate"))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(super::DEADLINE, command).await.expect("it ends").unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Ran {
        code: output.status.code().expect("no signal ended it"),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
