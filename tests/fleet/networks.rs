//! Machines with networks of their own: one that is lost without a word during its order, and a fleet whose
//! networks lose packets. Where this user may make no networks, it is paused, and nothing is lost.

use crate::bed::client::Refused;
use crate::bed::eventually;
use crate::fleet::{Fleet, Plan, QUICK};

/// unrecognized_name (RFC 6066 §9).
const UNRECOGNIZED_NAME: i32 = 112;

async fn fleet() -> Fleet {
    Fleet::of(Plan { networks: true, store: QUICK, ..Plan::default() }).await
}

/// How visitors fare who are where the machine is: nothing else is within its reach.
fn serves_alone(fleet: &Fleet, number: usize, serial: &str) {
    let Some(network) = fleet.networks().get(number) else { return };
    let edge = fleet.machine(number);
    network.inside(async || {
        eventually("it notices", async || edge.metric("store_open").await == 0.0).await;
        let served = edge.handshake("known.test").await.expect("what it knows is served");
        assert_eq!(served.serial(), serial);
        assert!(edge.handshake("shop.test").await.is_err(), "what was not saved is not served");
        let refused = edge.handshake("nobody.test").await.err().expect("nobody knows it");
        assert!(matches!(refused, Refused::Alert(_)), "{refused:?}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_the_network_loses_during_its_order_writes_over_nothing() {
    let fleet = fleet().await;
    fleet.approve("known.test");
    fleet.machine(0).handshake("known.test").await.expect("it is served");
    let known = fleet.served_alike("known.test").await;
    let orders = fleet.ca.orders();

    fleet.approve("shop.test");
    // The order does not end before the cut.
    fleet.ca.halt_dns();
    let (client, address) = (fleet.machine(0).client.clone(), fleet.machine(0).https);
    let first = tokio::spawn(async move { client.handshake(address, "shop.test").await });
    eventually("its order is under way", async || fleet.number("SELECT count(*) FROM challenges").await > 0)
        .await;
    fleet.cut_off(0);
    fleet.lead_past(0);
    fleet.ca.resume_dns();
    let serial = fleet.machine(1).handshake("shop.test").await.expect("it is served").serial();
    assert_eq!(fleet.machine(2).handshake("shop.test").await.expect("it is served").serial(), serial);
    let saved = "SELECT saved_at FROM certificates WHERE name = 'shop.test'";
    let at = fleet.number(saved).await;
    serves_alone(&fleet, 0, &known);

    fleet.let_back(0);
    // However it ends there.
    drop(first.await.unwrap());
    assert_eq!(fleet.served_alike("shop.test").await, serial, "what came first stays");
    assert_eq!(fleet.number(saved).await, at);
    assert_eq!(fleet.number("SELECT count(*) FROM certificates").await, 2);
    assert!(fleet.ca.orders() <= orders + 2, "{} orders", fleet.ca.orders() - orders);
    let denied = async || {
        let answer = fleet.machine(0).handshake("nobody.test").await;
        matches!(answer, Err(Refused::Alert(UNRECOGNIZED_NAME)))
    };
    eventually("it asks again", denied).await;
}

/// Packets out of a hundred that are lost each way.
const LOST: u8 = 10;
const NAMES: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_networks_lose_packets_obtains_one_certificate_a_name() {
    let fleet = fleet().await;
    for network in fleet.networks() {
        network.lose_packets(LOST);
    }
    let names: Vec<String> = (0..NAMES).map(|number| format!("n{number}.test")).collect();
    for name in &names {
        fleet.approve(name);
    }
    // Visitors of every machine; one whose connection was lost comes again.
    let visit = async |number: usize, name: &str| {
        eventually(name, async || fleet.machine(number % 3).handshake(name).await.is_ok()).await;
    };
    let visit = &visit;
    let of_all =
        names.iter().enumerate().flat_map(|(at, name)| (at..at + 3).map(move |number| visit(number, name)));
    futures::future::join_all(of_all).await;
    for name in &names {
        fleet.served_alike(name).await;
    }
    assert_eq!(fleet.number("SELECT count(*) FROM certificates").await, i64::try_from(NAMES).unwrap());
    // An order whose answer is lost again and again is placed twice.
    let orders = fleet.ca.orders();
    assert!((NAMES..=NAMES + 1).contains(&orders), "{orders} orders for {NAMES} names");
}
