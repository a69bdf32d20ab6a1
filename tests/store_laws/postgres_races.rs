//! What machines that share a store may rely on when they do the same at the same moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nameplate::domain::clock::Clock;
use nameplate::store::{Bound, LEASE_TTL, Placed, Scope};
use sqlx::{Connection, PgConnection};

use crate::bed::{Bed, Opened, assert_same, certificate, name, server};
use crate::test_bed::eventually;

/// Another machine with the same store.
pub async fn machine(bed: &Bed) -> Opened {
    bed.try_open(bed.key.clone()).await.unwrap()
}

impl Bed {
    /// A session that is in the way of others.
    pub async fn session(&self, statements: &'static str) -> PgConnection {
        let url = server().url(self.database.as_deref().unwrap());
        let mut session = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(statements).execute(&mut session).await.unwrap();
        session
    }

    /// How many sessions wait for a lock that another one has.
    pub async fn waiting(&self) -> i64 {
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
async fn a_token_is_above_those_that_were_given_while_it_was_waited_for() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let shop = name("shop.test");
    // Whoever gets the first token is held up before its lease is there.
    let mut in_the_way = bed
        .session(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF NEW.token = 1 THEN
                     PERFORM pg_advisory_xact_lock(7);
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER hold BEFORE INSERT ON leases FOR EACH ROW EXECUTE FUNCTION hold();
             SELECT pg_advisory_lock(7)",
        )
        .await;
    let through = AtomicBool::new(false);
    let second = async {
        let lease = other.lease(&shop, LEASE_TTL).await.unwrap();
        if let Some(lease) = &lease {
            other.release(lease).await.unwrap();
        }
        through.store(true, Ordering::SeqCst);
        lease
    };
    let order = async {
        eventually("the first one is held up", async || bed.waiting().await == 1).await;
        let go_on = async {
            let waits = async || through.load(Ordering::SeqCst) || bed.waiting().await == 2;
            eventually("the second one waits too, or is through", waits).await;
            sqlx::raw_sql("SELECT pg_advisory_unlock(7)").execute(&mut in_the_way).await.unwrap();
        };
        tokio::join!(second, go_on).0
    };
    let (first, second) = tokio::join!(bed.lease("shop.test"), order);
    let (first, second) = (first.map(|lease| lease.token), second.map(|lease| lease.token));
    assert_eq!((first, second), (Some(1), None));
}

#[tokio::test]
async fn no_lease_is_taken_over_while_its_holder_saves() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let before = certificate("shop.test", 1_000);
    bed.save(&before).await;
    let lease = bed.lease("shop.test").await.unwrap();
    let mut in_the_way = bed.session("BEGIN; SELECT 1 FROM certificates FOR UPDATE").await;
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
async fn a_hostname_may_be_taken_away_while_its_certificate_is_saved() {
    let bed = Bed::postgres().await;
    bed.register("a", "shop.test").await;
    bed.save(&certificate("shop.test", 1_000)).await;
    let lease = bed.lease("shop.test").await.unwrap();
    let mut taking_away = bed.session("BEGIN; DELETE FROM hostnames WHERE name = 'shop.test'").await;
    let newer = certificate("shop.test", 2_000);
    let go_on = async {
        eventually("the save waits", async || bed.waiting().await == 1).await;
        sqlx::raw_sql("UPDATE certificates SET withheld = true WHERE name = 'shop.test'; COMMIT")
            .execute(&mut taking_away)
            .await
            .expect("the save has not locked the certificate");
    };
    let (saved, ()) = tokio::join!(bed.store.save(&lease, &newer), go_on);
    saved.unwrap();
    assert_same(&bed.find("shop.test").await.unwrap(), &newer);
    server().execute(bed.database.as_deref().unwrap(), "SELECT number_events()").await;
    assert_eq!(bed.rows("events WHERE kind LIKE 'certificate.%'").await, 1, "nobody holds it any more");
}

#[tokio::test]
async fn a_limit_on_orders_holds_for_all_machines_together() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let bounds = [Bound { scope: Scope::Authority, count: 1, per: Duration::from_secs(100) }];
    let names: Vec<_> = (0..6).map(|number| name(&format!("n{number}.test"))).collect();
    // One of each machine looks whether there is room before another one notes its order; the others wait for
    // their machine's turn.
    let mut in_the_way = bed.session("BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE").await;
    let places = names.iter().enumerate().map(|(number, name)| {
        let store = if number % 2 == 0 { &bed.store } else { &other };
        store.place_order("ca", 0, name, &bounds)
    });
    let go_on = async {
        eventually("both wait", async || bed.waiting().await == 2).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut in_the_way).await.unwrap();
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(places), go_on);
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    let noted = Placed::Noted { left: Some(0) };
    assert_eq!(answers.iter().filter(|answer| **answer == noted).count(), 1, "{answers:?}");
    let until = bed.clock.now().plus(Duration::from_secs(100));
    let full = Placed::Full { until, for_any: Some(until) };
    assert!(answers.iter().all(|answer| [noted, full].contains(answer)), "{answers:?}");
    assert_eq!(bed.rows("orders").await, 1);
}

#[tokio::test]
async fn two_imports_of_the_same_certificates_do_not_wait_for_each_other_in_a_circle() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let of = |end: i64| (0..300).map(move |n| certificate(&format!("n{n}.test"), end));
    bed.store.import(&of(1_000).collect::<Vec<_>>()).await.unwrap();
    let (one, two): (Vec<_>, Vec<_>) = (of(2_000).collect(), of(3_000).rev().collect());
    let mut in_the_way =
        bed.session("BEGIN; SELECT 1 FROM certificates WHERE name = 'n150.test' FOR UPDATE").await;
    let go_on = async {
        eventually("both wait", async || bed.waiting().await == 2).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut in_the_way).await.unwrap();
    };
    let (one, two, ()) = tokio::join!(bed.store.import(&one), other.import(&two), go_on);
    assert!(one.unwrap().filed <= 300);
    assert_eq!(two.unwrap().filed, 300, "they last longer");
}

#[tokio::test]
async fn of_a_name_that_is_imported_twice_at_once_the_one_that_lasts_longest_is_filed() {
    let bed = Bed::postgres().await;
    let twice = [certificate("a.test", 3_000), certificate("a.test", 2_000)];
    assert_eq!(bed.store.import(&twice).await.unwrap().filed, 1);
    assert_same(&bed.find("a.test").await.unwrap(), &twice[0]);
}
