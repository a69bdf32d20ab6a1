//! Plain HTTP: challenges, redirects, refusals.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::bed::{field, plain, soon, status};

#[tokio::test]
async fn a_redirect_keeps_path_and_query_and_leads_to_the_same_host() {
    let edge = plain(443).await;
    let to = |request: &str| {
        let request = format!("{request}Connection: close\r\n\r\n");
        let answer = edge.exchange(request);
        async move {
            let answer = answer.await;
            (status(&answer), field(&answer, "Location").unwrap_or_default().to_owned())
        }
    };
    let moved = |url: &str| (301, url.to_owned());
    for (request, url) in [
        ("GET /a/b?c=d&e HTTP/1.1\r\nHost: shop.test\r\n", "https://shop.test/a/b?c=d&e"),
        ("HEAD / HTTP/1.1\r\nHost: Shop.Test:80\r\n", "https://shop.test/"),
        ("GET //evil.test/x HTTP/1.1\r\nHost: shop.test\r\n", "https://shop.test//evil.test/x"),
        ("GET /\\evil.test HTTP/1.1\r\nHost: shop.test\r\n", "https://shop.test/\\evil.test"),
        ("GET /@evil.test HTTP/1.1\r\nHost: shop.test\r\n", "https://shop.test/@evil.test"),
        ("GET http://shop.test/x?y HTTP/1.1\r\nHost: shop.test\r\n", "https://shop.test/x?y"),
        ("GET http://shop.test HTTP/1.1\r\nHost: shop.test\r\n", "https://shop.test/"),
        ("GET /%0d%0aX:y HTTP/1.1\r\nHost: shop.test\r\n", "https://shop.test/%0d%0aX:y"),
        ("GET / HTTP/1.0\r\nHost: shop.test\r\n", "https://shop.test/"),
    ] {
        assert_eq!(to(request).await, moved(url), "{request}");
    }
    let post = to("POST /p HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n").await;
    assert_eq!(post, (308, "https://shop.test/p".to_owned()));
    assert_eq!(edge.metric("nameplate_redirects_total"), 10.0);
}

#[tokio::test]
async fn a_port_other_than_443_is_named() {
    let edge = plain(8443).await;
    let answer = edge.get("shop.test:8080", "/x").await;
    assert_eq!(field(&answer, "Location"), Some("https://shop.test:8443/x"));
}

