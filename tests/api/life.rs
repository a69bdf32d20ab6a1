//! From a call to a hostname that serves, and what comes after.

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::bed::client::Refused;
use crate::bed::eventually;
use crate::house::{House, TARGET, house};

/// Lets a name lead elsewhere.
async fn leads_away(house: &House, name: &str) {
    house.ca.set_dns("add-a", json!({ "host": format!("{name}."), "addresses": ["203.0.113.9"] })).await;
}

/// Lets a name lead here, as all do that nothing was said about.
async fn leads_here(house: &House, name: &str) {
    house.ca.set_dns("clear-a", json!({ "host": format!("{name}.") })).await;
}

/// Looks at what changed, and at names that nobody lists.
const READS: &str = "store_operations_total{operation=\"news_after\",result=\"ok\"}";
const LISTINGS: &str = "store_operations_total{operation=\"unlisted\",result=\"ok\"}";

/// Has a hostname looked at now.
async fn check(house: &House, token: &str, name: &str) {
    let path = format!("/sites/default/hostnames/{name}/check");
    let reply = house.call(token, "POST", &path, None).await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_is_all_it_takes_where_dns_is_right() {
    let house = house("").await;
    let token = house.token("cats", "write");

    let made = house.register(&token, "Shop.Customer.test.").await;
    assert_eq!(made.status, 201, "{:?}", made.body);
    assert_eq!(made.body["data"]["id"], "shop.customer.test");
    assert_eq!(made.headers["location"], "/api/v1/sites/default/hostnames/shop.customer.test");
    let wanted = &made.attributes()["dns"]["records_wanted"][0];
    assert_eq!((&wanted["kind"], &wanted["value"]), (&json!("CNAME"), &json!(TARGET)));
    let preview = made.attributes()["preview_hostname"].as_str().unwrap().to_owned();
    let page = house.edge.get(&preview, "/preview").await;
    assert!(page.to_lowercase().contains("x-robots-tag: noindex"), "{page}");
    assert_eq!(house.host_of("/preview"), "shop.customer.test", "the origin sees the custom hostname");

    let serving = house.becomes(&token, "shop.customer.test", "serving").await;
    assert_eq!(house.ca.orders(), 1, "before anybody visits it");
    assert_eq!(serving["certificates"][0]["authority"], "pebble");
    assert_eq!(
        (&serving["ownership"]["held"], &serving["ownership"]["proof"]),
        (&json!(true), &json!("dns"))
    );
    house.edge.get("shop.customer.test", "/hello").await;
    assert_eq!(house.host_of("/hello"), "shop.customer.test");
    assert_eq!(house.edge.metric("orders_total").await, 1.0);

    let again = house.register(&token, "shop.customer.test").await;
    assert_eq!((again.status, &again.attributes()["state"]), (200, &json!("serving")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_waits_for_its_dns_and_is_ordered_before_anybody_visits_it() {
    let house = house("").await;
    let token = house.token("cats", "write");
    leads_away(&house, "shop.later.test").await;
    house.register(&token, "shop.later.test").await;
    let waiting = async || {
        let reply = house.get(&token, "shop.later.test").await;
        reply.attributes()["dns"]["advice"][0]["code"] == "wrong_target"
    };
    eventually("its DNS was looked at", waiting).await;
    let seen = house.get(&token, "shop.later.test").await;
    assert_eq!(seen.attributes()["state"], "waiting");
    assert!(seen.attributes()["reason"].as_str().unwrap().contains("203.0.113.9"), "{:?}", seen.body);
    assert_eq!(house.ca.orders(), 0, "nothing is ordered for a name that leads elsewhere");

    leads_here(&house, "shop.later.test").await;
    house.becomes(&token, "shop.later.test", "serving").await;
    assert_eq!(house.edge.metric("tls_handshakes_total").await, 0.0, "nobody has visited it");
    house.edge.get("shop.later.test", "/").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_whose_dns_leaves_is_served_and_shown_as_such_and_returns() {
    let house = house("").await;
    let token = house.token("cats", "write");
    house.register(&token, "a.moved.test").await;
    house.becomes(&token, "a.moved.test", "serving").await;

    leads_away(&house, "a.moved.test").await;
    // The resolver keeps an answer for five seconds.
    eventually("it is seen to have left", async || {
        check(&house, &token, "a.moved.test").await;
        let reply = house.get(&token, "a.moved.test").await;
        reply.attributes()["reason"].as_str().unwrap().contains("no longer leads here")
    })
    .await;
    assert_eq!(house.get(&token, "a.moved.test").await.attributes()["state"], "serving");
    house.edge.get("a.moved.test", "/still").await;

    leads_here(&house, "a.moved.test").await;
    eventually("it is seen to be back", async || {
        check(&house, &token, "a.moved.test").await;
        let reply = house.get(&token, "a.moved.test").await;
        reply.attributes()["reason"].as_str().unwrap().contains("renewed by itself")
    })
    .await;
    let events = house.call(&token, "GET", "/events?filter[hostname]=a.moved.test", None).await;
    let kinds: Vec<&str> = events.body["data"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|event| event["attributes"]["kind"].as_str().unwrap())
        .collect();
    let wanted = [
        "hostname.created",
        "certificate.issued",
        "hostname.serving",
        "hostname.dns_left",
        "hostname.dns_returned",
    ];
    assert_eq!(kinds, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_hostname_is_not_served_and_comes_back_with_its_certificate_and_its_records() {
    let house = house("").await;
    let token = house.token("cats", "write");
    let made = house.register(&token, "b.gone.test").await;
    house.becomes(&token, "b.gone.test", "serving").await;
    house.edge.get("b.gone.test", "/").await;

    let gone = house.call(&token, "DELETE", "/sites/default/hostnames/b.gone.test", None).await;
    assert_eq!(gone.status, 204);
    let refused = house.edge.handshake("b.gone.test").await.err();
    assert!(matches!(refused, Some(Refused::Alert(112))), "{refused:?}");
    assert_eq!(house.get(&token, "b.gone.test").await.status, 404);
    let preview = made.attributes()["preview_hostname"].as_str().unwrap();
    house.edge.get(preview, "/after").await;
    assert_eq!(house.host_of("/after"), preview, "its preview shows it no more");

    let again = house.register(&token, "b.gone.test").await;
    assert_eq!(again.status, 201);
    for key in ["preview_hostname", "ownership"] {
        let value = |reply: &crate::house::Reply| match key {
            "ownership" => reply.attributes()[key]["txt_value"].clone(),
            key => reply.attributes()[key].clone(),
        };
        assert_eq!(value(&again), value(&made), "{key} need not be set twice");
    }
    house.becomes(&token, "b.gone.test", "serving").await;
    house.edge.get("b.gone.test", "/").await;
    assert_eq!(house.ca.orders(), 1, "the certificate that was there is used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_deleted_while_its_order_is_under_way_is_not_served() {
    let house = house("").await;
    let token = house.token("cats", "write");
    leads_away(&house, "c.hasty.test").await;
    house.register(&token, "c.hasty.test").await;
    eventually("it was looked at", async || {
        house.get(&token, "c.hasty.test").await.attributes()["checked_at"].is_string()
    })
    .await;
    leads_here(&house, "c.hasty.test").await;
    eventually("its order is under way", async || {
        check(&house, &token, "c.hasty.test").await;
        house.ca.orders() == 1
    })
    .await;
    let gone = house.call(&token, "DELETE", "/sites/default/hostnames/c.hasty.test", None).await;
    assert_eq!(gone.status, 204);
    eventually("nothing is under way", async || house.edge.metric("orders_pending").await == 0.0).await;
    // What came of it is news, and a name that nobody listed.
    for looks in [READS, LISTINGS] {
        let before = house.edge.metric(looks).await;
        eventually("changes were read again", async || house.edge.metric(looks).await > before + 3.0).await;
    }
    let refused = house.edge.handshake("c.hasty.test").await.err();
    assert!(matches!(refused, Some(Refused::Alert(112))), "{refused:?}");
    let operator = house.token("*", "admin");
    let listed = house.call(&operator, "GET", "/hostnames", None).await;
    assert_eq!(listed.body["data"], json!([]), "nor is it back");
}

/// Makes the certificates of these names due, the first one for longest, behind the program's back.
async fn fall_due(house: &House, names: [&str; 2]) {
    let database = house.edge.folder().join("data/store.sqlite");
    let mut connection = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
    let due = "UPDATE certificates SET renew_at = CASE name WHEN ?1 THEN 1 ELSE 2 END WHERE name IN (?1, ?2)";
    let [first, second] = names;
    let due = sqlx::query(due).bind(first).bind(second).execute(&mut connection).await.unwrap();
    assert_eq!(due.rows_affected(), 2);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_deleted_while_it_is_renewed_or_waits_for_that_is_neither_ordered_nor_served() {
    const PENDING: &str = "orders_pending";
    const RENEWALS: &str = "renewals_total";
    // One renewal at a time.
    let house = house("[limits]\norders = 1\n").await;
    let token = house.token("cats", "write");
    let names = ["f.ordered.test", "g.waiting.test"];
    for name in names {
        house.register(&token, name).await;
        house.becomes(&token, name, "serving").await;
        house.edge.get(name, "/").await;
    }
    // The connection to it is there, so that an order only waits.
    house.ca.halt();
    fall_due(&house, names).await;
    eventually("the first one's order is under way", async || house.edge.metric(PENDING).await == 1.0).await;
    for name in names {
        let path = format!("/sites/default/hostnames/{name}");
        assert_eq!(house.call(&token, "DELETE", &path, None).await.status, 204);
    }
    house.ca.resume();
    eventually("both have had their turn", async || house.edge.metric(RENEWALS).await == 2.0).await;
    assert_eq!(house.ca.orders(), 3, "for the second one nothing was ordered");

    let reads = house.edge.metric(READS).await;
    eventually("changes were read again", async || house.edge.metric(READS).await > reads + 3.0).await;
    for name in names {
        let refused = house.edge.handshake(name).await.err();
        assert!(matches!(refused, Some(Refused::Alert(112))), "{name}: {refused:?}");
    }
    for name in names {
        house.register(&token, name).await;
        house.becomes(&token, name, "serving").await;
        house.edge.get(name, "/").await;
    }
    assert_eq!(house.ca.orders(), 3, "what the order gave is there for whoever comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_nobody_registered_are_listed_like_any_other() {
    let endpoint = crate::bed::approval::ApprovalEndpoint::start().await;
    endpoint.says("d.visited.test", crate::bed::approval::Behaviour::Yes);
    let house = house(&format!("[on_demand]\napproval = {:?}\n", endpoint.template())).await;
    let token = house.token("cats", "write");
    house.edge.get("d.visited.test", "/").await;
    let listed = house.becomes(&token, "d.visited.test", "serving").await;
    assert_eq!((&listed["via"], &listed["site"]), (&json!("on_demand"), &json!("default")));

    let registered = house.register(&token, "d.visited.test").await;
    assert_eq!((registered.status, &registered.attributes()["via"]), (201, &json!("api")), "{registered:?}");
    assert_eq!(house.ca.orders(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_registered_hostnames_are_served_with_everything_else_stopped() {
    let mut house = house("").await;
    let token = house.token("cats", "write");
    house.register(&token, "e.kept.test").await;
    house.becomes(&token, "e.kept.test", "serving").await;
    house.edge.get("e.kept.test", "/").await;
    house.ca.stop();
    house.ca.stop_dns();
    let house = house.restarted().await;
    house.edge.get("e.kept.test", "/again").await;
    assert_eq!(house.host_of("/again"), "e.kept.test");
    let token = house.token("cats", "read");
    assert_eq!(house.get(&token, "e.kept.test").await.attributes()["state"], "serving");
}
