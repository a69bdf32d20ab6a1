//! Three machines act as one.

use std::time::{Duration, Instant};

use openssl::ssl::SslVersion;

use crate::bed::client::{Client, session};
use crate::bed::eventually;
use crate::fleet::{Fleet, Plan, within};

/// Handshakes of each machine at the same time.
const EACH: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn many_first_handshakes_on_three_machines_make_one_order() {
    // All visitors, and the authority, come from one address here.
    let before = "[limits]\nconnections_per_client = 10000\nhandshake = \"2m\"\n";
    let fleet = Fleet::of(Plan { before: before.into(), ..Plan::default() }).await;
    fleet.approve("shop.test");
    let all = (0..3).map(|number| fleet.machine(number).handshakes(EACH, "shop.test"));
    let outcomes = futures::future::join_all(all).await;
    for outcome in outcomes.into_iter().flatten() {
        if let Err(refused) = outcome {
            panic!(
                "{refused:?}\n{}",
                crate::bed::plain(fleet.machine(0).admin, "admin.test", "/metrics").await
            );
        }
    }
    assert_eq!(fleet.ca.orders(), 1);
    assert_eq!(fleet.number("SELECT count(*) FROM certificates").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_one_machine_obtained_is_hot_on_all() {
    let fleet = Fleet::of(Plan::default()).await;
    within(Duration::from_secs(1), async |tries| {
        let name = format!("shop{tries}.test");
        fleet.approve(&name);
        fleet.machine(0).handshake(&name).await.expect("it is served");
        let obtained = Instant::now();
        let all = f64::from(tries + 1);
        let hot = async |number| fleet.machine(number).metric("certificates_hot").await >= all;
        for number in 1..3 {
            eventually("it is told", async || hot(number).await).await;
        }
        let took = obtained.elapsed();
        for machine in [1, 2].map(|number| fleet.machine(number)) {
            machine.handshake(&name).await.expect("it is served");
            assert_eq!(machine.metric(r#"certificate_lookups_total{result="hit"}"#).await, all);
            for elsewhere in ["local", "store", "obtained"] {
                let line = format!(r#"certificate_lookups_total{{result="{elsewhere}"}}"#);
                assert_eq!(machine.metric(&line).await, 0.0, "{elsewhere}: no call was made");
            }
        }
        assert_eq!(fleet.ca.orders_for(&name), 1);
        took
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_machine_answers_any_challenge() {
    for challenges in [r#"["http-01"]"#, r#"["tls-alpn-01"]"#] {
        let fleet = Fleet::of(Plan { challenges, ..Plan::default() }).await;
        fleet.approve("shop.test");
        // The authority validates several times; each time another machine is asked.
        fleet.machine(0).handshake("shop.test").await.expect("it is served");
        let kind = challenges.trim_matches(['[', ']', '"']);
        for number in 0..3 {
            let line = format!(r#"challenges_answered_total{{result="answered",type="{kind}"}}"#);
            assert!(fleet.machine(number).metric(&line).await >= 1.0, "machine {number} answered {kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_machine_is_seen_until_it_leaves() {
    let mut fleet = Fleet::of(Plan::default()).await;
    eventually("all three are seen", async || {
        fleet.status(0).await.1["machines"].as_array().is_some_and(|machines| machines.len() == 3)
    })
    .await;
    let (ran, document) = fleet.status(0).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    for machine in document["machines"].as_array().unwrap() {
        assert_eq!(machine["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(machine["state"], "there");
    }
    fleet.machines[1].take().unwrap().stop().await;
    let (_, document) = fleet.status(0).await;
    assert_eq!(document["machines"].as_array().unwrap().len(), 2, "it signed off");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_machine_is_resumed_by_another() {
    let fleet = Fleet::of(Plan::default()).await;
    fleet.approve("shop.test");
    fleet.machine(0).handshake("shop.test").await.expect("it is served");
    fleet.served_alike("shop.test").await;
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let mut client = fleet.machine(0).client.clone();
        client.version = Some(version);
        for number in 1..3 {
            // A machine has the keys of the others within a look.
            eventually("a session of one is resumed by another", async || {
                let session = session(&client, fleet.machine(0).https, "shop.test", 1).await;
                let resuming = Client { session: Some(session), ..client.clone() };
                let served = resuming.handshake(fleet.machine(number).https, "shop.test").await;
                served.expect("it is served").stream.ssl().session_reused()
            })
            .await;
        }
    }
}
