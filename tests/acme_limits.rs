//! An authority's limits, shared by accounts and machines: Pebble, with pebble-challtestsrv for DNS.

mod bed;

use std::time::Duration;

use bed::ca::Ca;
use bed::edge::Edge;
use bed::meddler::{Asked, Meddler, Meddling};
use nameplate::acme::authority::Authorities;
use nameplate::acme::place::Occasion;
use nameplate::acme::{Cause, Error, Failure};
use nameplate::config::{Authority, AuthorityLimits, ChallengeType, Directory, OrderLimits, Rate};
use nameplate::domain::budget::Purpose;
use nameplate::domain::certificate::Certificate;
use nameplate::domain::clock::{Clock, SystemClock};
use nameplate::domain::hostname::CertificateName;
use nameplate::domain::revocation::Reason;

use ChallengeType::Http01;

fn name(text: &str) -> CertificateName {
    text.parse().unwrap()
}

fn failures(error: &Error) -> &[Failure] {
    let Error::Failed { failures, .. } = error else { panic!("{error}") };
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn several_accounts_share_the_orders_and_each_has_its_own_limit() {
    let edge = Edge::start().await;
    let ca = Ca::start(edge.ca_options()).await;
    let per = Duration::from_secs(3_600);
    let limits = OrderLimits { orders: Some(Rate { count: 2, per }), ..OrderLimits::default() };
    let limits = AuthorityLimits::Given(limits);
    let authority = Authority { accounts: 3, limits, ..ca.authority("pebble", &[Http01]) };
    let authorities = edge.authorities(std::slice::from_ref(&authority));
    let mut first = None;
    for number in 0..6 {
        let certificate = authorities.obtain(&name(&format!("n{number}.test"))).await.unwrap();
        first.get_or_insert(certificate);
    }
    assert_eq!((ca.accounts(), ca.orders()), (3, 6));
    let left = edge.metrics.authority_orders_left.with_label_values(&["pebble"]);
    assert_eq!(left.get(), 0);
    let error = authorities.obtain(&name("n6.test")).await.unwrap_err();
    let full = |cause: &Cause| matches!(cause, Cause::LimitReached { for_any: Some(_), .. });
    assert!(full(&failures(&error)[0].cause), "{error}");
    assert!(error.no_room_until().is_some_and(|until| until > SystemClock.now()), "{error}");
    assert_eq!((ca.accounts(), ca.orders()), (3, 6));
    assert_eq!(edge.orders("pebble", "failed"), 0, "nothing was ordered");

    // Only the account that ordered it is heard.
    let leaf = &first.unwrap().chain[0];
    let next_start = edge.authorities(&[authority]);
    next_start.revoke("pebble", leaf, Reason::Superseded).await.unwrap();
    assert_eq!(ca.accounts(), 3, "they are those that are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_an_authority_does_is_every_machines() {
    let edge = Edge::start().await;
    let mut ca = Ca::start(edge.ca_options()).await;
    let machine = || edge.authorities(&[ca.authority("pebble", &[Http01])]);
    let [one, two, three] = [machine(), machine(), machine()];
    for (machine, host) in [(&one, "a.test"), (&two, "b.test"), (&three, "c.test")] {
        machine.obtain(&name(host)).await.unwrap();
    }
    let cause = async |machine: &Authorities| {
        let error = machine.obtain(&name("d.test")).await.unwrap_err();
        let Error::Failed { mut failures, .. } = error else { panic!("{error}") };
        failures.remove(0).cause
    };
    ca.stop();
    assert!(matches!(cause(&one).await, Cause::Unreachable(_)));
    two.look_again("pebble").await.unwrap();
    two.look_again("another").await.unwrap();
    assert!(matches!(cause(&two).await, Cause::Unreachable(_)));
    assert!(matches!(cause(&two).await, Cause::Unreachable(_)), "the third time in the fleet");
    assert!(matches!(cause(&two).await, Cause::LeftAlone { .. }));
    three.look_again("pebble").await.unwrap();
    assert!(matches!(cause(&three).await, Cause::LeftAlone { .. }), "another one's pause is obeyed");
    let up = edge.metrics.authority_up.with_label_values(&["pebble"]);
    assert_eq!(up.get(), 0);

    ca.restart().await;
    one.obtain(&name("d.test")).await.unwrap();
    assert!(matches!(cause(&three).await, Cause::LeftAlone { .. }));
    for machine in [&two, &three] {
        machine.look_again("pebble").await.unwrap();
        machine.obtain(&name("e.test")).await.unwrap();
    }
    assert_eq!(up.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_the_place_of_a_certificate_counts_where_the_authority_does_not_take_it_so() {
    let edge = Edge::start().await;
    let ca = Ca::start(edge.ca_options()).await;
    let meddler = Meddler::start(&ca).await;
    meddler.suggest("{}", "3600");
    let orders = Some(Rate { count: 9, per: Duration::from_secs(3_600) });
    let authority = Authority {
        directory: Directory::Acme(meddler.directory().parse().unwrap()),
        limits: AuthorityLimits::Given(OrderLimits { orders, ..OrderLimits::default() }),
        ..ca.authority("pebble", &[Http01])
    };
    let authorities = edge.authorities(&[authority]);
    let left = edge.metrics.authority_orders_left.with_label_values(&["pebble"]);
    let shop = name("shop.test");
    let renew = async |replaced: &Certificate| {
        // As the saving of its certificate does.
        edge.store.forget_order(&shop).await.unwrap();
        let occasion = Occasion { purpose: Purpose::Renewal, replaced: Some(replaced), lease: None };
        authorities.obtain_for(&shop, occasion).await.unwrap()
    };
    let first = authorities.obtain(&shop).await.unwrap();
    assert_eq!(left.get(), 8);
    let second = renew(&first).await;
    assert_eq!(left.get(), 8, "it is outside of the limits");

    // It makes the order, and says nothing about what it replaces.
    let order = serde_json::json!({
        "status": "pending",
        "identifiers": [{ "type": "dns", "value": "shop.test" }],
        "authorizations": [],
        "finalize": "https://127.0.0.1/finalize",
    });
    meddler.once(Asked::NewOrder, Meddling::Say(201, None, "application/json", order.to_string()));
    let third = renew(&second).await;
    assert_eq!(left.get(), 6, "both orders count");
    renew(&third).await;
    assert_eq!(left.get(), 5);
    let replaced: Vec<bool> = meddler.replaced().iter().map(Option::is_some).collect();
    assert_eq!(replaced, [false, true, true, false, false], "it is not asked for that again");
}
