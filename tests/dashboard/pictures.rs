//! The page of certificates; and how all pages look, for whoever wants to see them.

use serde_json::json;

use crate::browser::{Browser, Setting};
use crate::house::{House, house};

async fn some_of_all(house: &House, token: &str) {
    for name in ["shop.customer.test", "www.bakery.test", "bücher.example", "status.acme.test"] {
        assert_eq!(house.register(token, name).await.status, 201, "{name}");
    }
    house.becomes(token, "shop.customer.test", "serving").await;
    // These lead elsewhere, and their looks find it.
    for (name, address) in [("late.customer.test", "192.0.2.7"), ("moved.shop.test", "192.0.2.8")] {
        house.ca.set_dns("add-a", json!({ "host": format!("{name}."), "addresses": [address] })).await;
        assert_eq!(house.register(token, name).await.status, 201);
        house.becomes(token, name, "waiting").await;
    }
    let body = json!({ "data": { "attributes": { "hostname": "*.wild.test", "metadata": { "plan": "gold", "seats": 12 } } } });
    assert_eq!(house.call(token, "POST", "/sites/default/hostnames", Some(body)).await.status, 201);
    house.becomes(token, "*.wild.test", "stuck").await;
    for name in ["www.bakery.test", "status.acme.test", "xn--bcher-kva.example"] {
        house.becomes(token, name, "serving").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_drawn_by_their_end_and_orders_by_their_hour() {
    let house = house("").await;
    let (operator, token) = (house.token("*", "admin"), house.token("cats", "write"));
    some_of_all(&house, &token).await;
    let browser = Browser::start(&house).await;
    for token in [&operator, &token] {
        browser.sign_in(token).await;
        browser.press("a[href='/certificates']").await;
        browser.says("4 obtained").await;
        assert_eq!(browser.text_of(".bars tbody tr:last-child td.number").await, "4", "they live for years");
        let said = browser.attribute("svg.orders", "aria-label").await;
        assert_eq!(said.as_deref(), Some("In the last 48 hours 4 obtained and 0 failed"));
        browser.says("pebble").await;
        browser.says("certificate.issued").await;
        browser.has_no_complaint().await;
        browser.press("form.out button").await;
        browser.says("Sign in").await;
    }
    looks(&house, &token).await;
}

/// Takes a picture of each page, wide and narrow, light and dark.
async fn looks(house: &House, token: &str) {
    if std::env::var_os("NAMEPLATE_SCREENSHOTS").is_none() {
        return;
    }
    for (size, width, height) in [("desktop", 1280, 900), ("phone", 390, 844)] {
        for (mode, dark) in [("light", false), ("dark", true)] {
            let browser = Browser::with(house, Setting { width, height, dark, scripts: true }).await;
            browser.open("/sign-in").await;
            browser.picture(&format!("sign-in-{size}-{mode}")).await;
            browser.sign_in(token).await;
            browser.says("late.customer.test").await;
            browser.picture(&format!("list-{size}-{mode}")).await;
            for (name, path) in [
                ("serving", "/sites/default/hostnames/xn--bcher-kva.example"),
                ("stuck", "/sites/default/hostnames/*.wild.test"),
                ("waiting", "/sites/default/hostnames/late.customer.test"),
                ("delete", "/sites/default/hostnames/late.customer.test/delete"),
                ("register", "/register"),
                ("certificates", "/certificates"),
                ("events", "/events"),
                ("absent", "/nothing"),
            ] {
                browser.open(path).await;
                browser.picture(&format!("{name}-{size}-{mode}")).await;
            }
        }
    }
}
