//! The handshake at the running edge: names, alerts, tickets, versions, odd clients.

mod bed;

use std::time::Duration;

use bed::client::{Client, Refused};
use bed::eventually;
use bed::program::Edge;
use openssl::ssl::SslVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// unrecognized_name (RFC 6066 §9).
const UNRECOGNIZED_NAME: i32 = 112;

/// Two names of one site, certificates by the internal CA, nobody to ask.
const TWO_NAMES: &str = r#"
[[authority]]
name = "internal"
directory = "internal"

[[site]]
name = "default"
hostnames = ["a.shop.test", "b.shop.test"]
origins = ["127.0.0.1:9"]
"#;

fn alert(refused: Result<bed::client::Served, Refused>) -> i32 {
    match refused {
        Err(Refused::Alert(number)) => number,
        Err(Refused::Otherwise(why)) => panic!("no alert came: {why}"),
        Ok(served) => panic!("it was served: {:?}", served.names()),
    }
}

#[tokio::test]
async fn the_first_handshake_obtains_a_certificate_and_the_second_takes_it_from_memory() {
    let edge = Edge::start(TWO_NAMES).await;
    let first = edge.handshake("a.shop.test").await.unwrap();
    assert_eq!(first.names(), ["a.shop.test"]);
    let second = edge.handshake("A.Shop.TEST.").await.unwrap();
    assert_eq!(second.serial(), first.serial(), "case and a trailing dot make no other name");
    assert_eq!(edge.metric(r#"orders_total{authority="internal",result="issued"}"#).await, 1.0);
    assert_eq!(edge.metric(r#"certificate_lookups_total{result="hit"}"#).await, 1.0);
}

#[tokio::test]
async fn the_chain_verifies_against_the_internal_root() {
    let mut edge = Edge::start(TWO_NAMES).await;
    let root = std::fs::read(edge.folder().join("data/internal-ca/root.pem")).unwrap();
    edge.client.roots = openssl::x509::X509::stack_from_pem(&root).unwrap();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let client = Client { version: Some(version), ..edge.client.clone() };
        client.handshake(edge.https, "a.shop.test").await.unwrap();
    }
}

#[tokio::test]
async fn a_name_nobody_knows_is_refused_as_unrecognized() {
    let edge = Edge::start(TWO_NAMES).await;
    assert_eq!(alert(edge.handshake("stranger.test").await), UNRECOGNIZED_NAME);
    assert_eq!(alert(edge.handshake("").await), UNRECOGNIZED_NAME, "no SNI and no default certificate");
    let old = Client { version: Some(SslVersion::TLS1_2), ..Client::default() };
    assert_eq!(alert(old.handshake(edge.https, "stranger.test").await), UNRECOGNIZED_NAME);
    // It is counted once the alert has left.
    let refused = r#"tls_handshakes_total{result="refused"}"#;
    eventually("all are counted", async || edge.metric(refused).await == 3.0).await;
    assert_eq!(edge.metric("orders_total").await, 0.0);
    assert!(!edge.log().contains("stranger.test"), "a refused handshake costs no log line");
}

#[tokio::test]
async fn names_that_nobody_can_have_reach_no_authority() {
    let edge = Edge::start(TWO_NAMES).await;
    let long_label = format!("{}.test", "a".repeat(64));
    let long_name = format!("{}.test", ["a".repeat(49).as_str(); 5].join("."));
    for name in [
        "a..b",
        "a_b.test",
        "*.test",
        "*.shop.test",
        "a/b",
        "../../etc",
        "127.0.0.1",
        "::1",
        "localhost",
        "single",
        "co.uk",
        "com",
        "xn--a.test",
        "-a.test",
        &long_label,
        &long_name,
    ] {
        let hello = bed::hello::with_sni(name.as_bytes());
        assert_eq!(bed::hello::answer(edge.https, &hello).await, Some(UNRECOGNIZED_NAME), "{name}");
    }
    let nul = bed::hello::with_sni(b"a.shop.test\0.evil.test");
    // OpenSSL itself may object to the NUL with another alert before we see it.
    assert!(bed::hello::answer(edge.https, &nul).await.is_some());
    assert_eq!(edge.metric("orders_total").await, 0.0);
}

#[tokio::test]
async fn protocols_are_chosen_by_alpn_and_the_hybrid_group_is_accepted() {
    let edge = Edge::start(TWO_NAMES).await;
    for (offered, chosen) in [
        (&b"\x02h2\x08http/1.1"[..], Some(&b"h2"[..])),
        (b"\x08http/1.1", Some(b"http/1.1")),
        (b"\x03foo", None),
    ] {
        let client = Client { alpn: Some(offered), ..Client::default() };
        let served = client.handshake(edge.https, "a.shop.test").await.unwrap();
        assert_eq!(served.stream.ssl().selected_alpn_protocol(), chosen);
    }
    for groups in ["X25519MLKEM768", "X25519", "P-256"] {
        let client = Client { groups: Some(groups), ..Client::default() };
        client.handshake(edge.https, "a.shop.test").await.unwrap();
    }
    let unknown_challenge = Client { alpn: Some(b"\x0aacme-tls/1"), ..Client::default() };
    assert_eq!(alert(unknown_challenge.handshake(edge.https, "a.shop.test").await), UNRECOGNIZED_NAME);
}

#[tokio::test]
async fn a_ticket_resumes_the_session_of_its_own_name_only() {
    let edge = Edge::start(TWO_NAMES).await;
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let client = Client { version: Some(version), ..Client::default() };
        let session = bed::client::session(&client, edge.https, "a.shop.test", 1).await;
        let again = Client { session: Some(session), ..client.clone() };
        let same = again.handshake(edge.https, "a.shop.test").await.unwrap();
        assert!(same.stream.ssl().session_reused(), "{version:?}");
        let other = again.handshake(edge.https, "b.shop.test").await.unwrap();
        assert!(!other.stream.ssl().session_reused(), "{version:?}: the ticket of another name");
        assert_eq!(other.names(), ["b.shop.test"]);
    }
    // A client of TLS 1.3 is through before the edge is.
    let resumed = r#"tls_handshakes_total{result="resumed"}"#;
    eventually("both are counted", async || edge.metric(resumed).await == 2.0).await;
}

#[tokio::test]
async fn a_ticket_does_not_resume_a_name_that_is_gone() {
    let edge = Edge::start(TWO_NAMES).await;
    let client = Client::default();
    let session = bed::client::session(&client, edge.https, "a.shop.test", 1).await;
    let unknown = Client { session: Some(session), ..client };
    assert_eq!(alert(unknown.handshake(edge.https, "gone.shop.test").await), UNRECOGNIZED_NAME);
}

#[tokio::test]
async fn a_hello_in_small_pieces_is_served() {
    let edge = Edge::start(TWO_NAMES).await;
    let hello = bed::hello::with_sni(b"a.shop.test");
    let records = bed::hello::in_records_of(&hello, 1);
    for pieces in [vec![records], hello.chunks(7).map(<[u8]>::to_vec).collect()] {
        let mut tcp = TcpStream::connect(edge.https).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        for piece in pieces {
            tcp.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = [0; 6];
        tcp.read_exact(&mut answer).await.unwrap();
        assert_eq!((answer[0], answer[5]), (22, 2), "a ServerHello comes: {answer:?}");
    }
}

#[tokio::test]
async fn garbage_and_silence_cost_a_counter_and_end_in_time() {
    let config = format!("[limits]\nhandshake = \"1s\"\n{TWO_NAMES}");
    let edge = Edge::start(&config).await;
    let hello = bed::hello::with_sni(b"a.shop.test");
    for octets in [&hello[..hello.len() / 2], &[][..]] {
        let mut tcp = TcpStream::connect(edge.https).await.unwrap();
        tcp.write_all(octets).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), tcp.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a silent client is cut after its time");
    }
    for octets in
        [&b"GET / HTTP/1.1\r\nHost: a.shop.test\r\n\r\n"[..], &[0x16, 3, 1, 0, 4, 9, 9, 9, 9], &[0xff; 600]]
    {
        let mut tcp = TcpStream::connect(edge.https).await.unwrap();
        tcp.write_all(octets).await.unwrap();
        let mut rest = Vec::new();
        let _reset = tcp.read_to_end(&mut rest).await;
    }
    assert_eq!(edge.metric(r#"tls_handshakes_total{result="timeout"}"#).await, 2.0);
    assert_eq!(edge.metric(r#"tls_handshakes_total{result="failed"}"#).await, 3.0);
    assert_eq!(edge.log().lines().filter(|line| line.contains("andshake")).count(), 0);
}
