//! Callers with tokens that nobody made.

use std::time::Instant;

use futures::StreamExt;

use crate::house::{House, house};

/// Tokens that were looked up in the store.
const LOOK_UPS: &str = "store_operations_total{operation=\"token\",result=\"ok\"}";
/// Requests of strangers that are looked into at once, and in each second after that.
const STRANGERS: f64 = 50.0;

/// The statuses of calls with these tokens, which are well-formed and made up.
async fn flood(house: &House, count: usize, token: impl Fn(usize) -> String) -> Vec<u16> {
    let call = async |number: usize| {
        let token = token(number);
        let reply = house.call(&token, "GET", "/hostnames", None).await;
        if reply.status == 429 {
            assert_eq!(reply.code(), "too_many_requests");
            assert!(reply.headers.contains_key("retry-after"));
        }
        reply.status
    };
    futures::stream::iter(0..count).map(call).buffer_unordered(20).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_made_up_tokens_does_not_reach_the_store_and_who_called_lately_is_served() {
    const KNOWN: usize = 50;
    let house = house("").await;
    let token = house.token("cats", "read");
    let call = async || house.call(&token, "GET", "/hostnames", None).await.status;
    assert_eq!(call().await, 200, "it calls before the flood");
    let before = house.edge.metric(LOOK_UPS).await;

    let made_up = |number| format!("np_stranger{number:04}_{}", "s".repeat(43));
    let begin = Instant::now();
    let known = async {
        for _ in 0..KNOWN {
            assert_eq!(call().await, 200, "it goes on being served");
        }
    };
    let (statuses, ()) = futures::join!(flood(&house, 600, made_up), known);
    let allowed = STRANGERS * (begin.elapsed().as_secs_f64() + 1.0);

    let count = |status: u16| statuses.iter().filter(|seen| **seen == status).count();
    assert_eq!(count(401) + count(429), statuses.len(), "{statuses:?}");
    assert!(count(429) > 0 && count(401) as f64 <= allowed, "{} of {allowed}", count(401));
    let asked = house.edge.metric(LOOK_UPS).await - before;
    assert_eq!(asked, (count(401) + KNOWN) as f64, "for those that were refused the store did nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_knows_the_identifier_of_a_good_token_is_a_stranger_all_the_same() {
    let house = house("").await;
    let token = house.token("cats", "read");
    assert_eq!(house.call(&token, "GET", "/hostnames", None).await.status, 200);
    let before = house.edge.metric(LOOK_UPS).await;
    let id = token.split('_').nth(1).unwrap();

    let begin = Instant::now();
    let statuses = flood(&house, 600, |number| format!("np_{id}_{}{number:04}", "s".repeat(39))).await;
    let allowed = STRANGERS * (begin.elapsed().as_secs_f64() + 1.0);
    assert!(statuses.contains(&429) && !statuses.contains(&200), "{statuses:?}");
    let asked = house.edge.metric(LOOK_UPS).await - before;
    assert!(asked > 0.0 && asked <= allowed, "{asked} of {allowed}");
}
