//! Another sealing key for a fleet that serves.

use std::fs;

use crate::bed::program::run;
use crate::bed::{eventually, program::Edge};
use crate::fleet::{Fleet, Plan};

/// Puts keys into a machine's key file and has it take them.
async fn give(edge: &Edge, keys: &[&str]) {
    let config = edge.config_file();
    fs::write(edge.folder().join("store.key"), keys.join("\n")).unwrap();
    let reloaded = run(&["reload", "--config", config.to_str().unwrap()]).await;
    assert_eq!(reloaded.code, 0, "{}{}", reloaded.out, reloaded.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleets_sealing_key_changes_while_it_serves_and_only_where_every_machine_has_it() {
    let mut fleet = Fleet::of(Plan { machines: 2, ..Plan::default() }).await;
    fleet.approve("shop.test");
    fleet.machine(0).handshake("shop.test").await.expect("it is served");
    let serial = fleet.served_alike("shop.test").await;
    let old = fs::read_to_string(fleet.machine(0).folder().join("store.key")).unwrap();
    let (old, new) = (old.trim(), "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
    let rekey = async |fleet: &Fleet| {
        let config = fleet.machine(0).config_file();
        run(&["store", "rekey", "--config", config.to_str().unwrap()]).await
    };

    // The second machine does not have it: what the first one sealed it could not open.
    give(fleet.machine(0), &[old, new]).await;
    give(fleet.machine(0), &[new, old]).await;
    let refused = rekey(&fleet).await;
    assert_eq!(refused.code, 1, "{}", refused.out);
    assert!(refused.err.contains("does not have it"), "{}", refused.err);
    give(fleet.machine(1), &[old, new]).await;
    eventually("it is said that it has it", async || {
        rekey(&fleet).await.err.contains("seals with another one")
    })
    .await;
    give(fleet.machine(1), &[new, old]).await;
    eventually("it is through", async || rekey(&fleet).await.code == 0).await;

    // With the new key alone, and without copies of its own, a machine serves what is stored.
    give(fleet.machine(1), &[new]).await;
    let folder = fleet.kill(1).await;
    fs::remove_dir_all(folder.path().join("data/local")).unwrap();
    fleet.again(1, folder).await;
    assert_eq!(fleet.machine(1).handshake("shop.test").await.expect("it is served").serial(), serial);
    assert_eq!(fleet.number("SELECT count(*) FROM sealing_keys").await, 1);
    assert_eq!(fleet.ca.orders(), 1);
}
