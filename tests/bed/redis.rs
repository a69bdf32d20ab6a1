//! A real Redis, as a process on loopback.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::ca::write_tls_files;
use super::{eventually, free_port};

/// A running server, which keeps nothing on the disk; killed when dropped.
pub struct Redis {
    process: Child,
    folder: TempDir,
    settings: Vec<String>,
    pub port: u16,
}

impl Redis {
    /// Lets everybody in.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further settings, such as `--requirepass`.
    pub async fn start_with(settings: &[&str]) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let server = Self::spawn(folder, port, &[&["--port", &port.to_string()], settings].concat());
        server.answers().await;
        server
    }

    /// Speaks TLS alone.
    pub async fn start_with_tls() -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        write_tls_files(folder.path());
        let tls = [
            ["--port", "0"],
            ["--tls-port", &port.to_string()],
            ["--tls-cert-file", "https.pem"],
            ["--tls-key-file", "https.key"],
            ["--tls-ca-cert-file", "https-root.pem"],
            ["--tls-auth-clients", "no"],
        ];
        let server = Self::spawn(folder, port, &tls.concat());
        server.answers().await;
        server
    }

    fn spawn(folder: TempDir, port: u16, settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        Self { process: process(&folder, &settings), folder, settings, port }
    }

    /// Starts it again, at the same place and empty, after [`Redis::stop`].
    pub async fn start_again(&mut self) {
        self.process = process(&self.folder, &self.settings);
        self.answers().await;
    }

    /// Halts it, so that every call to it hangs until [`Redis::resume`].
    pub fn halt(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// What lies under `key`.
    pub async fn get(&self, key: &str) -> Option<String> {
        redis::cmd("GET").arg(key).query_async(&mut self.connection("").await).await.unwrap()
    }

    /// All keys that fit `pattern`.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        redis::cmd("KEYS").arg(pattern).query_async(&mut self.connection("").await).await.unwrap()
    }

    /// In how many seconds `key` ends; below 0: it does not, or is not there.
    pub async fn ends_in(&self, key: &str) -> i64 {
        redis::cmd("TTL").arg(key).query_async(&mut self.connection("").await).await.unwrap()
    }

    /// Removes `key`.
    pub async fn remove(&self, key: &str) {
        let mut connection = self.connection("").await;
        redis::cmd("DEL").arg(key).query_async::<()>(&mut connection).await.unwrap();
    }

    async fn answers(&self) {
        let address = (std::net::Ipv4Addr::LOCALHOST, self.port);
        let connects = async || tokio::net::TcpStream::connect(address).await.is_ok();
        eventually("Redis listens", connects).await;
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Whom a client must trust, where it speaks TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("https-root.pem")
    }

    /// A connection for what a test puts there; `rest` follows the port, as in `/1`.
    pub async fn connection(&self, rest: &str) -> MultiplexedConnection {
        let client = redis::Client::open(format!("{}{rest}", self.url())).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Puts these keys and values there.
    pub async fn set(&self, pairs: &[(String, String)]) {
        let mut connection = self.connection("").await;
        let mut pipe = redis::pipe();
        for (key, value) in pairs {
            pipe.set(key, value).ignore();
        }
        pipe.query_async::<()>(&mut connection).await.unwrap();
    }

    /// How often it did `command`, such as `keys`.
    pub async fn calls(&self, command: &str) -> usize {
        let mut connection = self.connection("").await;
        let text: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// Ends it.
    pub async fn stop(&mut self) {
        self.process.kill().await.unwrap();
    }
}

fn process(folder: &TempDir, settings: &[String]) -> Child {
    let log = fs::File::create(folder.path().join("log")).unwrap();
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(settings)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log)
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server, from Debian's package redis-server")
}
