//! A real DNS server with an API, PowerDNS, as a process on loopback.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::ca::plain_client;
use super::{eventually, free_port};

/// What its API wants to see.
pub const API_KEY: &str = "hush-of-the-tests";
/// Where Debian has the program, which is not in everybody's PATH, and its schema.
const PROGRAM: &str = "/usr/sbin/pdns_server";
const SCHEMA: &str = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql";

/// A running server; killed when dropped.
pub struct PowerDns {
    _process: Child,
    _folder: TempDir,
    port: u16,
    api: u16,
}

impl PowerDns {
    /// Has one empty zone.
    pub async fn serving(zone: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let database = folder.path().join("zones.sqlite");
        let schema = File::open(SCHEMA).expect("the schema in Debian's package pdns-backend-sqlite3");
        let made = Command::new("sqlite3").arg(&database).stdin(schema).status().await.unwrap();
        assert!(made.success());
        let (port, api) = (free_port(), free_port());
        let process = spawn(folder.path(), &database, port, api);
        let server = Self { _process: process, _folder: folder, port, api };
        let zones = format!("{}/api/v1/servers/localhost/zones", server.endpoint());
        let body = serde_json::json!({ "name": format!("{zone}."), "kind": "Native",
            "nameservers": [format!("ns.{zone}.")] });
        eventually("the zone is there", async || {
            let call = plain_client().post(&zones).header("X-API-Key", API_KEY).body(body.to_string());
            call.send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        server
    }

    /// Makes `alias` lead to `target`; both lie in the zone.
    pub async fn alias(&self, zone: &str, alias: &str, target: &str) {
        let zones = format!("{}/api/v1/servers/localhost/zones/{zone}.", self.endpoint());
        let records = [serde_json::json!({ "content": format!("{target}."), "disabled": false })];
        let sets = [serde_json::json!({ "name": format!("{alias}."), "type": "CNAME", "ttl": 60,
            "changetype": "REPLACE", "records": records })];
        let body = serde_json::json!({ "rrsets": sets }).to_string();
        let call = plain_client().patch(&zones).header("X-API-Key", API_KEY).body(body);
        let answer = call.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Where it answers.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its API is.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }
}

fn spawn(folder: &Path, database: &Path, port: u16, api: u16) -> Child {
    let log = File::create(folder.join("log")).unwrap();
    let setting = |name: &str, value: &dyn std::fmt::Display| format!("{name}={value}\n");
    let config = [
        setting("launch", &"gsqlite3"),
        setting("gsqlite3-database", &database.display()),
        setting("api", &"yes"),
        setting("api-key", &API_KEY),
        setting("webserver-address", &"127.0.0.1"),
        setting("webserver-port", &api),
        setting("local-address", &"127.0.0.1"),
        setting("local-port", &port),
        setting("socket-dir", &folder.display()),
        // What was asked for before it was written is asked for again.
        setting("cache-ttl", &0),
        setting("negquery-cache-ttl", &0),
        setting("query-cache-ttl", &0),
        setting("zone-cache-refresh-interval", &0),
    ];
    fs::write(folder.join("pdns.conf"), config.concat()).unwrap();
    Command::new(PROGRAM)
        .args(["--daemon=no", "--guardian=no"])
        .arg(format!("--config-dir={}", folder.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("pdns_server, from Debian's package pdns-server")
}
