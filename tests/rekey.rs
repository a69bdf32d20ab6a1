//! Another sealing key, while it serves and while it does not.

mod bed;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bed::eventually;
use bed::origin::Origin;
use bed::program::{Edge, Ran, command, run};
use nameplate::domain::clock::SystemClock;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::SqliteStore;
use nameplate::store::{Error, SealError, Store, key_file};
use nameplate::telemetry::metrics::Metrics;
use tempfile::TempDir;

const NAMES: [&str; 3] = ["a.test", "b.test", "c.test"];

fn config(origin: &Origin, more: &str) -> String {
    format!(
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n{more}\n\
         [[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n\
         [[site]]\nname = \"default\"\nhostnames = {NAMES:?}\norigins = [\"{}\"]\n",
        origin.address
    )
}

async fn serials(edge: &Edge) -> Vec<String> {
    let mut serials = Vec::new();
    for name in NAMES {
        serials.push(edge.handshake(name).await.unwrap().serial());
    }
    serials
}

async fn rekey(file: &Path) -> Ran {
    run(&["store", "rekey", "--config", file.to_str().unwrap()]).await
}

/// Whether all that is stored opens with `key` alone.
async fn opens(data: &Path, key: SealingKey) -> Result<(), Error> {
    let metrics = Arc::new(Metrics::new("test"));
    let store = SqliteStore::open_beside(data, key, Arc::new(SystemClock), metrics).await?;
    for name in NAMES {
        assert!(store.certificate(&name.parse().unwrap()).await?.is_some());
    }
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn the_key_changes_while_it_serves() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(&origin, "")).await;
    let before = serials(&edge).await;
    eventually("a key of session tickets", async || edge.metric("ticket_key_shared").await == 1.0).await;
    let data = edge.folder().join("data");
    let old = key_file::load(&data.join("store.key")).unwrap();
    let (client, https) = (edge.client.clone(), edge.https);
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let beside = tokio::spawn(async move {
        while stopped.try_recv().is_err() {
            client.handshake(https, "a.test").await.expect("served all the time");
        }
    });
    let ran = rekey(&edge.config_file()).await;
    stop.send(()).unwrap();
    beside.await.unwrap();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let new = key_file::load(&data.join("store.key")).unwrap();
    assert!(new.id() != old.id() && !new.has_earlier());
    // Those of the certificates, and a key of session tickets with its copy.
    assert!(
        ran.out.contains(&format!(
            "everything is sealed with key {}: 4 records of the store, 4 copies",
            new.id()
        )),
        "{}",
        ran.out
    );
    let kept = data.join(format!("store.key.before-{}", old.id()));
    assert_eq!(key_file::load(&kept).unwrap().id(), old.id(), "backups can still be opened");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    // What is sealed from now on, is with the new key.
    assert_eq!(serials(&edge).await, before);
    let folder = edge.stop().await;
    opens(&data, new).await.unwrap();
    let refused = opens(&data, old).await.unwrap_err();
    assert!(matches!(refused, Error::Seal(SealError::OtherKey { .. })), "{refused}");

    // From the local tier alone, which has the new key too.
    std::fs::remove_file(data.join("store.sqlite")).unwrap();
    for companion in ["store.sqlite-wal", "store.sqlite-shm"] {
        let _missing = std::fs::remove_file(data.join(companion));
    }
    let edge = Edge::again(folder).await;
    assert_eq!(serials(&edge).await, before);
}

#[tokio::test]
async fn a_change_that_was_broken_off_goes_on() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(&origin, "")).await;
    let before = serials(&edge).await;
    let (file, folder) = (edge.config_file(), edge.stop().await);
    let key = folder.path().join("data/store.key");
    // As a crash leaves it: the new key is there and nothing is sealed with it.
    let half = key_file::add_new(&key).unwrap();
    let edge = Edge::again(folder).await;
    assert_eq!(serials(&edge).await, before, "both keys open");
    let folder = edge.stop().await;
    // No process serves: the command does it itself.
    let ran = rekey(&file).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let new = key_file::load(&key).unwrap();
    assert_eq!((new.id(), new.has_earlier()), (half.id(), false), "no third key");
    opens(&folder.path().join("data"), new).await.unwrap();
    let edge = Edge::again(folder).await;
    assert_eq!(serials(&edge).await, before);
}

#[tokio::test]
async fn a_record_that_no_key_opens_keeps_the_keys_of_before() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(&origin, "")).await;
    serials(&edge).await;
    let (file, folder) = (edge.config_file(), edge.stop().await);
    let data = folder.path().join("data");
    let url = format!("sqlite:{}", data.join("store.sqlite").display());
    let mut rows = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let damage = "UPDATE certificates SET sealed_key = x'0102' WHERE name = 'b.test'";
    sqlx::query(damage).execute(&mut rows).await.unwrap();
    sqlx::Connection::close(rows).await.unwrap();
    let ran = rekey(&file).await;
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.err.contains("1 records are left, as no key opens them"), "{}", ran.err);
    assert!(key_file::load(&data.join("store.key")).unwrap().has_earlier());
}

#[tokio::test]
async fn a_key_from_the_environment_is_changed_by_two_starts() {
    const VARIABLE: &str = "NAMEPLATE_TEST_KEY";
    let [old, new] = [1, 2].map(|octet| STANDARD.encode([octet; 32]));
    let both = format!("{new} {old}");
    let origin = Origin::start().await;
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data").display().to_string();
    let more = format!("[store]\nkey_env = \"{VARIABLE}\"");
    let text = format!("data_dir = {data:?}\n{}", config(&origin, &more));
    std::fs::write(folder.path().join("nameplate.toml"), text).unwrap();
    let start = async |folder: TempDir, keys: &str| {
        let mut command = command(folder.path());
        command.env(VARIABLE, keys);
        Edge::spawn_by(folder, command).await
    };
    let edge = start(folder, &old).await;
    let before = serials(&edge).await;
    let edge = start(edge.stop().await, &both).await;
    let ran = rekey_with(&edge.config_file(), VARIABLE, &both).await;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let edge = start(edge.stop().await, &new).await;
    assert_eq!(serials(&edge).await, before);
    assert!(!edge.folder().join("data/store.key").exists(), "no file is made");
    let folder = edge.stop().await;
    let refused = command(folder.path()).env(VARIABLE, &old).status().await.unwrap();
    assert_eq!(refused.code(), Some(1));
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("but the configured key is"), "{log}");
    assert!(!log.contains(&old) && !log.contains(&new));
}

async fn rekey_with(file: &Path, variable: &str, keys: &str) -> std::process::Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_nameplate"));
    command.args(["store", "rekey", "--config"]).arg(file).env(variable, keys);
    tokio::time::timeout(bed::DEADLINE, command.output()).await.expect("it ends").unwrap()
}
