//! Names are looked at before they are ordered, by a real DNS server.

mod bed;

use bed::approval::Behaviour;
use bed::client::Refused;
use bed::house::{House, Plan, house};
use serde_json::json;

/// One that looks at names; `resolver` as the configuration has it.
fn looking(resolver: &str) -> Plan {
    Plan {
        before: format!(
            "[dns]\nresolvers = [\"{resolver}\"]\nedge_addresses = [\"127.0.0.1\"]\n\
             cname_target = \"edge.plat.test\"\n"
        ),
        authority: "caa_identities = [\"pebble.test\"]",
        approval_cache: "1s",
        ..Plan::default()
    }
}

async fn checks(house: &House, result: &str) -> f64 {
    house.edge.metric(&format!("dns_checks_total{{result=\"{result}\"}}")).await
}

#[tokio::test]
async fn a_name_that_leads_here_is_ordered_and_one_that_does_not_costs_no_attempt() {
    let house = house(looking("{dns}")).await;
    house.endpoint.says_to_all_others(Behaviour::Yes);
    assert!(house.edge.handshake("here.test").await.is_ok(), "{}", house.edge.log());
    assert_eq!((checks(&house, "leads").await, house.ca.orders()), (1.0, 1));

    let elsewhere = json!({ "host": "away.test.", "addresses": ["203.0.113.9"] });
    house.ca.set_dns("add-a", elsewhere).await;
    let stray = json!({ "host": "stray.test.", "addresses": ["2001:db8::9"] });
    house.ca.set_dns("add-aaaa", stray).await;
    let policies = json!([{ "tag": "issue", "value": "other.test" }]);
    house.ca.set_dns("add-caa", json!({ "host": "forbidden.test.", "policies": policies })).await;
    let policies =
        json!([{ "tag": "issue", "value": "other.test" }, { "tag": "issue", "value": "pebble.test" }]);
    house.ca.set_dns("add-caa", json!({ "host": "allowed.test.", "policies": policies })).await;
    for (name, why) in [
        (
            "away.test",
            "its A records lead to 203.0.113.9, which is not this edge; let it lead to \
                       edge.plat.test, or 127.0.0.1 and to nothing else",
        ),
        ("stray.test", "its AAAA records lead to 2001:db8::9, which is not this edge"),
        (
            "shop.forbidden.test",
            "a CAA record of forbidden.test allows \\\"other.test\\\" only; \
                                 add one with issue \\\"pebble.test\\\"",
        ),
    ] {
        let refused = house.edge.handshake(name).await.err();
        assert!(matches!(refused, Some(Refused::Alert(112))), "{name}: {refused:?}");
        assert!(house.edge.log().contains(why), "{name}: {}", house.edge.log());
        let again = house.edge.handshake(name).await.err();
        assert!(matches!(again, Some(Refused::Alert(112))), "from memory: {again:?}");
    }
    assert_eq!((checks(&house, "misled").await, house.ca.orders()), (3.0, 1));
    assert!(house.edge.handshake("www.allowed.test").await.is_ok(), "{}", house.edge.log());

    // Corrected, it is served without anybody's doing, soon.
    house.ca.set_dns("clear-a", json!({ "host": "away.test." })).await;
    bed::eventually("it is looked at again", async || house.edge.handshake("away.test").await.is_ok()).await;
    assert_eq!(house.ca.orders(), 3);
}

#[tokio::test]
async fn a_look_up_that_fails_stands_in_nobodys_way() {
    let closed = format!("127.0.0.1:{}", bed::free_port());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for resolver in [closed, silent.local_addr().unwrap().to_string()] {
        let house = house(looking(&resolver)).await;
        house.endpoint.says("shop.test", Behaviour::Yes);
        assert!(house.edge.handshake("shop.test").await.is_ok(), "{}", house.edge.log());
        assert_eq!((checks(&house, "unknown").await, checks(&house, "misled").await), (1.0, 0.0));
    }
    // Nor one that fails for this name alone.
    let house = house(looking("{dns}")).await;
    house.endpoint.says("broken.test", Behaviour::Yes);
    house.ca.break_dns_of("broken.test").await;
    assert!(house.edge.handshake("broken.test").await.is_err(), "the CA cannot look it up either");
    assert_eq!(checks(&house, "unknown").await, 1.0);
    assert!(house.ca.orders() > 0);
}

#[tokio::test]
async fn a_name_whose_dns_has_gone_is_served_to_the_end_then_parked_and_revived() {
    let house = house(Plan { lifetime: Some(40), ..looking("{dns}") }).await;
    house.endpoint.says("moves.test", Behaviour::Yes);
    let first = house.edge.handshake("moves.test").await.unwrap().serial();
    let elsewhere = json!({ "host": "moves.test.", "addresses": ["203.0.113.9"] });
    house.ca.set_dns("add-a", elsewhere).await;
    let renewals =
        async |result: &str| house.edge.metric(&format!("renewals_total{{result=\"{result}\"}}")).await;
    bed::eventually("its renewal is due", async || renewals("misled").await >= 1.0).await;
    assert_eq!(house.edge.handshake("moves.test").await.unwrap().serial(), first, "served as before");
    bed::eventually("it ends", async || house.edge.handshake("moves.test").await.is_err()).await;
    assert_eq!(house.ca.orders(), 1, "nothing was ordered in vain");
    house.ca.set_dns("clear-a", json!({ "host": "moves.test." })).await;
    bed::eventually("it comes back", async || house.edge.handshake("moves.test").await.is_ok()).await;
    assert_eq!(house.ca.orders(), 2);
}
