//! A resolver between who asks and the zone, as everybody has one.

use crate::bed::bind::Bind;
use crate::bed::{eventually, free_port};
use crate::{LABEL, edge, publish, short};

#[tokio::test]
async fn a_resolver_finds_values_by_the_alias_of_a_customer() {
    let port = free_port();
    let edge = edge(port, "").await;
    let records = format!("_acme-challenge.shop CNAME {LABEL}.acme.plat.test.");
    let bind = Bind::serving(&[("customer.test", records.as_str())]).await;
    let resolver = Bind::between(&bind, &[("acme.plat.test", port)]).await;
    let asked = "_acme-challenge.shop.customer.test TXT";
    let target = format!("{LABEL}.acme.plat.test.");
    assert_eq!(
        short(resolver.port, &format!("{asked} +rec")).await,
        std::slice::from_ref(&target),
        "nothing yet"
    );
    publish(&edge, LABEL, "value").await;
    let begin = std::time::Instant::now();
    let both = ["\"value\"".to_owned(), target];
    eventually("the value", async || short(resolver.port, &format!("{asked} +rec")).await == both).await;
    assert!(begin.elapsed().as_secs() < 10, "that there was nothing is kept for five seconds");
}
