//! Opening a database that machines share: at the same time, by TLS, and when a newer version was there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use nameplate::config::{Postgres, Secret};
use nameplate::domain::clock::SystemClock;
use nameplate::store::key_file;
use nameplate::store::postgres::PostgresStore;
use nameplate::store::seal::SealingKey;
use nameplate::store::{Error, Store};
use tempfile::TempDir;
use tokio::process::Command;

use crate::bed::{metrics, name, server};
use crate::test_bed::ca::write_tls_files;
use crate::test_bed::postgres::{PostgresServer, give};

async fn open(url: &str, key: &SealingKey) -> Result<PostgresStore, Error> {
    let access = Postgres {
        url: Secret(url.to_owned().into()),
        place: "the test's".into(),
        connections: 2,
        timeout: Duration::from_secs(20),
    };
    PostgresStore::open(&access, key.clone(), Arc::new(SystemClock), metrics()).await
}

/// An empty database of the shared server.
async fn database(name: &str) -> String {
    tokio::task::spawn_blocking(server).await.unwrap().database(name).await
}

#[tokio::test]
async fn of_many_machines_that_begin_an_empty_database_at_once_each_finds_it_whole() {
    let (url, key) = (database("opening").await, SealingKey::random());
    let opened = join_all((0..6).map(|_| open(&url, &key))).await;
    for store in opened {
        let store = store.expect("it is open");
        assert!(store.certificate(&name("a.test")).await.unwrap().is_none());
        store.close().await;
    }
    let other = open(&url, &SealingKey::random()).await.err().expect("it is sealed with another key");
    assert!(matches!(other, Error::Seal(_)), "{other}");
}

#[tokio::test]
async fn a_schema_that_a_newer_version_has_added_to_is_worked_with_and_left_as_it_is() {
    let (url, key) = (database("newer").await, SealingKey::random());
    open(&url, &key).await.unwrap().close().await;
    let newer = "ALTER TABLE certificates ADD COLUMN of_the_next_version text;
        INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'of the next version', true, '', 0)";
    server().execute("newer", newer).await;
    let store = open(&url, &key).await.expect("it is open");
    assert!(store.lease(&name("a.test"), Duration::from_secs(30)).await.unwrap().is_some());
    store.close().await;
    assert_eq!(
        server().number("newer", "SELECT count(*) FROM _sqlx_migrations WHERE version = 9999").await,
        1
    );
}

#[tokio::test]
async fn a_server_is_spoken_to_by_tls_and_only_where_its_certificate_is_good() {
    let folder = TempDir::new().unwrap();
    write_tls_files(folder.path());
    give(folder.path());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("https.pem", 0o644), ("https.key", 0o600), ("https-root.pem", 0o644)] {
        give(&folder.path().join(name));
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    let files = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", file("https.pem")),
        format!("ssl_key_file={}", file("https.key")),
    ];
    let settings: Vec<&str> = files.iter().map(String::as_str).collect();
    let server = PostgresServer::start_with(&settings).await;
    let url = server.database("tls").await;
    let key = key_file::load_or_make(&folder.path().join("store.key")).unwrap();
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={}", file("https-root.pem"));
    let store = open(&verified, &key).await.expect("its certificate is good for 127.0.0.1");
    let by_tls = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE ssl AND application_name LIKE 'nameplate/%'";
    assert!(server.number("tls", by_tls).await > 0);
    store.close().await;
    // By the public authorities it is nobody's.
    let refused = open(&format!("{url}?sslmode=verify-full"), &key).await.err();
    let refused = refused.expect("nobody trusts it");
    assert!(format!("{refused:?}").to_lowercase().contains("certificate"), "{refused:?}");

    // By those that the system trusts it is good again.
    let config = format!("[store]\nurl = \"{url}?sslmode=verify-full\"\nkey_file = \"store.key\"\n");
    fs::write(folder.path().join("nameplate.toml"), config).unwrap();
    let status = |trusted: String| {
        Command::new(env!("CARGO_BIN_EXE_nameplate"))
            .args(["fleet", "status", "--config", &file("nameplate.toml")])
            .env("SSL_CERT_FILE", trusted)
            .output()
    };
    let asked = status(file("https-root.pem")).await.unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let asked = status(file("nameplate.toml")).await.unwrap();
    assert!(!asked.status.success(), "{}", String::from_utf8_lossy(&asked.stdout));
}
