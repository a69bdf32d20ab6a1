//! The API does what its description says, whoever calls it with whatever.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::bed::ca::{Ca, Options};
use crate::bed::free_port;
use crate::bed::program::{Edge, run};

/// As scripts/setup installs it.
const VERSION: &str = "4.32.5";
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/schemathesis.toml");

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_as_it_describes_itself() {
    // For its DNS server: what is looked up is answered at once.
    let ca = Ca::start(Options::validating_at(free_port(), free_port())).await;
    let config = format!(
        r#"
[listen]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
[api]
requests_per_token = "1000000/1s"
[dns]
resolvers = ["{}"]
edge_addresses = ["127.0.0.1"]
cname_target = "edge.plat.test"
[[site]]
name = "default"
organization = "cats"
origins = ["127.0.0.1:9"]
"#,
        ca.dns_server()
    );
    let edge = Edge::start(&config).await;
    let config = edge.config_file().display().to_string();
    let made =
        run(&["token", "create", "--organization", "*", "--scope", "admin", "--config", &config]).await;
    assert_eq!(made.code, 0, "{}", made.err);
    let url = format!("http://{}/api/v1/openapi.json", edge.admin);
    let token = format!("Authorization: Bearer {}", made.out.trim());
    let scratch = TempDir::new().unwrap();
    let held = tokio::task::spawn_blocking(move || {
        Command::new(schemathesis())
            .args(["--config-file", CONFIG, "--no-color", "run", &url, "-H", &token])
            // Fewer than the strangers that are answered, those without a token among them.
            .args(["--rate-limit", "250/s", "--request-timeout", "10"])
            // It keeps what failed in the folder that it runs in.
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .output()
    });
    let held = tokio::time::timeout(Duration::from_secs(180), held).await.expect("it ends");
    let held = held.unwrap().expect("schemathesis is installed; scripts/setup test does it");
    assert!(held.status.success(), "{}", String::from_utf8_lossy(&held.stdout));
}

/// Where scripts/setup puts it.
fn schemathesis() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let folder = format!("nameplate/schemathesis-{VERSION}/bin/schemathesis");
    cache.unwrap_or_else(home).join(folder)
}
