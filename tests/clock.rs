//! A clock that is set forty days ahead and back, by libfaketime.

mod bed;

use std::path::{Path, PathBuf};

use bed::approval::Behaviour;
use bed::client::Refused;
use bed::house::{House, Plan, house};

/// Where Debian has it, whatever the machine.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let library = |folder: PathBuf| folder.join("faketime/libfaketime.so.1");
    folders.map(library).find(|path| path.exists()).expect("libfaketime, from Debian's package faketime")
}

fn set(folder: &Path, clock: &str) {
    let new = folder.join("clock.new");
    std::fs::write(&new, clock).unwrap();
    std::fs::rename(new, folder.join("clock")).unwrap();
}

#[tokio::test]
async fn a_clock_that_goes_forty_days_ahead_and_back_costs_nothing() {
    let environment = vec![
        ("LD_PRELOAD", library().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", "{folder}/clock".to_owned()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let plan = Plan { environment, approval_cache: "1s", challenges: r#"["http-01"]"#, ..Plan::default() };
    let House { ca, endpoint, edge, origin: _origin } = house(plan).await;
    let folder = edge.folder();
    for name in ["known.test", "ahead.test", "broken.test", "after.test"] {
        endpoint.says(name, Behaviour::Yes);
    }
    let known = edge.handshake("known.test").await.unwrap().serial();
    let is_known = async || assert_eq!(edge.handshake("known.test").await.unwrap().serial(), known);

    set(&folder, "+40d");
    is_known().await;
    edge.handshake("ahead.test").await.unwrap();
    // What is noted of the future: a failed attempt, and a no.
    ca.break_dns_of("broken.test").await;
    let refused = edge.handshake("broken.test").await.err();
    assert!(matches!(refused, Some(Refused::Alert(112))), "{refused:?}");
    endpoint.says("denied.test", Behaviour::No);
    assert!(edge.handshake("denied.test").await.is_err());
    let orders = ca.orders();

    set(&folder, "+0d");
    is_known().await;
    edge.handshake("ahead.test").await.unwrap();
    assert_eq!(ca.orders(), orders, "nothing is ordered for the clock's sake");
    ca.set_dns("clear-servfail", serde_json::json!({ "host": "broken.test" })).await;
    edge.handshake("broken.test").await.expect("a failure of the future holds nobody back");
    endpoint.says("denied.test", Behaviour::Yes);
    edge.handshake("denied.test").await.expect("nor does a no of the future");
    edge.handshake("after.test").await.unwrap();
    assert_eq!(ca.orders(), orders + 3);
    is_known().await;
}
