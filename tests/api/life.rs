//! From a call to a hostname that serves.

use std::time::{Duration, Instant};

use crate::house::house;

#[tokio::test(flavor = "multi_thread")]
async fn one_call_is_all_it_takes_where_dns_is_right() {
    let house = house("").await;
    let token = house.token("cats", "write");

    let begin = Instant::now();
    let made = house.register(&token, "Shop.Customer.test.").await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    assert_eq!(made.body["data"]["id"], "shop.customer.test");
    let preview = made.attributes()["preview_hostname"].as_str().unwrap().to_owned();
    house.edge.get(&preview, "/preview").await;
    assert_eq!(house.host_of("/preview"), "shop.customer.test", "the origin sees the custom hostname");
    assert!(begin.elapsed() < Duration::from_secs(1), "its preview took {:?}", begin.elapsed());

    let serving = house.becomes(&token, "shop.customer.test", "serving").await;
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
    assert_eq!(serving["certificates"][0]["authority"], "pebble");
    house.edge.get("shop.customer.test", "/hello").await;
    assert_eq!(house.host_of("/hello"), "shop.customer.test");
    assert_eq!(house.edge.metric("orders_total").await, 1.0);
}
