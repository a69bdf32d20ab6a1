//! Requests that two readers could read differently reach no origin.

use crate::bed::{Bed, Scripted, field, status};

/// What is wrong, and the request.
const REFUSED: &[(&str, &str)] = &[
    ("no Host", "GET / HTTP/1.1\r\n\r\n"),
    ("empty Host", "GET / HTTP/1.1\r\nHost: \r\n\r\n"),
    ("no Host, HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"),
    (
        "length beside transfer coding",
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "transfer coding beside length",
        "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("bare LF after the request line", "GET / HTTP/1.1\nHost: shop.test\r\n\r\n"),
    ("bare LF after a field", "GET / HTTP/1.1\r\nHost: shop.test\nX: y\r\n\r\n"),
    ("bare LF at the end", "GET / HTTP/1.1\r\nHost: shop.test\r\n\n"),
    ("bare CR in a field", "GET / HTTP/1.1\r\nHost: shop.test\r\nX: a\rb\r\n\r\n"),
    ("NUL in a field", "GET / HTTP/1.1\r\nHost: shop.test\r\nX: a\0b\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: shop.test\r\nHost: other.test\r\n\r\n"),
    ("the same Host twice", "GET / HTTP/1.1\r\nHost: shop.test\r\nHost: shop.test\r\n\r\n"),
    ("target for another host", "GET https://other.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
    ("user information in Host", "GET / HTTP/1.1\r\nHost: me@shop.test\r\n\r\n"),
    ("slash in Host", "GET / HTTP/1.1\r\nHost: shop.test/x\r\n\r\n"),
    ("space in Host", "GET / HTTP/1.1\r\nHost: shop .test\r\n\r\n"),
    ("underscore in Host", "GET / HTTP/1.1\r\nHost: a_b.test\r\n\r\n"),
    ("port that is no number", "GET / HTTP/1.1\r\nHost: shop.test:abc\r\n\r\n"),
    ("port too large", "GET / HTTP/1.1\r\nHost: shop.test:65536\r\n\r\n"),
    ("folded line", "GET / HTTP/1.1\r\nHost: shop.test\r\nX: a\r\n b\r\n\r\n"),
    ("space before a colon", "GET / HTTP/1.1\r\nHost: shop.test\r\nX : a\r\n\r\n"),
    (
        "lengths that differ",
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ),
    ("length with a sign", "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: +3\r\n\r\nabc"),
    ("unknown transfer coding", "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: identity\r\n\r\n"),
    (
        "transfer coding in two layers",
        "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "transfer coding twice",
        "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "transfer coding in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("target without a path", "GET shop HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
    ("target of another scheme", "GET ftp://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
    ("asterisk without OPTIONS", "GET * HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
];

#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_refused_and_reach_no_origin() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).start().await;
    for (what, request) in REFUSED {
        // A request smuggled behind it must not be answered either.
        let smuggled = format!("{request}GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        let answer = edge.exchange(smuggled).await;
        assert_eq!(status(&answer), 400, "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        assert_eq!(field(&answer, "Connection"), Some("close"), "{what}: {answer}");
    }
    assert_eq!(origin.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn connect_is_not_proxied() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let answer = edge.exchange("CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test:443\r\n\r\n").await;
    assert_eq!(status(&answer), 405, "{answer}");
    assert_eq!(origin.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn an_absolute_target_reaches_the_origin_as_a_path() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let answer = edge
        .exchange("GET https://shop.test/a?b=c HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(origin.only().starts_with("GET /a?b=c HTTP/1.1\r\n"), "{}", origin.only());
}

#[tokio::test]
async fn requests_sent_without_waiting_are_answered_in_order() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let answer = edge
        .exchange(
            "POST /1 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\n\r\nabc\
             GET /2 HTTP/1.1\r\nHost: shop.test\r\n\r\n\
             GET /3 HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    let seen = origin.seen();
    for (request, path) in seen.iter().zip(["/1", "/2", "/3"]) {
        assert!(request.contains(&format!(" {path} HTTP/1.1")), "{seen:#?}");
    }
    assert!(seen[0].ends_with("\r\n\r\nabc"), "{seen:#?}");
}
