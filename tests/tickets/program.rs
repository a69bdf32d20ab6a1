//! Sessions of the program itself, over its restarts.

use std::path::Path;

use openssl::ssl::{SslSession, SslVersion};
use tokio::io::AsyncWriteExt;

use crate::bed::client::{self, Client};
use crate::bed::eventually;
use crate::bed::program::{Edge, Ran, run};

const CONFIG: &str = r#"
[[authority]]
name = "internal"
directory = "internal"

[[site]]
name = "default"
hostnames = ["a.test", "b.test"]
origins = ["127.0.0.1:9"]
"#;

const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

fn client(version: SslVersion) -> Client {
    Client { version: Some(version), ..Client::default() }
}

async fn sessions(edge: &Edge) -> [SslSession; 2] {
    let shared = async || edge.metric("ticket_key_shared").await == 1.0;
    eventually("a key of the store's", shared).await;
    let [old, new] = VERSIONS.map(client);
    [
        client::session(&old, edge.https, "a.test", 1).await,
        client::session(&new, edge.https, "a.test", 1).await,
    ]
}

/// Whether they are resumed, which must be the same for both.
async fn resumes(edge: &Edge, sessions: &[SslSession; 2], name: &str) -> bool {
    let mut reused = Vec::new();
    for (version, session) in VERSIONS.into_iter().zip(sessions) {
        let client = Client { session: Some(session.clone()), ..client(version) };
        let mut served = client.handshake(edge.https, name).await.unwrap();
        reused.push(served.stream.ssl().session_reused());
        // OpenSSL does not resume a session once more whose connection was not closed in order.
        let _gone = served.stream.shutdown().await;
    }
    assert_eq!(reused[0], reused[1]);
    reused[0]
}

async fn rotate(file: &Path, more: &[&str]) -> Ran {
    let arguments = ["tickets", "rotate", "--config", file.to_str().unwrap()];
    run(&[&arguments, more].concat()).await
}

#[tokio::test]
async fn a_session_is_resumed_after_a_restart_and_an_upgrade() {
    let edge = Edge::start(CONFIG).await;
    edge.handshake("b.test").await.unwrap();
    let before = sessions(&edge).await;
    let edge = Edge::again(edge.stop().await).await;
    assert!(resumes(&edge, &before, "a.test").await);
    assert!(!resumes(&edge, &before, "b.test").await, "the tickets of another name");
    let (old, edge) = edge.upgraded().await;
    assert!(resumes(&edge, &before, "a.test").await);
    old.ended().await;
    let edge = Edge::again(edge.kill().await).await;
    assert!(resumes(&edge, &before, "a.test").await);
}

#[tokio::test]
async fn a_session_is_resumed_after_a_restart_without_the_store() {
    let edge = Edge::start(CONFIG).await;
    let before = sessions(&edge).await;
    let folder = edge.stop().await;
    let data = folder.path().join("data");
    for end in ["", "-wal", "-shm"] {
        let _missing = std::fs::remove_file(data.join(format!("store.sqlite{end}")));
    }
    // A folder in its place: it can be neither opened nor begun anew.
    std::fs::create_dir(data.join("store.sqlite")).unwrap();
    let edge = Edge::again(folder).await;
    assert_eq!(edge.metric("store_open").await, 0.0);
    assert!(resumes(&edge, &before, "a.test").await);
    assert_eq!(edge.metric("session_tickets_total{result=\"current_key\"}").await, 2.0);
}

#[tokio::test]
async fn an_operator_rotates_and_discards_while_it_serves() {
    let edge = Edge::start(CONFIG).await;
    let before = sessions(&edge).await;
    let ran = rotate(&edge.config_file(), &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("a new key encrypts session tickets here from now on"), "{}", ran.out);
    assert!(resumes(&edge, &before, "a.test").await);
    assert_eq!(edge.metric("session_tickets_total{result=\"older_key\"}").await, 2.0);
    let ran = rotate(&edge.config_file(), &["--discard"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!resumes(&edge, &before, "a.test").await);
    assert_eq!((edge.metric("ticket_keys").await, edge.metric("ticket_key_shared").await), (1.0, 1.0));
    let after = sessions(&edge).await;
    let edge = Edge::again(edge.stop().await).await;
    assert!(!resumes(&edge, &before, "a.test").await, "nor after a restart");
    assert!(resumes(&edge, &after, "a.test").await);
}

#[tokio::test]
async fn an_operator_discards_while_no_process_serves() {
    let edge = Edge::start(CONFIG).await;
    let before = sessions(&edge).await;
    let (file, folder) = (edge.config_file(), edge.stop().await);
    let ran = rotate(&file, &["--discard"]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let edge = Edge::again(folder).await;
    assert!(!resumes(&edge, &before, "a.test").await);
    let after = sessions(&edge).await;
    assert!(resumes(&edge, &after, "a.test").await);
}
