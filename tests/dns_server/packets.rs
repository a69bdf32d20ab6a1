//! What nobody should send: too much, and what is no question.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::{LABEL, any_edge, dig, short};

/// A question for the zone's SOA record, `more` behind it.
fn question(flags: [u8; 2], counts: [u8; 8], more: &[u8]) -> Vec<u8> {
    let mut message = vec![7, 7];
    message.extend(flags);
    message.extend(counts);
    message.extend(b"\x04acme\x04plat\x04test\0\0\x06\0\x01");
    message.extend(more);
    message
}

const ONE: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

/// Sends `messages`, then a good question whose answer shows that nothing more comes; the answers to
/// those before it.
async fn answers_to(port: u16, messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", port)).await.unwrap();
    for message in messages {
        socket.send(message).await.unwrap();
    }
    let mut last = question([0, 0], ONE, &[]);
    last[0] = 99;
    socket.send(&last).await.unwrap();
    let mut answers = Vec::new();
    loop {
        let mut octets = vec![0; 4096];
        let received = tokio::time::timeout(crate::bed::DEADLINE, socket.recv(&mut octets)).await;
        octets.truncate(received.expect("it still answers").unwrap());
        if octets[0] == 99 {
            return answers;
        }
        answers.push(octets);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_by_a_bare_header_or_not_at_all() {
    let (edge, port) = any_edge("").await;
    let silent = [
        vec![],
        vec![7; 11],
        // Answers, good and bad: whoever answers them may never come to an end.
        question([0x80, 0], ONE, &[]),
        question([0x80, 0], [0xff; 8], &[]),
        vec![0xff; 500],
    ];
    assert!(answers_to(port, &silent).await.is_empty());
    let malformed = [
        question([0, 0], [0, 0, 0, 0, 0, 0, 0, 0], &[]),
        question([0, 0], [0, 2, 0, 0, 0, 0, 0, 0], b"\0\0\x01\0\x01"),
        // 65,535 questions are announced, and none comes.
        question([0, 0], [0xff; 8], &[])[..12].to_vec(),
        question([0, 0], ONE, &[])[..20].to_vec(),
        // Names that point at themselves, and forward.
        [&question([0, 0], ONE, &[])[..12], b"\xc0\x0c\0\x06\0\x01"].concat(),
        [&question([0, 0], ONE, &[])[..12], b"\xc0\xff\0\x06\0\x01"].concat(),
        // Two OPT records.
        question([0, 0], [0, 1, 0, 0, 0, 0, 0, 2], &b"\0\0\x29\x04\xd0\0\0\0\0\0\0".repeat(2)),
    ];
    let answers = answers_to(port, &malformed).await;
    assert_eq!(answers.len(), malformed.len());
    for answer in answers {
        assert_eq!(answer, [7, 7, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0], "FORMERR, and nothing behind it");
    }
    assert_eq!(edge.metric("dns_queries_total{result=\"malformed\"}").await, 9.0);
    assert_eq!(edge.metric("dns_queries_total{result=\"ignored\"}").await, 3.0);
}

#[tokio::test]
async fn a_client_that_asks_too_much_is_sent_to_tcp_or_not_heard() {
    let (edge, port) = any_edge("queries_per_client = \"20/1h\"").await;
    let questions = vec![question([0, 0], ONE, &[]); 20];
    assert_eq!(answers_of(port, &questions, 20).await.iter().filter(|answer| answer[7] == 1).count(), 20);
    let cut = answers_of(port, &vec![question([0, 0], ONE, &[]); 40], 20).await;
    assert!(cut.iter().all(|answer| answer[2] & 2 != 0 && answer.len() == 32), "TC, as long as the question");
    assert_eq!(edge.metric("dns_queries_total{result=\"limited\"}").await, 40.0);
    // Nothing but the header would come, and whoever has forged the sender would get it: no answer.
    assert_eq!(short(port, "acme.plat.test SOA +tcp").await.len(), 1, "by TCP it has as much again");
    for _ in 0..19 {
        dig(port, "acme.plat.test SOA +tcp").await;
    }
    let over = dig(port, "acme.plat.test SOA +tcp").await;
    assert!(!over.contains("status:"), "{over}");
}

/// Sends `messages` and waits for `number` answers.
async fn answers_of(port: u16, messages: &[Vec<u8>], number: usize) -> Vec<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", port)).await.unwrap();
    for message in messages {
        socket.send(message).await.unwrap();
    }
    let mut answers = Vec::new();
    while answers.len() < number {
        let mut octets = vec![0; 4096];
        let received = tokio::time::timeout(crate::bed::DEADLINE, socket.recv(&mut octets)).await;
        octets.truncate(received.expect("an answer").unwrap());
        answers.push(octets);
    }
    answers
}

#[tokio::test]
async fn a_burst_of_labels_waits_for_its_turn_at_the_store() {
    let (edge, port) = any_edge("queries_per_client = \"1000000/1s\"").await;
    let ask = |number: usize| {
        let letters = b"abcdefghijklmnopqrstuvwxyz234567";
        let label: Vec<u8> = (0..32).map(|at| letters[(number >> (at % 8)) & 1]).collect();
        let counts = [&[7, 7, 0, 0][..], &ONE, &[32]].concat();
        [&counts[..], &label, b"\x04acme\x04plat\x04test\0\0\x10\0\x01"].concat()
    };
    let questions: Vec<_> = (0..200).map(ask).collect();
    let answers = answers_of(port, &questions, questions.len()).await;
    assert!(answers.iter().all(|answer| answer[3] & 0x0f == 3), "NXDOMAIN, and no SERVFAIL");
    assert_eq!(edge.metric("dns_queries_total{result=\"failed\"}").await, 0.0);
}

#[tokio::test]
async fn connections_of_one_client_are_not_without_number() {
    let (_edge, port) = any_edge("").await;
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let message = question([0, 0], ONE, &[]);
        stream.write_all(&[&[0, 32], &message[..]].concat()).await.unwrap();
        assert!(stream.read_u16().await.unwrap() > 32);
        open.push(stream);
    }
    let mut more = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(more.read_u8().await.is_err(), "it is closed");
    assert_eq!(short(port, "acme.plat.test SOA +notcp").await.len(), 1);
    drop(open);
    crate::bed::eventually("places are free again", async || {
        short(port, "acme.plat.test SOA +tcp").await.len() == 1
    })
    .await;
}

