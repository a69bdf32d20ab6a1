//! A database that was restored from a backup, and one that takes an embedded store in.

use std::process::Stdio;

use tempfile::TempDir;

use crate::bed::origin::Origin;
use crate::bed::postgres::{PostgresServer, as_user};
use crate::bed::program::{Edge, run};
use crate::bed::{appears, eventually};
use crate::fleet::{DATABASE, Fleet, Plan};

/// What `pg_dump` writes of the database.
fn dump(fleet: &Fleet) -> Vec<u8> {
    let dumped = as_user("pg_dump").arg(fleet.database.url(DATABASE)).output().unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    dumped.stdout
}

/// Puts a dump in the place of the database, whoever is connected.
async fn restore(fleet: &Fleet, dump: &[u8]) {
    use std::io::Write;
    let drop = format!("DROP DATABASE {DATABASE} WITH (FORCE)");
    fleet.database.execute("postgres", &drop).await;
    fleet.database.execute("postgres", &format!("CREATE DATABASE restored_{DATABASE}")).await;
    let url = fleet.database.url(&format!("restored_{DATABASE}"));
    let mut psql = as_user("psql");
    psql.args(["--quiet", "--set", "ON_ERROR_STOP=1", &url]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut psql = psql.spawn().unwrap();
    psql.stdin.take().unwrap().write_all(dump).unwrap();
    assert!(psql.wait().unwrap().success());
    fleet
        .database
        .execute("postgres", &format!("ALTER DATABASE restored_{DATABASE} RENAME TO {DATABASE}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_goes_on_from_a_database_that_was_restored_from_a_backup() {
    let fleet = Fleet::of(Plan::default()).await;
    let token = fleet.token().await;
    fleet.register(0, &token, "before.test").await;
    fleet.register(0, &token, "deleted.test").await;
    fleet.machine(0).handshake("before.test").await.expect("it is served");
    fleet.machine(0).handshake("deleted.test").await.expect("it is served");
    let before = fleet.served_alike("before.test").await;
    let backup = dump(&fleet);

    // What the next hour brings.
    fleet.register(1, &token, "after.test").await;
    fleet.machine(1).handshake("after.test").await.expect("it is served");
    let after = fleet.served_alike("after.test").await;
    let (status, _) = fleet.call(2, &token, "DELETE", "/sites/default/hostnames/deleted.test", "").await;
    assert_eq!(status, 204);
    eventually("it is refused", async || fleet.machine(0).handshake("deleted.test").await.is_err()).await;
    let orders = fleet.ca.orders();

    restore(&fleet, &backup).await;
    eventually("all have it again", async || fleet.metric("store_open").await == 3.0).await;
    assert_eq!(fleet.served_alike("before.test").await, before);
    // What the backup does not know is gone for the API, and what was deleted since is back.
    for number in 0..3 {
        appears("the machine reads everything again", async || {
            let (status, _) =
                fleet.call(number, &token, "GET", "/sites/default/hostnames/deleted.test", "").await;
            (status == 200).then_some(())
        })
        .await;
        eventually("it is served again", async || {
            fleet.machine(number).handshake("deleted.test").await.is_ok()
        })
        .await;
    }
    let (status, _) = fleet.call(0, &token, "GET", "/sites/default/hostnames/after.test", "").await;
    assert_eq!(status, 404);
    // Registered once more, it is served by what the machines have; nothing was ordered twice.
    fleet.register(2, &token, "after.test").await;
    fleet.served_alike("after.test").await;
    assert!(fleet.ca.orders() <= orders + 1, "{} orders, {orders} before; {after}", fleet.ca.orders());

    // And machines go on telling each other.
    fleet.register(1, &token, "new.test").await;
    eventually("it is served", async || fleet.machine(2).handshake("new.test").await.is_ok()).await;
    fleet.served_alike("new.test").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_does_not_know_is_served_from_copies_after_a_restart_too() {
    let mut fleet = Fleet::of(Plan::default()).await;
    let backup = dump(&fleet);
    fleet.approve("after.test");
    fleet.machine(0).handshake("after.test").await.expect("it is served");
    let serial = fleet.served_alike("after.test").await;
    eventually("it has a copy", async || fleet.machine(1).has_a_copy()).await;

    restore(&fleet, &backup).await;
    let mark = fleet.machine(1).folder().join("data/local/mark");
    let strays = async || std::fs::read_to_string(&mark).is_ok_and(|mark| mark.ends_with("strays\n"));
    eventually("the machine has noticed, and has kept that", strays).await;
    for _ in 0..2 {
        let folder = fleet.kill(1).await;
        fleet.again(1, folder).await;
        eventually("it has read all names", async || {
            fleet.machine(1).metric("certificates_known").await == 1.0
        })
        .await;
        let served = fleet.machine(1).handshake("after.test").await.expect("it is served");
        assert_eq!(served.serial(), serial);
    }
    assert_eq!(fleet.ca.orders(), 1);
}

const NAMES: [&str; 2] = ["a.test", "b.test"];

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_store_moves_to_postgres_by_one_command() {
    let (origin, server) = (Origin::start().await, PostgresServer::start().await);
    let url = server.database("moved").await;
    let config = format!(
        "[[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n\
         [[site]]\nname = \"default\"\nhostnames = {NAMES:?}\norigins = [\"{}\"]\n",
        origin.address
    );
    let edge = Edge::start(&config).await;
    let mut serials = Vec::new();
    for name in NAMES {
        serials.push(edge.handshake(name).await.unwrap().serial());
    }
    let file = edge.config_file().display().to_string();
    let create = ["token", "create", "--organization", "cats", "--scope", "write", "--config", &file];
    assert_eq!(run(&create).await.code, 0);

    let to = edge.folder().join("fleet.toml");
    let key = edge.folder().join("data/store.key");
    let text = std::fs::read_to_string(&file).unwrap();
    let shared = format!("[store]\nurl = \"{url}\"\nkey_file = {:?}\n", key.display().to_string());
    std::fs::write(&to, format!("{text}\n{shared}")).unwrap();
    let moving = ["store", "move", "--config", &file, "--to", to.to_str().unwrap()];
    let refused = run(&moving).await;
    assert_eq!(refused.code, 1, "somebody serves from it: {}", refused.out);

    let folder: TempDir = edge.stop().await;
    let moved = run(&moving).await;
    assert_eq!(moved.code, 0, "{}", moved.err);
    assert!(moved.out.contains("2 certificates"), "{}", moved.out);
    let again = run(&moving).await;
    assert_eq!(again.code, 1, "it holds something already");
    assert!(again.err.contains("already"), "{}", again.err);

    std::fs::copy(&to, folder.path().join("nameplate.toml")).unwrap();
    std::fs::remove_dir_all(folder.path().join("data/local")).unwrap();
    std::fs::remove_file(folder.path().join("data/store.sqlite")).unwrap();
    let edge = Edge::again(folder).await;
    for (name, serial) in NAMES.iter().zip(&serials) {
        assert_eq!(&edge.handshake(name).await.expect("it is served").serial(), serial);
    }
    assert_eq!(edge.metric("orders_total").await, 0.0);
    let list = ["token", "list", "--organization", "cats", "--json", "--config", &file];
    let tokens = run(&list).await;
    assert!(tokens.out.contains("\"write\""), "{}{}", tokens.out, tokens.err);
}
