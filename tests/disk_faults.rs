//! A disk that fails beneath the store, by libfiu: known names are served, no order is placed that is
//! not needed, and the cause is told.

mod bed;

use bed::approval::Behaviour;
use bed::client::Refused;
use bed::house::{House, Plan, house};
use bed::program::Edge;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

/// internal_error (RFC 8446 §6.2): trying again may help.
const INTERNAL_ERROR: i32 = 80;
const INPUT_OUTPUT: u32 = 5;
const NO_SPACE: u32 = 28;
const READ_ONLY: u32 = 30;

/// One whose calls to the system can be made to fail.
async fn fragile() -> House {
    const PRELOADS: &str = "/usr/lib/fiu/fiu_run_preload.so /usr/lib/fiu/fiu_posix_preload.so";
    let environment =
        vec![("LD_PRELOAD", PRELOADS.to_owned()), ("FIU_CTRL_FIFO", "{folder}/control".to_owned())];
    let house = house(Plan { environment, ..Plan::default() }).await;
    house.endpoint.says_to_all_others(Behaviour::Yes);
    house
}

/// Lets a call of the system fail with an error number, or work again.
fn set(edge: &Edge, call: &str, error: Option<u32>) {
    let command = match error {
        Some(number) => format!("enable name=posix/io/{call},failinfo={number}"),
        None => format!("disable name=posix/io/{call}"),
    };
    let control = edge.folder().join("control").display().to_string();
    let set = std::process::Command::new("fiu-ctrl")
        .args(["-c", &command, "-f", &control, &edge.pid().to_string()])
        .status()
        .unwrap();
    assert!(set.success());
}

async fn is_refused_for_now(edge: &Edge, name: &str) {
    let refused = edge.handshake(name).await.err();
    assert!(matches!(refused, Some(Refused::Alert(INTERNAL_ERROR))), "{name}: {refused:?}\n{}", edge.log());
}

async fn errors(edge: &Edge, operation: &str) -> f64 {
    edge.metric(&format!("store_operations_total{{operation=\"{operation}\",result=\"error\"}}")).await
}

#[tokio::test]
async fn a_disk_that_takes_no_writes_stops_orders_but_nothing_that_is_served() {
    let House { ca, endpoint: _endpoint, edge, origin: _origin } = fragile().await;
    let known = edge.handshake("known.test").await.unwrap().serial();
    for (number, error) in [READ_ONLY, NO_SPACE, INPUT_OUTPUT].into_iter().enumerate() {
        let before = ca.orders();
        set(&edge, "rw/pwrite", Some(error));
        let name = format!("new{number}.test");
        for _ in 0..3 {
            is_refused_for_now(&edge, &name).await;
            assert_eq!(edge.handshake("known.test").await.unwrap().serial(), known);
        }
        assert_eq!(ca.orders(), before, "no lease, no order");
        set(&edge, "rw/pwrite", None);
        bed::eventually("it goes on", async || edge.handshake(&name).await.is_ok()).await;
        assert_eq!(ca.orders(), before + 1, "the fault was no failed attempt");
    }
    assert!(errors(&edge, "lease").await >= 9.0);
    assert!(edge.log().contains("the store failed"), "{}", edge.log());
}

#[tokio::test]
async fn what_cannot_be_synced_is_not_served_and_not_ordered_twice() {
    let House { ca, endpoint: _endpoint, edge, origin: _origin } = fragile().await;
    let known = edge.handshake("known.test").await.unwrap().serial();
    let before = ca.orders();
    for call in ["sync/fsync", "sync/fdatasync"] {
        set(&edge, call, Some(INPUT_OUTPUT));
    }
    is_refused_for_now(&edge, "new.test").await;
    let asked = ca.requests();
    for _ in 0..3 {
        is_refused_for_now(&edge, "new.test").await;
        assert_eq!(edge.handshake("known.test").await.unwrap().serial(), known);
    }
    assert_eq!(ca.requests(), asked, "what the CA gave is kept, and it is not asked again");
    assert!(errors(&edge, "save").await >= 1.0, "no save, no serve");
    for call in ["sync/fsync", "sync/fdatasync"] {
        set(&edge, call, None);
    }
    bed::eventually("it goes on", async || edge.handshake("new.test").await.is_ok()).await;
    assert_eq!(ca.orders(), before + 1, "the same certificate is saved now");
}

#[tokio::test]
async fn a_store_that_is_held_up_holds_nobody_up_who_is_known() {
    let House { ca, endpoint: _endpoint, edge, origin: _origin } = fragile().await;
    let known = edge.handshake("known.test").await.unwrap().serial();
    let before = ca.orders();
    // Another process writes, and takes longer than anybody waits.
    let options = SqliteConnectOptions::new().filename(edge.folder().join("data/store.sqlite"));
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (client, https) = (edge.client.clone(), edge.https);
    let waits = tokio::spawn(async move { client.handshake(https, "new.test").await.err() });
    let mut served = 0;
    while !waits.is_finished() {
        assert_eq!(edge.handshake("known.test").await.unwrap().serial(), known);
        served += 1;
    }
    let refused = waits.await.unwrap();
    assert!(matches!(refused, Some(Refused::Alert(INTERNAL_ERROR))), "{refused:?}");
    assert!(served > 100, "known names wait for nothing: {served}");
    assert_eq!(ca.orders(), before);
    assert!(errors(&edge, "lease").await >= 1.0);
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    bed::eventually("it goes on", async || edge.handshake("new.test").await.is_ok()).await;
    assert_eq!(ca.orders(), before + 1);
}