/// Good messages of every kind, to be changed; those of the fuzz target.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/dns_message");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let index = any::<prop::sample::Index>;
    let changes = prop::collection::vec((index(), any::<u8>(), 0..4_u8), 0..12);
    let changed = (prop::sample::select(seeds()), changes).prop_map(|(mut octets, changes)| {
        for (at, octet, how) in changes {
            let at = at.index(octets.len() + 1);
            match how {
                0 | 1 if at < octets.len() => octets[at] = octet,
                2 => octets.insert(at, octet),
                3 => octets.truncate(at),
                _ => {}
            }
        }
        octets
    });
    prop_oneof![4 => changed, 1 => prop::collection::vec(any::<u8>(), 0..600)]
}

#[tokio::test]
async fn a_storm_of_broken_packets_does_not_keep_it_from_answering() {
    let (edge, port) = any_edge("queries_per_client = \"1000000/1s\"").await;
    let mut runner = TestRunner::deterministic();
    let messages: Vec<Vec<u8>> =
        (0..3_000).map(|_| message().new_tree(&mut runner).unwrap().current()).collect();
    for part in messages.chunks(100) {
        answers_to(port, part).await;
    }
    for part in messages.chunks(500) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // It is closed at the first message that is no question.
        let _closed = stream.write_all(&part.concat()).await;
    }
    assert_eq!(short(port, "acme.plat.test SOA").await.len(), 1);
    assert_eq!(short(port, "acme.plat.test SOA +tcp").await.len(), 1);
    assert!(edge.metric("dns_queries_total").await > 3_000.0);
    let log = edge.log();
    assert!(!log.contains("panic") && !log.contains("hickory"), "no packet is worth a line: {log}");
}

#[tokio::test]
async fn a_name_that_no_hostname_can_have_never_reaches_the_store() {
    let (edge, port) = any_edge("").await;
    let before = edge.metric("store_operations_total{operation=\"dns_answers\",result=\"ok\"}").await;
    for name in ["www", "_acme-challenge", "aaaa", "abcdefghijklmnopqrstuvwxyz234561", "a.b", "x"] {
        dig(port, &format!("{name}.acme.plat.test TXT")).await;
    }
    let asked = async || edge.metric("store_operations_total{operation=\"dns_answers\",result=\"ok\"}").await;
    assert_eq!(asked().await, before);
    let question = format!("{LABEL}.acme.plat.test TXT");
    let begin = std::time::Instant::now();
    for _ in 0..20 {
        dig(port, &question).await;
    }
    let seconds = begin.elapsed().as_secs_f64().ceil() + 1.0;
    assert!(asked().await - before <= seconds, "what the store said is kept for a second");
    assert!(Duration::from_secs_f64(seconds) < crate::bed::DEADLINE);
}
