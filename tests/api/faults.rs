//! The API's hostnames while the store is away, and after it is lost.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::bed::eventually;
use crate::bed::house::again;
use crate::house::{House, house};

/// A hostname of a site that the API made, with an origin of its own site.
async fn kennel(house: &House, token: &str) {
    let origins = json!([house.other_origin.address.to_string()]);
    let site = json!({ "data": { "attributes": { "name": "kennel", "origins": origins } } });
    assert_eq!(house.call(token, "POST", "/sites", Some(site)).await.status, 201);
    let body = json!({ "data": { "attributes": { "hostname": "www.kennel.test", "metadata": { "a": 1 } } } });
    house.call(token, "POST", "/sites/kennel/hostnames", Some(body)).await;
    let path = "/sites/kennel/hostnames/www.kennel.test";
    eventually("it serves", async || {
        house.call(token, "GET", path, None).await.attributes()["state"] == "serving"
    })
    .await;
}

async fn reaches_the_kennel(house: &House, path: &str) {
    house.edge.get("www.kennel.test", path).await;
    let requests = house.other_origin.requests();
    let seen = requests.iter().find(|seen| seen.line.ends_with(path));
    assert!(seen.is_some(), "{path} went elsewhere: {:?}", house.origin.requests().last());
    assert_eq!(seen.unwrap().headers["x-nameplate-metadata"], "{\"a\":1}");
}

