//! What machines that share a store may rely on when they do the same at the same moment.

use std::sync::Mutex;
use std::time::Duration;

use nameplate::domain::clock::Clock;
use nameplate::store::{Bound, LEASE_TTL, Scope};

use crate::bed::{Bed, Opened, assert_same, certificate, name, server};
use crate::test_bed::eventually;

/// Another machine with the same store.
async fn machine(bed: &Bed) -> Opened {
    bed.try_open(bed.key.clone()).await.unwrap()
}

impl Bed {
    /// How many sessions wait for a lock that another one has.
    async fn waiting(&self) -> i64 {
        let database = self.database.as_deref().unwrap();
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        server().number(database, waiting).await
    }
}

#[tokio::test]
async fn of_a_hundred_on_two_machines_one_gets_the_lease() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let shop = name("shop.test");
    let takes = (0..100).map(|number| {
        let store = if number % 2 == 0 { &bed.store } else { &other };
        store.lease(&shop, LEASE_TTL)
    });
    let leases = futures::future::join_all(takes).await;
    assert_eq!(leases.into_iter().filter(|lease| lease.as_ref().unwrap().is_some()).count(), 1);
}

#[tokio::test]
async fn tokens_grow_however_leases_are_taken_and_given_back() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let shop = name("shop.test");
    let last = Mutex::new(0);
    let takers = (0..8).map(async |number| {
        let store = if number % 2 == 0 { &bed.store } else { &other };
        for _ in 0..40 {
            let Some(lease) = store.lease(&shop, LEASE_TTL).await.unwrap() else { continue };
            // Nobody else holds one now.
            let before = std::mem::replace(&mut *last.lock().unwrap(), lease.token);
            assert!(lease.token > before, "{} after {before}", lease.token);
            store.release(&lease).await.unwrap();
        }
    });
    futures::future::join_all(takers).await;
    assert!(*last.lock().unwrap() > 8, "many were taken");
}

#[tokio::test]
async fn no_lease_is_taken_over_while_its_holder_saves() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let before = certificate("shop.test", 1_000);
    bed.save(&before).await;
    let lease = bed.lease("shop.test").await.unwrap();
    let url = server().url(bed.database.as_deref().unwrap());
    let mut in_the_way = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT 1 FROM certificates FOR UPDATE").execute(&mut in_the_way).await.unwrap();
    let newer = certificate("shop.test", 2_000);
    let saving = async { bed.store.save(&lease, &newer).await };
    let taking = async {
        eventually("the save waits", async || bed.waiting().await == 1).await;
        bed.clock.advance(LEASE_TTL);
        let shop = name("shop.test");
        let taken = other.lease(&shop, LEASE_TTL);
        let release = async {
            eventually("whoever comes next waits for it", async || bed.waiting().await == 2).await;
            sqlx::raw_sql("ROLLBACK").execute(&mut in_the_way).await.unwrap();
        };
        tokio::join!(taken, release).0
    };
    let (saved, taken) = tokio::join!(saving, taking);
    saved.unwrap();
    assert!(taken.unwrap().unwrap().token > lease.token);
    assert_same(&bed.find("shop.test").await.unwrap(), &newer);
    bed.store.save(&lease, &before).await.expect_err("it is stale now");
}

#[tokio::test]
async fn a_limit_on_orders_holds_for_all_machines_together() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let bounds = [Bound { scope: Scope::Authority, count: 10, per: Duration::from_secs(100) }];
    let names: Vec<_> = (0..60).map(|number| name(&format!("n{number}.test"))).collect();
    let places = names.iter().enumerate().map(|(number, name)| {
        let store = if number % 2 == 0 { &bed.store } else { &other };
        store.place_order("ca", name, &bounds)
    });
    let begin = bed.clock.now();
    let answers = futures::future::join_all(places).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 10);
    let later = Some(begin.plus(Duration::from_secs(100)));
    assert!(answers.into_iter().all(|answer| answer.is_none() || answer == later));
    assert_eq!(bed.rows("orders").await, 10);
}

#[tokio::test]
async fn two_imports_of_the_same_certificates_do_not_wait_for_each_other_in_a_circle() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let mut brought: Vec<_> = (0..300).map(|n| certificate(&format!("n{n}.test"), 1_000)).collect();
    let one = brought.clone();
    brought.reverse();
    let (one, two) = tokio::join!(bed.store.import(&one), other.import(&brought));
    assert_eq!(one.unwrap().filed + two.unwrap().filed, 600, "those of the same end are filed again");
    // Of a name that comes twice, the one that lasts longest.
    let twice = [certificate("n0.test", 3_000), certificate("n0.test", 2_000)];
    assert_eq!(bed.store.import(&twice).await.unwrap().filed, 1);
    assert_same(&bed.find("n0.test").await.unwrap(), &twice[0]);
}
