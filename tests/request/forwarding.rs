//! Header fields on the way to the origin and back.

use std::time::Duration;

use nameplate::domain::site::Hsts;

use crate::bed::{Bed, Scripted, field, status};

#[tokio::test]
async fn the_origin_is_told_who_asked_and_lies_are_replaced() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let answer = edge
        .exchange(
            "GET /p HTTP/1.1\r\nHost: shop.test:8443\r\nConnection: close\r\n\
             Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\n\
             X-Forwarded-Host: evil.test\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /evil\r\n\
             X-Real-IP: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Request-Id: evil\r\nProxy: evil.test\r\n\
             True-Client-IP: 6.6.6.6\r\nX-Harmless: yes\r\n\r\n",
        )
        .await;
    let sent = origin.only();
    assert!(!sent.contains("6.6.6.6") && !sent.contains("evil") && !sent.contains("gopher"), "{sent}");
    assert_eq!(field(&sent, "Host"), Some("shop.test:8443"));
    assert_eq!(field(&sent, "Forwarded"), Some("for=127.0.0.1;host=\"shop.test:8443\";proto=https"));
    assert_eq!(field(&sent, "X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(field(&sent, "X-Real-IP"), None);
    assert_eq!(field(&sent, "X-Forwarded-Proto"), Some("https"));
    assert_eq!(field(&sent, "X-Forwarded-Host"), Some("shop.test:8443"));
    assert_eq!(field(&sent, "X-Forwarded-Port"), None);
    assert_eq!(field(&sent, "X-Harmless"), Some("yes"));
    let id = field(&sent, "X-Request-Id").unwrap();
    assert_eq!(id.len(), 32, "{id}");
    assert_eq!(field(&answer, "X-Request-Id"), Some(id));
}

#[tokio::test]
async fn each_request_has_an_id_of_its_own() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let (one, two) = (edge.get("shop.test", "/").await, edge.get("shop.test", "/").await);
    assert_ne!(field(&one, "X-Request-Id"), field(&two, "X-Request-Id"));
}

#[tokio::test]
async fn fields_of_one_connection_are_not_passed_to_another() {
    let origin = Scripted::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Private\r\n\
         Keep-Alive: timeout=5\r\nX-Private: origin\r\nUpgrade: h2c\r\nProxy-Connection: close\r\n\
         X-Public: origin\r\n\r\nok",
    )
    .await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let mut client = edge.connect().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, X-Hop\r\nX-Hop: client\r\n\
             Keep-Alive: timeout=1\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n\
             TE: trailers\r\nX-End: client\r\n\r\n",
        )
        .await;
    let answer = client.answer(false).await;
    let sent = origin.only();
    for gone in ["X-Hop", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Connection"] {
        assert_eq!(field(&sent, gone), None, "{gone}: {sent}");
    }
    assert_eq!(field(&sent, "X-End"), Some("client"));
    for gone in ["X-Private", "Keep-Alive", "Proxy-Connection", "Upgrade"] {
        assert_eq!(field(&answer, gone), None, "{gone}: {answer}");
    }
    assert_eq!(field(&answer, "X-Public"), Some("origin"));
    assert_eq!(field(&answer, "Connection"), Some("keep-alive"));
}

#[tokio::test]
async fn a_client_cannot_have_the_forwarded_fields_removed() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).start().await;
    let ask = |nominated: &str| {
        edge.exchange(format!("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close, {nominated}\r\n\r\n"))
    };
    assert_eq!(status(&ask("X-Real-IP, Forwarded").await), 200);
    assert_eq!(field(&origin.only(), "X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(status(&ask("X-Forwarded-For").await), 400);
    assert_eq!(status(&ask("Host").await), 400);
}

#[tokio::test]
async fn hsts_is_sent_where_the_site_asks_for_it_and_with_our_own_pages_too() {
    let origin = Scripted::ok().await;
    let mut bed = Bed::shop(&[origin.address]);
    bed.shop_site().hsts =
        Some(Hsts { max_age: Duration::from_secs(600), include_subdomains: false, preload: false });
    let edge = bed.start().await;
    let hsts = |answer: &str| field(answer, "Strict-Transport-Security").map(str::to_owned);
    assert_eq!(hsts(&edge.get("shop.test", "/").await).as_deref(), Some("max-age=600"));
    let page = edge.get("shop.test", "/.well-known/acme-challenge/nobody").await;
    assert_eq!((status(&page), hsts(&page).as_deref()), (404, Some("max-age=600")));

    let edge = Bed::shop(&[origin.address]).start().await;
    assert_eq!(hsts(&edge.get("shop.test", "/").await), None);
}
