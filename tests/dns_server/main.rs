//! The zone that Nameplate answers for itself, asked as resolvers and strangers ask.

mod answers;
#[path = "../bed/mod.rs"]
mod bed;
mod behind;
mod life;
mod packets;

use std::path::Path;

use bed::program::Edge;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::process::Command;

/// Labels that hostnames could have.
const LABEL: &str = "abcdefghijklmnopqrstuvwxyz234567";
const OTHER: &str = "77777777777777777777777777777777";

/// An edge that answers for `acme.plat.test` at `port`; `more`: further lines of its section.
async fn edge(port: u16, more: &str) -> Edge {
    Edge::start(&config(port, more)).await
}

fn config(port: u16, more: &str) -> String {
    format!(
        "[dns_server]\nlisten = [\"127.0.0.1:{port}\"]\nzone = \"acme.plat.test\"\n\
         name_servers = [\"ns1.acme.plat.test\", \"b.ns.acme.plat.test\", \"ns.plat.test\"]\n\
         addresses = [\"192.0.2.7\", \"2001:db8::7\"]\nhostmaster = \"dns.ops@plat.test\"\n{more}\n"
    )
}

/// An edge as [`edge`] makes it, and where it answers.
async fn any_edge(more: &str) -> (Edge, u16) {
    let port = bed::free_port();
    (edge(port, more).await, port)
}

/// What `dig` prints of an answer.
async fn dig(port: u16, arguments: &str) -> String {
    let server = ["@127.0.0.1", "-p", &port.to_string(), "+tries=1", "+time=5", "+norec"].map(str::to_owned);
    let output = Command::new("dig").args(server).args(arguments.split(' ')).output().await;
    String::from_utf8(output.expect("dig, from Debian's package bind9-dnsutils").stdout).unwrap()
}

/// The same, with nothing but records and values.
async fn short(port: u16, arguments: &str) -> Vec<String> {
    let text = dig(port, &format!("{arguments} +short")).await;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Changes the store behind the edge's back, as another machine of the fleet does it.
async fn sql(folder: &Path, statement: String) {
    let options = SqliteConnectOptions::new().filename(folder.join("data/store.sqlite"));
    let mut connection = options.connect().await.unwrap();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Publishes a value of TXT records under a label.
async fn publish(edge: &Edge, label: &str, value: &str) {
    let statement = format!(
        "INSERT INTO challenges (kind, key, answer, expires) \
         VALUES ('dns-01', '{label}.acme.plat.test', '{value}', 99999999999)"
    );
    sql(&edge.folder(), statement).await;
}