#[tokio::test]
async fn odd_hosts_are_400_and_never_a_redirect() {
    let edge = plain(443).await;
    for host in [
        "",
        "127.0.0.1",
        "[::1]",
        "[2001:db8::1]:80",
        "a..b",
        "a_b.test",
        "shop.test/x",
        "*.test",
        "shop.test:x",
        "evil.test#shop.test",
        "user@shop.test",
        "-a.test",
        "shop.test, evil.test",
    ] {
        let answer = edge.get(host, "/").await;
        assert_eq!((status(&answer), field(&answer, "Location")), (400, None), "{host}: {answer}");
    }
    let answer = edge.exchange("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&answer), 400, "{answer}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_and_not_redirected() {
    let edge = plain(443).await;
    for (host, expected) in [
        ("denied.shop.test", 404),
        ("unasked.shop.test", 503),
        ("busy.shop.test", 503),
        ("pending.shop.test", 503),
    ] {
        let answer = edge.get(host, "/").await;
        assert_eq!((status(&answer), field(&answer, "Location")), (expected, None), "{host}: {answer}");
        assert!(!answer.contains("secret words"), "{answer}");
    }
    assert_eq!(edge.metric(r#"nameplate_unknown_names_refused_total{reason="denied"}"#), 1.0);
    assert_eq!(edge.metric("nameplate_redirects_total"), 0.0);
}

#[tokio::test]
async fn a_page_about_a_certificate_being_made_tries_again_by_itself() {
    let edge = plain(443).await;
    let page = edge.get("pending.shop.test", "/").await;
    assert_eq!(field(&page, "Retry-After"), Some("3"));
    assert_eq!(field(&page, "Cache-Control"), Some("no-store"));
    assert!(page.contains("<meta http-equiv=\"refresh\" content=\"3\">"), "{page}");
    let json = edge
        .exchange(
            "GET / HTTP/1.1\r\nHost: pending.shop.test\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(json.contains("\"code\":\"certificate_pending\""), "{json}");
}

#[tokio::test]
async fn challenges_are_answered_and_never_redirected() {
    let edge = plain(443).await;
    let path = |token: &str| format!("/.well-known/acme-challenge/{token}");
    let answer = edge.get("denied.shop.test", &path("known")).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.ends_with("\r\n\r\nknown.thumbprint"), "{answer}");
    for token in ["unknown", "", "known/../known", "known/", "a%2fb", &"k".repeat(200)] {
        let answer = edge.get("shop.test", &path(token)).await;
        assert_eq!((status(&answer), field(&answer, "Location")), (404, None), "{token}: {answer}");
    }
    let line = |result| format!(r#"nameplate_challenges_answered_total{{result="{result}",type="http-01"}}"#);
    // What has the form of a token is counted where it is looked up.
    assert_eq!((edge.metric(&line("answered")), edge.metric(&line("unknown"))), (0.0, 5.0));
}

#[tokio::test]
async fn the_short_way_and_the_long_way_give_the_same_answer() {
    let edge = plain(8443).await;
    let answer = async |more: &str| {
        let mut client = edge.connect().await;
        client.send(format!("GET /a?b HTTP/1.1\r\nHost: Shop.Test:80\r\n{more}\r\n")).await;
        let answer = client.answer(false).await;
        let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
        for line in
            lines.iter_mut().filter(|line| line.starts_with("x-request-id: ") || line.starts_with("Date: "))
        {
            let name = line.split(' ').next().unwrap();
            *line = format!("{name} {} octets", line.len());
        }
        lines.sort();
        lines
    };
    let short = answer("").await;
    assert!(short.contains(&"location: https://shop.test:8443/a?b".to_owned()), "{short:#?}");
    assert_eq!(short, answer("Connection: Keep-Alive, x\r\n").await);
    assert_eq!(short, answer("Expect: nothing\r\n").await);
    assert_eq!(
        edge.metric(r#"nameplate_http_requests_total{listener="http",site="",status_class="3xx"}"#),
        3.0
    );
}

#[tokio::test]
async fn requests_of_all_ways_come_by_one_connection_alone_together_and_in_pieces() {
    let edge = plain(443).await;
    let mut client = edge.connect().await;
    let get = |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for _ in 0..2 {
        client.send(get("shop.test", "/")).await;
        assert_eq!(status(&client.answer(false).await), 301);
    }
    let challenge = get("shop.test", "/.well-known/acme-challenge/known");
    client
        .send([get("shop.test", "/1"), get("shop.test", "/2"), challenge, get("later.test", "/4")].concat())
        .await;
    for place in ["https://shop.test/1", "https://shop.test/2"] {
        assert_eq!(field(&client.answer(false).await, "Location"), Some(place));
    }
    assert_eq!(status(&client.answer(false).await), 200);
    assert_eq!(field(&client.answer(false).await, "Location"), Some("https://later.test/4"));
    for piece in ["GET /5 HTTP/1.1\r\nHo", "st: shop.test\r\n", "\r\n"] {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(field(&client.answer(false).await, "Location"), Some("https://shop.test/5"));

    let mut client = edge.connect().await;
    client.send("GET /6 HTTP/1.1\r\nHo").await;
    tokio::task::yield_now().await;
    client.send("st: shop.test\r\n\r\n").await;
    assert_eq!(field(&client.answer(false).await, "Location"), Some("https://shop.test/6"));
}

#[tokio::test]
async fn a_client_that_reads_late_gets_every_answer() {
    const REQUESTS: usize = 20_000;
    let edge = plain(443).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let (mut reader, mut writer) = socket.connect(edge.address).await.unwrap().into_split();
    let (mut more, mut read) = (true, Vec::new());
    let sending = tokio::spawn(async move {
        for _ in 0..REQUESTS - 1 {
            writer.write_all(b"GET /path HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.unwrap();
        }
        writer.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").await.unwrap();
        writer
    });
    while more {
        let mut piece = vec![0; 1024];
        let count = soon("an answer", reader.read(&mut piece)).await.unwrap();
        read.extend_from_slice(&piece[..count]);
        more = count > 0;
    }
    drop(soon("all is sent", sending).await.unwrap());
    let answers = String::from_utf8(read).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 301 Moved Permanently\r\n").count(), REQUESTS);
}
