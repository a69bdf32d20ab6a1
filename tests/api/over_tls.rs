//! The API from elsewhere: over TLS, with a certificate of its own.

use std::process::Command;

use tempfile::TempDir;

use crate::bed::ca::{plain_client, trusting};
use crate::bed::eventually;
use crate::bed::pem;
use crate::bed::program::Edge;

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_the_admin_listener_speaks_tls_alone_and_a_reload_takes_a_new_one() {
    let folder = TempDir::new().unwrap();
    let first = pem::pair(&["localhost"], &pem::p256(), 2096);
    first.write(folder.path(), "admin");
    let edge = Edge::start_in(
        folder,
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
         admin_certificate_file = \"admin.pem\"\nadmin_certificate_key_file = \"admin.key\"\n",
    )
    .await;
    let port = edge.admin.port();
    let url = |path: &str| format!("https://localhost:{port}{path}");
    let folder = edge.folder();
    let client = trusting(&folder.join("admin.pem"));
    assert_eq!(client.get(url("/readyz")).send().await.unwrap().status(), 200);
    let refused = client.get(url("/api/v1/hostnames")).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let described = client.get(url("/api/v1/openapi.json")).send().await.unwrap().text().await.unwrap();
    assert!(described.contains("\"openapi\":\"3.1.0\""), "{described}");
    let plain = plain_client().get(format!("http://127.0.0.1:{port}/readyz")).send().await;
    assert!(plain.is_err(), "nothing is told in the clear");

    pem::pair(&["localhost"], &pem::p256(), 2096).write(&folder, "admin");
    let reload = Command::new(env!("CARGO_BIN_EXE_nameplate"))
        .args(["reload", "--config"])
        .arg(edge.config_file())
        .output()
        .unwrap();
    assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    eventually("the new certificate is shown", async || {
        trusting(&folder.join("admin.pem")).get(url("/healthz")).send().await.is_ok()
    })
    .await;
}
