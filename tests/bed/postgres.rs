//! A real PostgreSQL, as a process on loopback.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::process::Child;

use super::{eventually, free_port};

/// Where Debian has its programs, which are not in everybody's PATH.
const DEBIAN: &str = "/usr/lib/postgresql";
/// It refuses to work for root; Debian's package makes this user.
const USER: &str = "postgres";

/// A running server that keeps nothing across a power cut; killed when dropped.
pub struct PostgresServer {
    process: Option<Child>,
    folder: TempDir,
    pub port: u16,
    settings: Vec<String>,
}

impl PostgresServer {
    /// Lets everybody in who comes from this machine.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further settings, such as `ssl=on`.
    pub async fn start_with(settings: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        give(folder.path());
        let data = folder.path().join("data");
        let mut initdb = as_user("initdb");
        initdb
            .args(["--auth=trust", "--username=nameplate", "--no-sync", "--no-instructions"])
            // Another order of texts than that of their octets, as most servers have it.
            .args(["--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US", "-D"])
            .arg(&data)
            .stdout(Stdio::null());
        // Others of this runtime go on meanwhile.
        let made = tokio::process::Command::from(initdb).status().await;
        assert!(made.expect("initdb, from Debian's package postgresql").success());
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut server = Self { process: None, folder, port: free_port(), settings };
        server.start_again().await;
        server
    }

    /// Starts it again, at the same place, with what it had.
    pub async fn start_again(&mut self) {
        self.process = Some(self.spawn());
        eventually("PostgreSQL answers", async || PgConnection::connect(&self.url("postgres")).await.is_ok())
            .await;
    }

    fn spawn(&self) -> Child {
        let log =
            fs::OpenOptions::new().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let mut command = as_user("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-k", ""]);
        let fixed =
            ["listen_addresses=127.0.0.1", "max_connections=300", "full_page_writes=off", "fsync=off"];
        for setting in fixed.into_iter().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true).spawn().expect("postgres, from Debian's package postgresql")
    }

    /// Lets everybody in who comes from this network too, at `address`; in force once it starts again.
    pub fn let_in(&mut self, address: std::net::Ipv4Addr, network: &str) {
        let mut rules = fs::read_to_string(self.data().join("pg_hba.conf")).unwrap();
        rules.push_str(&format!("host all all {network} trust\n"));
        fs::write(self.data().join("pg_hba.conf"), rules).unwrap();
        self.settings.push(format!("listen_addresses=127.0.0.1,{address}"));
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A folder that the server can read and write too.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://nameplate@127.0.0.1:{}/{database}", self.port)
    }

    /// An empty database of this name.
    pub async fn database(&self, name: &str) -> String {
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(name)
    }

    /// Does `statement` in a database, behind the back of whoever uses it; how many rows it changed.
    pub async fn execute(&self, database: &str, statement: &str) -> u64 {
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        let done = sqlx::raw_sql(statement).execute(&mut connection).await.unwrap().rows_affected();
        connection.close().await.unwrap();
        done
    }

    /// The one number that `statement` comes to.
    pub async fn number(&self, database: &str, statement: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        let number = sqlx::query_scalar(sqlx::AssertSqlSafe(statement.to_owned()));
        let number = number.fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    /// Ends it, whoever is connected.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let id = process.id().expect("it runs").to_string();
        // Its "immediate" shutdown: the children end too, as after a crash.
        assert!(Command::new("kill").args(["-s", "QUIT", &id]).status().unwrap().success());
        process.wait().await.unwrap();
    }

    /// Halts it and every process of it, so that each call hangs until [`PostgresServer::resume`].
    pub fn halt(&self) {
        self.signal_all("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal_all("CONT");
    }

    fn signal_all(&self, name: &str) {
        let id = self.process.as_ref().and_then(Child::id).expect("it runs").to_string();
        let children = Command::new("pgrep").args(["-P", &id]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        for id in children.split_whitespace().chain([id.as_str()]) {
            // A child may have ended meanwhile.
            Command::new("kill").args(["-s", name, id]).stderr(Stdio::null()).status().unwrap();
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(id) = self.process.as_ref().and_then(Child::id) {
            // Killed alone, it would leave its children to notice by themselves.
            let _gone = Command::new("kill").args(["-s", "QUIT", &id.to_string()]).status();
        }
    }
}

/// Lets the server's user write to `folder`.
pub fn give(folder: &Path) {
    if rustix::process::geteuid().is_root() {
        let given = Command::new("chown").arg(USER).arg(folder).status().unwrap();
        assert!(given.success());
    }
}

/// A program of PostgreSQL, for a user that it works for; it ends with this process.
pub fn as_user(program: &str) -> Command {
    let program = found(program);
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "QUIT"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command.process_group(0);
    command
}

fn found(program: &str) -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut places: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(program)).collect();
    places.retain(|place| place.exists());
    places.sort();
    places.pop().unwrap_or_else(|| program.into())
}
