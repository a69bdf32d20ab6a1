//! The database away, machines cut off, paused and killed: everything known is served, and nothing is
//! ordered twice or written over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::bed::client::Client;
use crate::bed::eventually;
use crate::fleet::{Fleet, Plan, QUICK, within};
use crate::kill::{Lock, somebody_waits};

/// internal_error (RFC 8446 §6.2): could not be decided; trying again may help.
const INTERNAL_ERROR: i32 = 80;
/// unrecognized_name (RFC 6066 §9).
const UNRECOGNIZED_NAME: i32 = 112;
/// How long the database is away.
const AWAY: Duration = Duration::from_secs(60);

const KNOWN: usize = 10;

fn known() -> Vec<String> {
    (0..KNOWN).map(|number| format!("known{number}.test")).collect()
}

/// Visitors who go on asking for known names on every machine.
struct Load {
    ends: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    visitors: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    /// On the first `machines`.
    fn begin(fleet: &Fleet, machines: usize) -> Self {
        let (ends, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let visitors = fleet.machines.iter().flatten().take(machines).map(|edge| {
            let (client, address): (Client, _) = (edge.client.clone(), edge.https);
            let (ends, served) = (ends.clone(), served.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                let mut pace = tokio::time::interval(Duration::from_millis(20));
                for name in known().iter().cycle() {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    pace.tick().await;
                    let answer = match client.handshake(address, name).await {
                        Ok(stream) => stream.get(name, "/").await,
                        Err(refused) => format!("{refused:?}"),
                    };
                    if answer.contains(" 200 ") {
                        served.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failures.push(format!("{name}: {answer}"));
                    }
                }
                failures
            })
        });
        let visitors = visitors.collect();
        Self { ends, served, visitors }
    }

    /// How many were served; panics where one was not.
    async fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        for visitor in self.visitors {
            let failures = visitor.await.unwrap();
            assert!(failures.is_empty(), "{} failed, such as {:?}", failures.len(), failures.first());
        }
        self.served.load(Ordering::Relaxed)
    }
}