/// Waits until this machine could serve the kennel without the store.
async fn has_its_copies(house: &House) {
    let data = house.edge.folder().join("data");
    eventually("this machine has its copies", async || {
        let listed = std::fs::read_to_string(data.join("listings.jsonl")).unwrap_or_default();
        house.edge.has_a_copy() && listed.contains("www.kennel.test")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_at_the_start_requests_go_where_they_went_and_the_api_says_why_it_cannot() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    kennel(&house, &token).await;
    reaches_the_kennel(&house, "/before").await;
    has_its_copies(&house).await;

    let client = house.edge.client.clone();
    let folder = house.edge.stop().await;
    let data = folder.path().join("data");
    std::fs::rename(data.join("store.sqlite"), data.join("elsewhere")).unwrap();
    std::fs::create_dir(data.join("store.sqlite")).unwrap();
    let house = House { edge: again(folder, client).await, ..house };
    eventually("the copy is read", async || {
        house.edge.get("www.kennel.test", "/poll").await;
        house.other_origin.requests().iter().any(|seen| seen.line.ends_with("/poll"))
    })
    .await;
    reaches_the_kennel(&house, "/meanwhile").await;
    let refused = house.call(&token, "GET", "/hostnames", None).await;
    assert_eq!((refused.status, refused.code()), (503, "store_unavailable"));
    assert!(refused.headers.contains_key("retry-after"));

    std::fs::remove_dir(data.join("store.sqlite")).unwrap();
    std::fs::rename(data.join("elsewhere"), data.join("store.sqlite")).unwrap();
    eventually("the store is back", async || {
        house.call(&token, "GET", "/hostnames", None).await.status == 200
    })
    .await;
    reaches_the_kennel(&house, "/after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_lost_is_begun_anew_with_the_hostnames_that_this_machine_had_copied() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    kennel(&house, &token).await;
    let path = "/sites/kennel/hostnames/www.kennel.test";
    let before = house.call(&token, "GET", path, None).await.attributes().clone();
    reaches_the_kennel(&house, "/before").await;
    has_its_copies(&house).await;
    let client = house.edge.client.clone();
    let folder = house.edge.stop().await;
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let path = folder.path().join("data").join(file);
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
    }
    let house = House { edge: again(folder, client).await, ..house };
    reaches_the_kennel(&house, "/after").await;
    assert_eq!(house.call(&token, "GET", path, None).await.status, 401, "tokens are made anew");
    let token = house.token("cats", "write");
    eventually("it is as it was", async || {
        let now = house.call(&token, "GET", path, None).await.attributes().clone();
        now["state"] == "serving"
            && now["ownership"]["txt_value"] == before["ownership"]["txt_value"]
            && now["preview_hostname"] == before["preview_hostname"]
    })
    .await;
    assert_eq!(house.ca.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_holds_up_no_other() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    house.register(&token, "odd.row.test").await;
    house.becomes(&token, "odd.row.test", "serving").await;
    let database = house.edge.folder().join("data/store.sqlite");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", database.display())).await.unwrap();
    let newer = "UPDATE hostnames SET via = 'by_pigeon', look_at = 0 WHERE name = 'odd.row.test'";
    sqlx::query(newer).execute(&pool).await.unwrap();
    pool.close().await;
    house.register(&token, "even.row.test").await;
    house.becomes(&token, "even.row.test", "serving").await;
    let listed = house.call(&token, "GET", "/hostnames?page[size]=1", None).await;
    assert_eq!(listed.body["data"][0]["id"], "even.row.test");
    let listed = house.call(&token, "GET", "/hostnames", None).await;
    assert_eq!((listed.status, listed.body["data"].as_array().unwrap().len()), (200, 1));
    let house = house.restarted().await;
    house.edge.get("even.row.test", "/").await;
    house.register(&token, "later.row.test").await;
    house.becomes(&token, "later.row.test", "serving").await;
    assert!(house.edge.log().contains("a stored record cannot be read"), "{}", house.edge.log());
}

/// Writes over the whole database.
fn garble(house: &House) {
    for file in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let path = house.edge.folder().join("data").join(file);
        let Ok(file) = std::fs::File::options().write(true).open(path) else { continue };
        let size = usize::try_from(file.metadata().unwrap().len()).unwrap();
        file.write_all_at(&vec![0x5a; size], 0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_lost_meanwhile_comes_back_with_its_hostnames_which_are_served_all_the_time() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    kennel(&house, &token).await;
    reaches_the_kennel(&house, "/before").await;
    let path = "/sites/kennel/hostnames/www.kennel.test";
    let before = house.call(&token, "GET", path, None).await.attributes().clone();
    has_its_copies(&house).await;
    for time in 1..=5 {
        garble(&house);
        eventually("a new store has them", async || {
            house.edge.get("www.kennel.test", "/meanwhile").await;
            house.edge.log().matches("it took in the hostnames").count() == time
        })
        .await;
        let token = house.token("cats", "write");
        eventually("it is as it was", async || {
            house.edge.get("www.kennel.test", "/meanwhile").await;
            let now = house.call(&token, "GET", path, None).await.attributes().clone();
            now["state"] == "serving"
                && ["via", "metadata", "preview_hostname"].iter().all(|key| now[key] == before[key])
                && now["ownership"]["txt_value"] == before["ownership"]["txt_value"]
        })
        .await;
    }
    reaches_the_kennel(&house, "/after").await;
    let elsewhere = house.origin.requests();
    assert!(!elsewhere.iter().any(|seen| seen.line.ends_with("/meanwhile")), "{elsewhere:?}");
    assert_eq!(house.ca.orders(), 1);
}

/// Changes the store behind the program's back.
async fn sql(house: &House, statement: &'static str) {
    let database = house.edge.folder().join("data/store.sqlite");
    let mut connection = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_the_store_does_not_keep_is_repeated_after_a_pause_and_holds_up_no_other() {
    const FAILED: &str = "store_operations_total{operation=\"note_look\",result=\"error\"}";
    let house = house("").await;
    let token = house.token("cats", "write");
    let sick = "CREATE TRIGGER sick BEFORE UPDATE OF looked_at ON hostnames WHEN OLD.name = 'sick.row.test'
                BEGIN SELECT RAISE(ABORT, 'sick'); END";
    sql(&house, sick).await;
    house.register(&token, "sick.row.test").await;
    let failed = async || house.edge.metric(FAILED).await;
    eventually("a look fails", async || failed().await >= 1.0).await;
    let begin = Instant::now();
    house.register(&token, "well.row.test").await;
    house.becomes(&token, "well.row.test", "serving").await;
    eventually("it is looked at again", async || failed().await >= 2.0).await;
    assert!(begin.elapsed() > Duration::from_secs(5), "after {:?}", begin.elapsed());
    assert_eq!(failed().await, 2.0);
    sql(&house, "DROP TRIGGER sick").await;
    house.becomes(&token, "sick.row.test", "serving").await;
    assert_eq!(house.ca.orders(), 2, "one for each");
}
