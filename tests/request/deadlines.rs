//! Clients that take their time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{Bed, Scripted, soon, status};

const HEADER: Duration = Duration::from_millis(300);

async fn bed(origin: &Scripted) -> Bed {
    let mut bed = Bed::shop(&[origin.address]);
    bed.header = HEADER;
    bed
}

/// Sends one octet of an endless header now and then; returns how long the edge bore it.
async fn drip(client: crate::bed::Client, begin: &str) -> Duration {
    let started = Instant::now();
    let (mut read, mut write) = client.tcp.into_split();
    write.write_all(begin.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while write.write_all(b"x").await.is_ok() {
            tick.tick().await;
        }
    });
    let mut nothing = [0; 64];
    let end = soon("the end of the connection", read.read(&mut nothing)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    dripping.abort();
    started.elapsed()
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off_however_busy_it_is() {
    let origin = Scripted::ok().await;
    let edge = bed(&origin).await.start().await;
    let borne = drip(edge.connect().await, "GET / HTTP/1.1\r\nHost: shop.test\r\nX: ").await;
    assert!(borne >= HEADER && borne < HEADER * 10, "{borne:?}");
}

#[tokio::test]
async fn the_second_header_of_a_connection_has_the_same_deadline() {
    let origin = Scripted::ok().await;
    let edge = bed(&origin).await.start().await;
    let mut client = edge.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(status(&client.answer(false).await), 200);
    let borne = drip(client, "GET /2 HTTP/1.1\r\nX: ").await;
    assert!(borne >= HEADER && borne < HEADER * 10, "{borne:?}");
}

/// Lets twice a header's time pass.
async fn wait() {
    let mut tick = tokio::time::interval(HEADER * 2);
    tick.tick().await;
    tick.tick().await;
}

#[tokio::test]
async fn a_slow_body_and_a_pause_between_requests_are_no_slow_header() {
    let origin = Scripted::ok().await;
    let edge = bed(&origin).await.start().await;
    let mut client = edge.connect().await;
    wait().await;
    // In two pieces, so that the deadline was armed.
    client.send("POST /1 HTTP/1.1\r\nHost: shop.").await;
    tokio::task::yield_now().await;
    client.send("test\r\nContent-Length: 4\r\n\r\nbo").await;
    wait().await;
    client.send("dy").await;
    assert_eq!(status(&client.answer(false).await), 200);
    wait().await;
    client.send("GET /2 HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(status(&client.answer(false).await), 200);
    assert!(origin.seen()[0].ends_with("body"), "{:#?}", origin.seen());
}

#[tokio::test]
async fn an_unused_connection_is_closed_after_the_keep_alive_time() {
    let origin = Scripted::ok().await;
    let mut bed = Bed::shop(&[origin.address]);
    bed.settings.keep_alive = Duration::from_secs(1);
    let edge = bed.start().await;
    let mut client = edge.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    assert_eq!(status(&client.answer(false).await), 200);
    assert_eq!(client.rest().await, "");
}