async fn obtain_known(fleet: &Fleet) {
    for name in known() {
        fleet.approve(&name);
        fleet.machine(0).handshake(&name).await.expect("it is served");
        fleet.served_alike(&name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_away_for_a_minute_and_no_request_for_known_names_fails() {
    let mut fleet = Fleet::of(Plan { store: QUICK, ..Plan::default() }).await;
    let token = fleet.token().await;
    obtain_known(&fleet).await;
    let orders = fleet.ca.orders();
    let load = Load::begin(&fleet, 2);
    fleet.database.stop().await;
    let gone = Instant::now();
    eventually("it is noticed", async || fleet.metric("store_open").await == 0.0).await;

    // Somebody approves it, but nobody can say whether it has a certificate or who is at it.
    fleet.approve("new.test");
    for number in 0..3 {
        let asked = Instant::now();
        let refused = fleet.machine(number).handshake("new.test").await.err().expect("it is refused");
        assert!(matches!(refused, crate::bed::client::Refused::Alert(INTERNAL_ERROR)), "{refused:?}");
        assert!(asked.elapsed() < Duration::from_secs(5), "fast");
        let (status, document) = fleet.call(number, &token, "GET", "/sites", "").await;
        assert_eq!(status, 503, "{document}");
        assert!(document["errors"][0]["detail"].as_str().is_some_and(|why| !why.is_empty()), "{document}");
    }
    let denied = fleet.machine(1).handshake("nobody.test").await.err().expect("it is refused");
    assert!(matches!(denied, crate::bed::client::Refused::Alert(UNRECOGNIZED_NAME)), "{denied:?}");

    // A machine that starts meanwhile serves what it served before.
    let folder = fleet.kill(2).await;
    fleet.again(2, folder).await;
    for name in known() {
        fleet.machine(2).handshake(&name).await.expect("it is served from the machine's own copy");
    }
    tokio::time::sleep_until((gone + AWAY).into()).await;
    assert_eq!(fleet.ca.orders(), orders, "nothing was ordered");
    fleet.database.start_again().await;
    eventually("all have it again", async || fleet.metric("store_open").await == 3.0).await;
    let served = load.end().await;
    assert!(served > 1_000, "{served} were served");
    if let Err(refused) = fleet.machine(1).handshake("new.test").await {
        panic!("{refused:?}\n{}", fleet.machine(1).log());
    }
    fleet.served_alike("new.test").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_away_under_load() {
    let mut fleet = Fleet::of(Plan { store: QUICK, ..Plan::default() }).await;
    obtain_known(&fleet).await;
    let orders = fleet.ca.orders();
    let load = Load::begin(&fleet, 3);
    fleet.database.stop().await;
    eventually("it is noticed", async || fleet.metric("store_open").await == 0.0).await;
    fleet.database.start_again().await;
    eventually("all have it again", async || fleet.metric("store_open").await == 3.0).await;
    // Halted, it takes connections and says nothing.
    fleet.database.halt();
    eventually("it is noticed", async || fleet.metric("store_open").await == 0.0).await;
    fleet.database.resume();
    eventually("all have it again", async || fleet.metric("store_open").await == 3.0).await;
    let served = load.end().await;
    assert!(served > 100, "{served} were served");
    assert_eq!(fleet.ca.orders(), orders, "nothing was ordered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_paused_for_longer_than_its_lease_writes_over_nothing() {
    let fleet = Fleet::of(Plan { meddled: true, ..Plan::default() }).await;
    fleet.approve("shop.test");
    let (client, address) = (fleet.machine(0).client.clone(), fleet.machine(0).https);
    let first = tokio::spawn(async move { client.handshake(address, "shop.test").await });
    eventually("its order is under way", async || fleet.number("SELECT count(*) FROM challenges").await > 0)
        .await;
    fleet.machine(0).signal("STOP");
    fleet.lead_past(0);

    let served = fleet.machine(1).handshake("shop.test").await.expect("it is served");
    let serial = served.serial();
    assert_eq!(fleet.number("SELECT count(*) FROM certificates").await, 1);
    let saved = "SELECT saved_at FROM certificates";
    let at = fleet.number(saved).await;
    fleet.machine(0).signal("CONT");
    // However it ends there.
    drop(first.await.unwrap());
    assert_eq!(fleet.served_alike("shop.test").await, serial, "what came first stays");
    assert_eq!(fleet.number(saved).await, at);
    assert!(fleet.ca.orders() <= 2, "{} orders", fleet.ca.orders());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_cut_off_during_its_order_serves_what_another_one_obtained() {
    let fleet = Fleet::of(Plan { store: QUICK, ..Plan::default() }).await;
    fleet.approve("shop.test");
    // The order does not end before the cut.
    fleet.ca.halt_dns();
    let (client, address) = (fleet.machine(0).client.clone(), fleet.machine(0).https);
    let first = tokio::spawn(async move { client.handshake(address, "shop.test").await });
    eventually("its order is under way", async || fleet.number("SELECT count(*) FROM challenges").await > 0)
        .await;
    fleet.cables[0].cut();
    // Without the database it could not answer for the others.
    fleet.lead_past(0);
    fleet.ca.resume_dns();
    let serial = fleet.machine(1).handshake("shop.test").await.expect("it is served").serial();
    drop(first.await.unwrap());
    eventually("it notices", async || fleet.machine(0).metric("store_open").await == 0.0).await;
    assert!(fleet.machine(0).handshake("shop.test").await.is_err(), "what was not saved is not served");
    fleet.cables[0].mend();
    assert_eq!(fleet.served_alike("shop.test").await, serial);
    assert_eq!(fleet.number("SELECT count(*) FROM certificates").await, 1);
    assert!(fleet.ca.orders() <= 2, "{} orders", fleet.ca.orders());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_hostname_is_served_by_no_machine_within_two_seconds() {
    let fleet = Fleet::of(Plan::default()).await;
    let token = fleet.token().await;
    within(Duration::from_secs(2), async |number| {
        let name = format!("shop{number}.test");
        fleet.register(0, &token, &name).await;
        // A visitor who comes before the others know of it is refused, and not for long.
        eventually("it is served", async || fleet.machine(1).handshake(&name).await.is_ok()).await;
        fleet.served_alike(&name).await;
        let path = format!("/sites/default/hostnames/{name}");
        let (status, document) = fleet.call(2, &token, "DELETE", &path, "").await;
        assert_eq!(status, 204, "{document}");
        let deleted = Instant::now();
        for number in 0..3 {
            eventually("it is refused", async || fleet.machine(number).handshake(&name).await.is_err()).await;
        }
        deleted.elapsed()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_fails_is_not_placed_again_by_the_machines_that_waited_for_it() {
    let fleet = Fleet::of(Plan { challenges: r#"["http-01"]"#, ..Plan::default() }).await;
    fleet.approve("lost.test");
    fleet.ca.break_dns_of("lost.test").await;
    // Whoever orders cannot note for now how that went.
    let lock = Lock::on(&fleet, "attempts").await;
    let visits = [0, 1, 2].map(|number| {
        let (client, address) = (fleet.machine(number).client.clone(), fleet.machine(number).https);
        tokio::spawn(async move { client.handshake(address, "lost.test").await.map(drop) })
    });
    for number in 0..3 {
        let leases = r#"store_operations_total{operation="lease",result="ok"}"#;
        eventually("it asks for the lease", async || fleet.machine(number).metric(leases).await >= 1.0).await;
    }
    eventually("the order has failed", async || somebody_waits(&fleet).await).await;
    lock.release();
    for visit in visits {
        assert!(visit.await.unwrap().is_err());
    }
    assert_eq!(fleet.ca.orders(), 1);
    assert_eq!(fleet.number("SELECT failures FROM attempts").await, 1);
}
