//! What is answered, by `dig`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::eventually;
use crate::{LABEL, OTHER, any_edge, dig, publish, short, sql};

const SOA: &str = "ns1.acme.plat.test. dns\\.ops.plat.test. 1 3600 600 1209600 5";

/// Whatever space `dig` leaves between the parts of a line counts as one.
fn assert_has(answer: &str, parts: &[&str]) {
    let answer = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in parts {
        let found = match part.strip_prefix('!') {
            Some(absent) => !answer.contains(absent),
            None => answer.contains(part),
        };
        assert!(found, "{part:?} in {answer}");
    }
}

#[tokio::test]
async fn the_zone_itself_has_its_servers_and_its_authority() {
    let (_edge, port) = any_edge("ttl = \"2h\"").await;
    for by in ["", " +tcp"] {
        let soa = dig(port, &format!("acme.plat.test SOA{by}")).await;
        let line = format!("acme.plat.test. 7200 IN SOA {SOA}");
        assert_has(&soa, &["status: NOERROR", "flags: qr aa;", "ANSWER: 1, AUTHORITY: 0", &line]);
    }
    let servers = dig(port, "acme.plat.test NS").await;
    assert_has(&servers, &["ANSWER: 3", "NS ns.plat.test.", "NS ns1.acme.plat.test.", "ADDITIONAL: 5"]);
    for (name, kind, value) in [
        ("ns1.acme.plat.test", "A", "192.0.2.7"),
        ("b.ns.acme.plat.test", "AAAA", "2001:db8::7"),
        ("Ns1.aCme.plat.TEST", "AAAA", "2001:db8::7"),
    ] {
        assert_eq!(short(port, &format!("{name} {kind}")).await, [value]);
    }
}

#[tokio::test]
async fn what_is_not_there_is_denied_with_the_zones_authority() {
    let (edge, port) = any_edge("").await;
    publish(&edge, LABEL, "value").await;
    let authority = format!("5 IN SOA {SOA}");
    let label = |kind: &str| format!("{LABEL}.acme.plat.test {kind}");
    // A name above a name server exists, and so does a label with a value; what is below it does not.
    for (asked, status) in [
        ("acme.plat.test A".to_owned(), "NOERROR"),
        ("acme.plat.test DS".to_owned(), "NOERROR"),
        ("ns1.acme.plat.test TXT".to_owned(), "NOERROR"),
        ("ns.acme.plat.test A".to_owned(), "NOERROR"),
        (label("A"), "NOERROR"),
        (label("CAA"), "NOERROR"),
        (format!("x.{}", label("TXT")), "NXDOMAIN"),
        (format!("{OTHER}.acme.plat.test TXT"), "NXDOMAIN"),
        ("www.acme.plat.test A".to_owned(), "NXDOMAIN"),
        ("_acme-challenge.acme.plat.test TXT".to_owned(), "NXDOMAIN"),
        ("a\\.b.acme.plat.test A".to_owned(), "NXDOMAIN"),
    ] {
        let answer = dig(port, &asked).await;
        let status = format!("status: {status}");
        assert_has(&answer, &[&status, "flags: qr aa;", "ANSWER: 0, AUTHORITY: 1", &authority]);
    }
}

#[tokio::test]
async fn values_that_another_machine_publishes_are_answered_and_gone_when_it_takes_them_back() {
    let (edge, port) = any_edge("").await;
    let asked = format!("{LABEL}.acme.plat.test TXT");
    assert!(short(port, &asked).await.is_empty());
    for value in ["first", "second"] {
        publish(&edge, LABEL, value).await;
    }
    let begin = std::time::Instant::now();
    eventually("both values", async || short(port, &asked).await == ["\"first\"", "\"second\""]).await;
    assert!(begin.elapsed().as_secs() < 5, "a resolver may keep that there was nothing for so long");
    let answer = dig(port, &asked).await;
    assert_has(&answer, &["flags: qr aa;", "ANSWER: 2", "1 IN TXT \"first\""]);
    sql(&edge.folder(), "DELETE FROM challenges WHERE answer = 'first'".into()).await;
    eventually("one value", async || short(port, &asked).await == ["\"second\""]).await;
    sql(&edge.folder(), "UPDATE challenges SET expires = 1".into()).await;
    eventually("none", async || dig(port, &asked).await.contains("NXDOMAIN")).await;
}

#[tokio::test]
async fn the_case_of_a_question_stays_in_its_answer() {
    let (edge, port) = any_edge("").await;
    publish(&edge, LABEL, "value").await;
    let mixed = format!("{}.AcMe.pLAT.tesT", LABEL.replace("abc", "aBC"));
    let answer = dig(port, &format!("{mixed} TXT")).await;
    assert_has(&answer, &[&format!(";{mixed}. IN TXT"), &format!("{mixed}. 1 IN TXT \"value\"")]);
}

