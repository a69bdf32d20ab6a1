//! Names that are deleted while a machine is away: it learns of that when it is back.

use crate::bed::eventually;
use crate::fleet::{DATABASE, Fleet, Plan, QUICK};

/// Three machines that serve one hostname that stays and one that is about to go, with a token of the API.
async fn fleet() -> (Fleet, String) {
    let fleet = Fleet::of(Plan { store: QUICK, ..Plan::default() }).await;
    let token = fleet.token().await;
    for name in ["stays.test", "goes.test"] {
        fleet.register(0, &token, name).await;
        fleet.served_alike(name).await;
    }
    eventually("it has copies of both", async || fleet.machine(2).copies() == 2).await;
    (fleet, token)
}

async fn delete(fleet: &Fleet, token: &str) {
    let (status, document) = fleet.call(0, token, "DELETE", "/sites/default/hostnames/goes.test", "").await;
    assert_eq!(status, 204, "{document}");
    eventually("it is refused", async || fleet.machine(1).handshake("goes.test").await.is_err()).await;
}

/// Waits until the machine that was away refuses what is gone, and has kept nothing of it.
async fn is_refused(fleet: &Fleet) {
    eventually("it is refused", async || fleet.machine(2).handshake("goes.test").await.is_err()).await;
    eventually("its copy has gone", async || fleet.machine(2).copies() == 1).await;
    fleet.machine(2).handshake("stays.test").await.expect("it is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_that_was_deleted_while_a_machine_was_down_does_not_outlive_its_return() {
    let (mut fleet, token) = fleet().await;
    let folder = fleet.kill(2).await;
    delete(&fleet, &token).await;
    fleet.cables[2].cut();
    fleet.again(2, folder).await;
    fleet.machine(2).handshake("goes.test").await.expect("nobody could tell it");
    fleet.cables[2].mend();
    is_refused(&fleet).await;

    // Nor does it come back where the machine starts without the store once more.
    let folder = fleet.kill(2).await;
    fleet.cables[2].cut();
    fleet.again(2, folder).await;
    fleet.machine(2).handshake("stays.test").await.expect("it is served");
    assert!(fleet.machine(2).handshake("goes.test").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_away_for_more_changes_than_are_kept_takes_out_what_has_gone() {
    let (fleet, token) = fleet().await;
    fleet.cables[2].cut();
    eventually("it is noticed", async || fleet.machine(2).metric("store_open").await == 0.0).await;
    delete(&fleet, &token).await;
    fleet.machine(2).handshake("goes.test").await.expect("nobody could tell it");
    fleet.lead_past(2);
    fleet.register(0, &token, "later.test").await;
    eventually("it is served", async || fleet.machine(1).handshake("later.test").await.is_ok()).await;
    // As many others would have it.
    let forget =
        "DELETE FROM changes AS old WHERE number < (SELECT max(number) FROM changes WHERE kind = old.kind)";
    fleet.database.execute(DATABASE, forget).await;
    fleet.cables[2].mend();
    is_refused(&fleet).await;
}
