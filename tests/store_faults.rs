//! A store that fails: what is there is served, nothing is ordered, nothing is taken for "not there".

mod bed;

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bed::approval::{ApprovalEndpoint, Behaviour};
use bed::client::Refused;
use bed::eventually;
use bed::origin::Origin;
use bed::program::Edge;
use nameplate::domain::certificate::Certificate;
use nameplate::domain::clock::SystemClock;
use nameplate::store::sqlite::SqliteStore;
use nameplate::store::{Store, key_file};
use nameplate::telemetry::metrics::Metrics;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// internal_error (RFC 8446 §6.2): trying again may help.
const INTERNAL_ERROR: i32 = 80;

struct House {
    edge: Edge,
    endpoint: ApprovalEndpoint,
    _origin: Origin,
}

async fn house() -> House {
    let (endpoint, origin) = (ApprovalEndpoint::start().await, Origin::start().await);
    endpoint.says_to_all_others(Behaviour::Yes);
    let config = format!(
        "[[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n[on_demand]\napproval = {:?}\n\
         [[site]]\nname = \"default\"\norigins = [\"{}\"]\n",
        endpoint.template(),
        origin.address
    );
    House { edge: Edge::start(&config).await, endpoint, _origin: origin }
}

/// Changes the store behind the edge's back.
async fn sql(folder: &std::path::Path, statement: String) {
    let options = SqliteConnectOptions::new().filename(folder.join("data/store.sqlite"));
    let mut connection = options.connect().await.unwrap();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn hide(folder: &std::path::Path, table: &str) {
    sql(folder, format!("ALTER TABLE {table} RENAME TO hidden_{table}")).await;
}

async fn show(folder: &std::path::Path, table: &str) {
    sql(folder, format!("ALTER TABLE hidden_{table} RENAME TO {table}")).await;
}

async fn orders(edge: &Edge) -> f64 {
    edge.metric("orders_total").await
}

async fn is_refused_for_now(edge: &Edge, name: &str) {
    let refused = edge.handshake(name).await.err();
    assert!(matches!(refused, Some(Refused::Alert(INTERNAL_ERROR))), "{name}: {refused:?}");
}

/// Waits until this machine keeps `number` copies of its own.
async fn copied(edge: &Edge, number: usize) {
    eventually("the local copies", async || {
        let Ok(folders) = std::fs::read_dir(edge.folder().join("data/local")) else { return false };
        let files = folders.filter_map(|folder| std::fs::read_dir(folder.unwrap().path()).ok()).flatten();
        let whole = |name: std::ffi::OsString| !name.to_string_lossy().ends_with(".new");
        files.filter(|file| whole(file.as_ref().unwrap().file_name())).count() == number
    })
    .await;
}

#[tokio::test]
async fn while_a_table_cannot_be_used_nothing_is_ordered_and_what_is_hot_is_served() {
    let House { edge, endpoint, _origin } = house().await;
    let hot = edge.handshake("hot.test").await.unwrap().serial();
    let folder = edge.folder();
    for (before, table) in (1_u8..).zip(["certificates", "attempts", "leases"]) {
        hide(&folder, table).await;
        let name = format!("{table}.test");
        for _ in 0..3 {
            is_refused_for_now(&edge, &name).await;
        }
        assert_eq!(orders(&edge).await, f64::from(before), "without {table} nothing is ordered");
        assert_eq!(edge.handshake("hot.test").await.unwrap().serial(), hot);
        let page = bed::plain(edge.http, &name, "/").await;
        assert!(page.starts_with("HTTP/1.1 503") && !page.contains("no such table"), "{page}");
        show(&folder, table).await;
        eventually("it goes on", async || edge.handshake(&name).await.is_ok()).await;
        assert_eq!(orders(&edge).await, f64::from(before + 1), "the fault was no failed attempt");
        assert_eq!(endpoint.questions_about(&name), 1);
    }
    assert!(edge.log().contains("the store failed"), "the operator is told");
}

#[tokio::test]
async fn after_a_restart_with_a_store_that_fails_this_machines_own_copies_are_served() {
    let House { edge, endpoint, _origin } = house().await;
    let kept = edge.handshake("kept.test").await.unwrap().serial();
    copied(&edge, 1).await;
    let folder = edge.stop().await;
    hide(folder.path(), "certificates").await;
    let edge = Edge::again(folder).await;
    assert_eq!(edge.handshake("kept.test").await.unwrap().serial(), kept);
    for _ in 0..3 {
        is_refused_for_now(&edge, "new.test").await;
    }
    assert_eq!((orders(&edge).await, endpoint.questions_about("new.test")), (0.0, 0));
    show(&edge.folder(), "certificates").await;
    eventually("it goes on", async || edge.handshake("new.test").await.is_ok()).await;
}

/// Writes over the whole database.
fn garble(data: &Path) {
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let Ok(file) = std::fs::File::options().write(true).open(data.join(file)) else { continue };
        let size = usize::try_from(file.metadata().unwrap().len()).unwrap();
        file.write_all_at(&vec![0x5a; size], 0).unwrap();
    }
}

