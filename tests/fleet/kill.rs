//! A machine killed at each step of an order: its name is served in the end, by one order more at most.

use std::time::Duration;

use tokio::time::timeout;

use crate::bed::eventually;
use crate::bed::meddler::{Asked, Meddling};
use crate::fleet::{DATABASE, Fleet, Plan};

/// Where an order stands when its machine is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// The step that needs this table waits for it, as somebody holds a lock on it: nothing of it is done.
    Before(&'static str),
    /// The authority has this request, and its answer never comes.
    Asked(Asked),
    /// The authority did what it was asked for, and its answer is lost.
    Answered(Asked),
}

/// Every step, in the order they come.
const POINTS: [Point; 10] = [
    Point::Before("leases"),
    Point::Asked(Asked::NewOrder),
    Point::Answered(Asked::NewOrder),
    Point::Before("challenges"),
    Point::Before("unfinished_orders"),
    Point::Asked(Asked::Finalize),
    Point::Answered(Asked::Finalize),
    Point::Asked(Asked::Certificate),
    Point::Answered(Asked::Certificate),
    Point::Before("certificates"),
];

/// Holds a lock on a table for as long as it lives.
pub struct Lock {
    _holder: tokio::task::JoinHandle<()>,
    release: tokio::sync::oneshot::Sender<()>,
}

impl Lock {
    pub async fn on(fleet: &Fleet, table: &str) -> Self {
        use sqlx::Connection;
        let mut connection = sqlx::PgConnection::connect(&fleet.database.url(DATABASE)).await.unwrap();
        let lock = format!("BEGIN; LOCK TABLE {table} IN SHARE MODE");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut connection).await.unwrap();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let holder = tokio::spawn(async move {
            // Released, or the test is over.
            let _either = released.await;
            connection.close().await.unwrap();
        });
        Self { _holder: holder, release }
    }

    pub fn release(self) {
        self.release.send(()).expect("it is held");
    }
}

/// Whether somebody waits for a lock.
pub async fn somebody_waits(fleet: &Fleet) -> bool {
    fleet.number("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").await > 0
}

async fn reaches(fleet: &Fleet, point: Point, name: &str) -> Option<Lock> {
    let meddler = fleet.meddler.as_ref().expect("there is one");
    let lock = match point {
        Point::Before(table) => Some(Lock::on(fleet, table).await),
        Point::Asked(asked) => {
            meddler.once(asked, Meddling::Hang);
            None
        }
        Point::Answered(asked) => {
            meddler.once(asked, Meddling::Lose);
            None
        }
    };
    let before = match point {
        Point::Asked(asked) | Point::Answered(asked) => meddler.asked(asked),
        Point::Before(_) => 0,
    };
    let (client, address, hostname) =
        (fleet.machine(0).client.clone(), fleet.machine(0).https, name.to_owned());
    let visitor = tokio::spawn(async move { client.handshake(address, &hostname).await });
    match point {
        Point::Before(_) => eventually("it waits", async || somebody_waits(fleet).await).await,
        Point::Asked(asked) | Point::Answered(asked) => {
            eventually("it asks", async || meddler.asked(asked) > before).await;
        }
    }
    visitor.abort();
    lock
}

async fn killed_at(point: Point) {
    let plan = Plan { machines: 2, meddled: true, store: "timeout = \"30s\"", ..Plan::default() };
    let mut fleet = Fleet::of(plan).await;
    let name = "shop.test";
    fleet.approve(name);
    let lock = reaches(&fleet, point, name).await;
    let folder = fleet.kill(0).await;
    if let Some(lock) = lock {
        lock.release();
    }
    // Its lease lives for half a minute; then the other one may order.
    let served = async {
        let mut pace = tokio::time::interval(Duration::from_millis(200));
        loop {
            pace.tick().await;
            if let Ok(served) = fleet.machine(1).handshake(name).await {
                break served.serial();
            }
        }
    };
    let served = timeout(Duration::from_secs(120), served).await;
    let serial = served.unwrap_or_else(|_| panic!("{point:?}: not served\n{}", fleet.machine(1).log()));
    fleet.again(0, folder).await;
    assert_eq!(fleet.served_alike(name).await, serial, "{point:?}");
    let orders = fleet.ca.orders_for(name);
    assert!(orders <= 2, "{point:?}: {orders} orders");
    assert_eq!(fleet.number("SELECT count(*) FROM certificates").await, 1, "{point:?}");
    let left = "SELECT count(*) FROM unfinished_orders";
    assert_eq!(fleet.number(left).await, 0, "{point:?}: an order is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_killed_at_any_step_leaves_its_name_to_others() {
    futures::future::join_all(POINTS.map(killed_at)).await;
}
