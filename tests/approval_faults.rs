//! An approval endpoint that does everything but answer well: known names are served meanwhile, an
//! order is placed only after a yes, and the cause is told.

mod bed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bed::approval::Behaviour;
use bed::client::Refused;
use bed::house::{House, Plan, house};
use bed::program::run;
use tokio::io::AsyncWriteExt;

/// unrecognized_name and internal_error (RFC 8446 §6.2).
const UNRECOGNIZED: i32 = 112;
const INTERNAL: i32 = 80;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_in_every_way_costs_no_known_name_and_no_order() {
    let plan = Plan { approval_cache: "1s", ..Plan::default() };
    let House { ca, endpoint, edge, origin: _origin } = house(plan).await;
    endpoint.says("known.test", Behaviour::Yes);
    let known = edge.handshake("known.test").await.unwrap().serial();
    let done = Arc::new(AtomicBool::new(false));
    let (client, https, ended) = (edge.client.clone(), edge.https, done.clone());
    let beside = tokio::spawn(async move {
        let mut served = 0;
        while !ended.load(Ordering::Relaxed) {
            let serial = client.handshake(https, "known.test").await.expect("served all the time").serial();
            assert_eq!(serial, known);
            served += 1;
        }
        served
    });
    // The known name is not approved any more either: that gates orders, not serving.
    endpoint.says("known.test", Behaviour::No);
    let faults = [
        ("close", Behaviour::Close),
        ("broken", Behaviour::Status(500)),
        ("teapot", Behaviour::Status(418)),
        ("redirect", Behaviour::Redirect("https://example.com/".into())),
    ];
    for (name, fault) in faults {
        let name = format!("{name}.test");
        endpoint.says(&name, fault);
        for _ in 0..2 {
            let refused = edge.handshake(&name).await.err();
            assert!(matches!(refused, Some(Refused::Alert(INTERNAL))), "{name}: {refused:?}");
        }
    }
    assert_eq!(ca.orders(), 1);
    assert!(edge.metric("approvals_total{result=\"unknown\"}").await >= 4.0);
    assert!(edge.log().contains("the approval endpoint could not be asked"), "{}", edge.log());

    // One that changes its mind with each question: each answer counts for what it is.
    let turns = [Behaviour::Close, Behaviour::Close, Behaviour::No, Behaviour::Status(503), Behaviour::Close];
    endpoint.says("flaps.test", Behaviour::InTurn([&turns[..], &[Behaviour::Yes]].concat()));
    let mut alerts = Vec::new();
    bed::eventually("its yes is met", async || match edge.handshake("flaps.test").await {
        Ok(_) => true,
        Err(Refused::Alert(alert)) => {
            alerts.push(alert);
            false
        }
        Err(other) => panic!("{other:?}"),
    })
    .await;
    alerts.dedup();
    assert_eq!(alerts, [INTERNAL, UNRECOGNIZED, INTERNAL], "could not ask, no, could not ask");
    assert_eq!(ca.orders(), 2, "one order, after the yes");
    done.store(true, Ordering::Relaxed);
    assert!(beside.await.unwrap() > 50);
}

#[tokio::test]
async fn one_that_hangs_and_one_that_speaks_no_http_cost_no_order_either() {
    let House { ca, endpoint, edge, origin: _origin } = house(Plan::default()).await;
    endpoint.says("known.test", Behaviour::Yes);
    edge.handshake("known.test").await.unwrap();
    let text = std::fs::read_to_string(edge.config_file()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let garbage = format!("http://{}/{{hostname}}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _gone = tcp.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\x00\xff 200 OK\r\n\r\n").await;
        }
    });
    endpoint.says("hangs.test", Behaviour::Silent);
    let impatient = text.replace("approval_timeout = \"30s\"", "approval_timeout = \"200ms\"");
    let rows = [
        ("hangs.test", impatient, "no answer from the approval endpoint in 0.2 s"),
        (
            "garbage.test",
            text.replace(&endpoint.template(), &garbage),
            "no connection to the approval endpoint",
        ),
    ];
    for (name, config, why) in rows {
        std::fs::write(edge.config_file(), config).unwrap();
        let ran = run(&["reload", "--config", edge.config_file().to_str().unwrap()]).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        let refused = edge.handshake(name).await.err();
        assert!(matches!(refused, Some(Refused::Alert(INTERNAL))), "{name}: {refused:?}");
        edge.handshake("known.test").await.expect("known names are served meanwhile");
        bed::eventually("the cause is told", async || edge.log().contains(why)).await;
    }
    assert_eq!(ca.orders(), 1);
}