/// The databases that were kept aside.
fn kept_aside(data: &Path) -> usize {
    let names = std::fs::read_dir(data).unwrap().map(|file| file.unwrap().file_name());
    let name = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
    let aside = |name: &String| name.starts_with("store.sqlite.damaged-") && !name.ends_with("-wal");
    names.map(name).filter(|name| aside(name) && !name.ends_with("-shm")).count()
}

#[tokio::test]
async fn a_database_that_turns_to_garbage_is_kept_aside_and_what_this_machine_has_goes_on() {
    let House { edge, endpoint: _endpoint, _origin } = house().await;
    let hot = edge.handshake("hot.test").await.unwrap().serial();
    copied(&edge, 1).await;
    let data = edge.folder().join("data");
    garble(&data);
    eventually("new names are served again", async || {
        assert_eq!(edge.handshake("hot.test").await.expect("served all the time").serial(), hot);
        edge.handshake("new.test").await.is_ok()
    })
    .await;
    assert_eq!(kept_aside(&data), 1);
    assert!(edge.log().contains("the database is damaged; it is kept aside"), "{}", edge.log());
    copied(&edge, 2).await;

    // The same at a start. Both are in the new store again, of which they come without local copies.
    let folder = edge.stop().await;
    garble(&data);
    let edge = Edge::again(folder).await;
    assert_eq!(edge.handshake("hot.test").await.unwrap().serial(), hot);
    assert_eq!(edge.metric("store_open").await, 1.0);
    assert_eq!(kept_aside(&data), 2);
    let folder = edge.stop().await;
    std::fs::remove_dir_all(data.join("local")).unwrap();
    let edge = Edge::again(folder).await;
    assert_eq!(edge.handshake("hot.test").await.unwrap().serial(), hot);
    assert_eq!(orders(&edge).await, 0.0);
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_at_the_start_stops_nothing_that_is_known_and_comes_back() {
    let House { edge, endpoint, _origin } = house().await;
    let kept = edge.handshake("kept.test").await.unwrap().serial();
    copied(&edge, 1).await;
    let folder = edge.stop().await;
    let data = folder.path().join("data");
    std::fs::rename(data.join("store.sqlite"), data.join("elsewhere")).unwrap();
    std::fs::create_dir(data.join("store.sqlite")).unwrap();
    let edge = Edge::again(folder).await;
    assert_eq!(edge.handshake("kept.test").await.unwrap().serial(), kept);
    is_refused_for_now(&edge, "new.test").await;
    assert_eq!((orders(&edge).await, endpoint.questions_about("new.test")), (0.0, 0));
    assert_eq!(edge.metric("store_open").await, 0.0);
    assert!(edge.log().contains("the store cannot be opened"), "{}", edge.log());
    std::fs::remove_dir(data.join("store.sqlite")).unwrap();
    std::fs::rename(data.join("elsewhere"), data.join("store.sqlite")).unwrap();
    eventually("the store is back", async || edge.handshake("new.test").await.is_ok()).await;
    assert_eq!(edge.metric("store_open").await, 1.0);
}

#[tokio::test]
async fn a_record_that_is_damaged_is_kept_aside_and_its_name_alone_obtained_again() {
    let House { edge, endpoint: _endpoint, _origin } = house().await;
    let (hurt, well) = ("hurt.test", "well.test");
    let before = edge.handshake(hurt).await.unwrap().serial();
    let other = edge.handshake(well).await.unwrap().serial();
    copied(&edge, 2).await;
    let folder = edge.stop().await;
    std::fs::remove_dir_all(folder.path().join("data/local")).unwrap();
    let damage = format!("UPDATE certificates SET sealed_key = zeroblob(99) WHERE name = '{hurt}'");
    sql(folder.path(), damage).await;
    let edge = Edge::again(folder).await;
    assert_ne!(edge.handshake(hurt).await.unwrap().serial(), before);
    assert_eq!(edge.handshake(well).await.unwrap().serial(), other);
    assert_eq!(orders(&edge).await, 1.0);
    assert_eq!(edge.metric(r#"records_quarantined_total{place="store"}"#).await, 1.0);
    let options = SqliteConnectOptions::new().filename(edge.folder().join("data/store.sqlite"));
    let mut connection = options.connect().await.unwrap();
    let aside: Vec<String> =
        sqlx::query_scalar("SELECT name FROM quarantine").fetch_all(&mut connection).await.unwrap();
    assert_eq!(aside, [hurt]);
}

#[tokio::test]
async fn a_record_whose_key_is_anothers_is_kept_aside_and_its_name_alone_obtained_again() {
    let House { edge, endpoint: _endpoint, _origin } = house().await;
    let before = edge.handshake("hurt.test").await.unwrap().serial();
    let other = edge.handshake("well.test").await.unwrap().serial();
    copied(&edge, 2).await;
    let folder = edge.stop().await;
    let data = folder.path().join("data");
    std::fs::remove_dir_all(data.join("local")).unwrap();
    let key = key_file::load(&data.join("store.key")).unwrap();
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new("test")));
    let store = SqliteStore::open(&data, key, clock, metrics).await.unwrap();
    let stored = async |name: &str| store.certificate(&name.parse().unwrap()).await.unwrap().unwrap();
    let mismatched = Certificate { key: stored("well.test").await.key, ..stored("hurt.test").await };
    assert_eq!(store.import(&[mismatched]).await.unwrap().filed, 1);
    store.close().await;
    drop(store);
    let edge = Edge::again(folder).await;
    assert_ne!(edge.handshake("hurt.test").await.unwrap().serial(), before);
    assert_eq!(edge.handshake("well.test").await.unwrap().serial(), other);
    assert_eq!(orders(&edge).await, 1.0);
    assert_eq!(edge.metric(r#"records_quarantined_total{place="store"}"#).await, 1.0);
}

/// Lets every write of the process beyond so many octets of a file fail, as on a full disk.
fn limit_files(edge: &Edge, octets: &str) {
    let limit = format!("--fsize={octets}:unlimited");
    let set = std::process::Command::new("prlimit")
        .args(["--pid", &edge.pid().to_string(), &limit])
        .status()
        .unwrap();
    assert!(set.success());
}

#[tokio::test]
async fn a_disk_that_takes_no_more_stops_orders_but_nothing_that_is_served() {
    let House { edge, endpoint: _endpoint, _origin } = house().await;
    let hot = edge.handshake("hot.test").await.unwrap().serial();
    copied(&edge, 1).await;
    limit_files(&edge, "1");
    for name in ["a.test", "b.test"] {
        is_refused_for_now(&edge, name).await;
        assert_eq!(edge.handshake("hot.test").await.unwrap().serial(), hot);
    }
    assert_eq!(
        orders(&edge).await,
        1.0,
        "no lease, no order: {}",
        bed::plain(edge.admin, "admin.test", "/metrics").await
    );
    assert!(edge.metric(r#"store_operations_total{operation="lease",result="error"}"#).await >= 2.0);
    limit_files(&edge, "unlimited");
    eventually("it goes on", async || edge.handshake("a.test").await.is_ok()).await;
}

#[tokio::test]
async fn fifty_crashes_in_the_middle_of_orders_and_saves_lose_no_name() {
    let House { mut edge, endpoint, _origin } = house().await;
    let client = edge.client.clone();
    let mut served = std::collections::BTreeMap::new();
    for crash in 0..50_u64 {
        let names: Vec<String> = (0..4).map(|number| format!("n{crash}-{number}.test")).collect();
        let visits = edge.handshakes_for(&names);
        // At another point of the way each time.
        let moment = std::time::Duration::from_millis(crash * 29 % 400);
        if let Ok(outcomes) = tokio::time::timeout(moment, visits).await {
            let outcomes = names.into_iter().zip(outcomes);
            served.extend(outcomes.filter_map(|(name, outcome)| Some((name, outcome.ok()?.serial()))));
        }
        let folder = edge.kill().await;
        edge = Edge::again(folder).await;
        edge.client = client.clone();
    }
    drop(endpoint);
    assert!(!served.is_empty(), "some were through before the end came");
    for (name, serial) in &served {
        assert_eq!(edge.handshake(name).await.unwrap().serial(), *serial, "{name}");
    }
    let options = SqliteConnectOptions::new().filename(edge.folder().join("data/store.sqlite"));
    let mut connection = options.connect().await.unwrap();
    let whole: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(whole, "ok");
    let leases: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM leases").fetch_one(&mut connection).await.unwrap();
    assert_eq!(leases, 0, "those of dead processes are void");
    let failed: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM attempts WHERE failures > 0")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(failed, 0, "an attempt that our end cut off is no failure");
}
