//! Beginning, change and end of the name server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;

use crate::bed::program::{Edge, run};
use crate::bed::{eventually, free_port};
use crate::{LABEL, any_edge, config, dig, publish, short, sql};

#[tokio::test]
async fn a_store_that_fails_is_never_taken_for_one_that_has_nothing() {
    let (edge, port) = any_edge("").await;
    publish(&edge, LABEL, "value").await;
    let asked = format!("{LABEL}.acme.plat.test TXT");
    sql(&edge.folder(), "ALTER TABLE challenges RENAME TO hidden".into()).await;
    eventually("a failure", async || dig(port, &asked).await.contains("status: SERVFAIL")).await;
    assert_eq!(short(port, "acme.plat.test SOA").await.len(), 1, "what needs no store goes on");
    assert!(edge.log().contains("a question by DNS could not be answered"), "{}", edge.log());
    sql(&edge.folder(), "ALTER TABLE hidden RENAME TO challenges".into()).await;
    eventually("its value", async || short(port, &asked).await == ["\"value\""]).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_at_the_start() {
    let port = free_port();
    let _taken = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nameplate.toml");
    let listen = "[listen]\nhttp = []\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n";
    let text = format!("data_dir = \"data\"\n{listen}{}", config(port, ""));
    std::fs::write(&file, text).unwrap();
    let ran = run(&["run", "--config", file.to_str().unwrap()]).await;
    assert_eq!(ran.code, 1);
    let wanted =
        format!("cannot listen on 127.0.0.1:{port}; stop what uses the port, or choose another address");
    assert!(ran.err.contains(&wanted), "{}", ran.err);
}

async fn reload(edge: &Edge, from: &str, to: &str) {
    let file = edge.config_file();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    let ran = run(&["reload", "--config", file.to_str().unwrap()]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[tokio::test]
async fn a_reload_changes_zone_addresses_and_listeners_at_once() {
    let (edge, port) = any_edge("").await;
    reload(&edge, "\"192.0.2.7\"", "\"192.0.2.8\"").await;
    assert_eq!(short(port, "ns1.acme.plat.test A").await, ["192.0.2.8"]);
    reload(&edge, "acme.plat.test", "auth.plat.test").await;
    assert!(dig(port, "acme.plat.test SOA").await.contains("status: REFUSED"));
    assert_eq!(short(port, "auth.plat.test SOA").await.len(), 1);

    let other = free_port();
    reload(&edge, &port.to_string(), &other.to_string()).await;
    for by in ["+notcp", "+tcp"] {
        assert_eq!(short(other, &format!("auth.plat.test SOA {by}")).await.len(), 1);
        eventually("the old port is closed", async || {
            !dig(port, &format!("auth.plat.test SOA {by} +time=1")).await.contains("status:")
        })
        .await;
    }
}

#[tokio::test]
async fn no_question_is_lost_while_one_process_takes_over_from_another() {
    let (edge, port) = any_edge("queries_per_client = \"1000000/1s\"").await;
    let stop = Arc::new(AtomicBool::new(false));
    let asks = tokio::spawn({
        let stop = stop.clone();
        async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(("127.0.0.1", port)).await.unwrap();
            let (mut asked, mut octets) = (0_u32, [0; 512]);
            while !stop.load(Ordering::Relaxed) {
                // Half of them have to be looked up in the store.
                let label: &[u8] = if asked % 2 == 0 { &[] } else { b"\x20abcdefghijklmnopqrstuvwxyz234567" };
                let id = u16::try_from(asked % 65_536).unwrap().to_be_bytes();
                let zone = b"\x04acme\x04plat\x04test\0\0\x10\0\x01";
                let question = [&id[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0], label, zone].concat();
                socket.send(&question).await.unwrap();
                let answer = tokio::time::timeout(crate::bed::DEADLINE, socket.recv(&mut octets)).await;
                answer.expect("each question is answered").unwrap();
                assert_eq!(octets[..2], id);
                assert_ne!(octets[3] & 0x0f, 2, "no SERVFAIL");
                asked += 1;
            }
            asked
        }
    });
    let (old, new) = edge.upgraded().await;
    old.ended().await;
    assert_eq!(short(port, "acme.plat.test SOA +tcp").await.len(), 1, "the new one answers");
    stop.store(true, Ordering::Relaxed);
    assert!(asks.await.unwrap() > 100);
    new.stop().await;
}