#[tokio::test]
async fn what_is_none_of_its_business_is_refused_without_a_word_more() {
    let (_edge, port) = any_edge("").await;
    for asked in [
        "plat.test SOA",
        "xacme.plat.test A",
        "example.com A +rec",
        ". NS",
        "version.bind CH TXT",
        "-c ANY acme.plat.test SOA",
    ] {
        let answer = dig(port, asked).await;
        assert_has(&answer, &["status: REFUSED", "!aa", "!ra;", "ANSWER: 0, AUTHORITY: 0"]);
    }
    for asked in ["acme.plat.test AXFR", "acme.plat.test IXFR=1"] {
        assert_has(&dig(port, asked).await, &["Transfer failed", "!SOA "]);
    }
    for opcode in ["notify", "update", "status", "3", "15"] {
        let answer = dig(port, &format!("acme.plat.test SOA +opcode={opcode} +noedns")).await;
        assert_has(&answer, &["status: NOTIMP", "ANSWER: 0"]);
    }
}

#[tokio::test]
async fn edns_is_understood_as_far_as_there_is_any() {
    let (_edge, port) = any_edge("").await;
    let asked = "acme.plat.test SOA";
    let with = |options: &str| format!("{asked} {options}");
    assert_has(&dig(port, asked).await, &["EDNS: version: 0, flags:; udp: 1232"]);
    assert_has(&dig(port, &with("+dnssec")).await, &["EDNS: version: 0, flags: do; udp: 1232"]);
    assert_has(&dig(port, &with("+noedns")).await, &["!EDNS", "ADDITIONAL: 0"]);
    let unknown = dig(port, &with("+ednsopt=65001:c0ffee +nsid +subnet=192.0.2.0/24")).await;
    assert_has(&unknown, &["status: NOERROR", "EDNS: version: 0", "ANSWER: 1", "!OPT=65001", "!SUBNET"]);
    let later = dig(port, &with("+edns=1 +noednsnegotiation")).await;
    assert_has(&later, &["status: BADVERS", "EDNS: version: 0", "ANSWER: 0"]);
    assert_has(&dig(port, &with("+ednsflags=0x4000")).await, &["status: NOERROR", "flags:; udp"]);
}

#[tokio::test]
async fn whoever_asks_for_everything_gets_little() {
    let (_edge, port) = any_edge("").await;
    for by in ["+notcp", "+tcp"] {
        let answer = dig(port, &format!("acme.plat.test ANY {by}")).await;
        assert_has(&answer, &["status: NOERROR", "ANSWER: 1", "HINFO \"RFC8482\" \"\""]);
    }
}

#[tokio::test]
async fn what_a_datagram_does_not_hold_is_cut_off_and_whole_by_tcp() {
    let (edge, port) = any_edge("").await;
    for number in 0..30 {
        publish(&edge, LABEL, &format!("{number:043}")).await;
    }
    let asked = format!("{LABEL}.acme.plat.test TXT");
    for size in ["+noedns", "+bufsize=512", "+bufsize=4096"] {
        let cut = dig(port, &format!("{asked} {size} +ignore")).await;
        assert_has(&cut, &["status: NOERROR", "flags: qr aa tc;", "ANSWER: 0, AUTHORITY: 0"]);
        // As a resolver does, it comes by TCP.
        assert_eq!(short(port, &format!("{asked} {size}")).await.len(), 30);
    }
    // What a client can take counts, up to 1232.
    sql(
        &edge.folder(),
        "DELETE FROM challenges WHERE answer > '0000000000000000000000000000000000000000014'".into(),
    )
    .await;
    eventually("fewer", async || short(port, &format!("{asked} +tcp")).await.len() == 15).await;
    assert_has(&dig(port, &format!("{asked} +bufsize=700 +ignore")).await, &["flags: qr aa tc;"]);
    assert_has(&dig(port, &format!("{asked} +bufsize=1232 +ignore")).await, &["flags: qr aa;", "ANSWER: 15"]);
}

#[tokio::test]
async fn a_connection_may_have_several_questions_and_ends_when_it_is_idle() {
    let (_edge, port) = any_edge("").await;
    let both = dig(port, "+tcp +keepopen acme.plat.test SOA acme.plat.test NS +norec").await;
    assert_has(&both, &["SOA ns1", "NS ns1"]);
    // Two in one segment, the second in two.
    let question = |id: u8| {
        let mut message = vec![0, 32, 0, id, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(b"\x04acme\x04plat\x04test\0\0\x06\0\x01");
        message
    };
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut octets = [question(1), question(2)].concat();
    let rest = octets.split_off(octets.len() - 10);
    stream.write_all(&octets).await.unwrap();
    stream.flush().await.unwrap();
    let mut ids = Vec::new();
    for rest in [&rest[..], &[]] {
        let length = stream.read_u16().await.unwrap();
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.unwrap();
        ids.push(answer[1]);
        stream.write_all(rest).await.unwrap();
    }
    assert_eq!(ids, [1, 2]);
    let closed = tokio::time::timeout(crate::bed::DEADLINE, stream.read_u8()).await.expect("it is closed");
    assert!(closed.is_err());
}
