//! A store that fails: what is there is served, nothing is ordered, nothing is taken for "not there".

mod bed;

use std::os::unix::fs::FileExt;

use bed::approval::{ApprovalEndpoint, Behaviour};
use bed::client::Refused;
use bed::eventually;
use bed::origin::Origin;
use bed::program::Edge;
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

#[tokio::test]
async fn a_database_that_turns_to_garbage_stops_no_name_that_is_served_and_orders_nothing() {
    let House { edge, endpoint, _origin } = house().await;
    let hot = edge.handshake("hot.test").await.unwrap().serial();
    copied(&edge, 1).await;
    let data = edge.folder().join("data");
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let file = std::fs::File::options().write(true).open(data.join(file)).unwrap();
        let size = usize::try_from(file.metadata().unwrap().len()).unwrap();
        file.write_all_at(&vec![0x5a; size], 0).unwrap();
    }
    for name in ["new0.test", "new1.test", "new2.test"] {
        is_refused_for_now(&edge, name).await;
    }
    assert_eq!(edge.handshake("hot.test").await.unwrap().serial(), hot);
    assert_eq!(orders(&edge).await, 1.0);
    assert!(endpoint.questions_about("new0.test") <= 1);

    let config = edge.config_file().display().to_string();
    let folder = edge.kill().await;
    let ran = bed::program::run(&["run", "--config", &config]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("store.sqlite"), "it says which file: {}", ran.err);
    drop(folder);
}
