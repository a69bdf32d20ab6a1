//! What every store promises of hostnames: how they come, are changed and go.

use std::time::Duration;

use nameplate::domain::clock::Clock;
use nameplate::domain::event::EventKind;
use nameplate::domain::hostname::MAX_OCTETS;
use nameplate::domain::registration::{Redirect, Registration, Settings, State, Via};
use nameplate::store::records::{Changed, NewHostname, Registered};

use crate::bed::{Bed, laws, name};
use crate::registered::{label, new};

laws!(
    a_hostname_is_found_as_it_was_registered,
    the_same_registration_again_changes_nothing,
    a_hostname_of_another_site_is_not_moved,
    two_organizations_may_have_the_same_hostname,
    a_quota_holds_and_a_deleted_hostname_gives_its_place_back,
    an_organizations_own_quota_goes_before_the_general_one,
    what_visitors_bring_is_counted_and_not_refused,
    what_a_customer_was_given_for_a_name_stays_for_ever,
    a_hostname_is_configured_by_whoever_knows_its_version,
    a_deleted_hostname_is_gone_and_returned_as_it_was,
    what_is_done_to_a_hostname_is_told_once,
    the_longest_name_and_wildcards_are_names_too,
    a_listing_has_what_routing_needs,
    listings_are_read_in_the_order_of_their_numbers,
);

fn settings() -> Settings {
    Settings {
        origin: Some("h2c://[::1]:8080".parse().unwrap()),
        redirect: Some(Redirect { to: "other.test".parse().unwrap(), status: 308 }),
        metadata: Some(r#"{"plan":"it's \"big\""}"#.into()),
    }
}

async fn used(bed: &Bed, organization: &str) -> u32 {
    bed.store.organization(&label(organization)).await.unwrap().unwrap().used
}

async fn a_hostname_is_found_as_it_was_registered(bed: Bed) {
    let wanted = NewHostname { settings: settings(), ..new("a", "shop.test") };
    let Registered::Created(created) = bed.try_register(&wanted).await else { panic!("it is new") };
    let now = bed.clock.now();
    assert_eq!(
        (&created.name, &created.organization, &created.site),
        (&wanted.name, &label("a"), &wanted.site)
    );
    assert_eq!((&created.preview, &created.proof), (&wanted.preview, &wanted.proof));
    assert_eq!((created.via, created.holder, created.version), (Via::Api, true, 1));
    assert_eq!((&created.settings, created.created_at, created.updated_at), (&wanted.settings, now, now));
    let standing = &created.standing;
    assert_eq!((standing.state, standing.looked_at, standing.look_at), (State::Waiting, None, now));
    let bed = bed.reopen().await;
    assert_eq!(bed.registration("a", "shop.test").await.as_ref(), Some(&*created));
    assert_eq!(bed.store.holder(&name("shop.test")).await.unwrap(), Some(*created));
    assert_eq!(bed.registration("b", "shop.test").await, None);
    assert_eq!(bed.registration("a", "other.test").await, None);
}

async fn the_same_registration_again_changes_nothing(bed: Bed) {
    let first = bed.register("a", "shop.test").await;
    bed.clock.advance(Duration::from_secs(10));
    let before = bed.store.last_change().await.unwrap();
    let again = NewHostname { settings: settings(), ..new("a", "shop.test") };
    assert_eq!(bed.try_register(&again).await, Registered::Existing(Box::new(first.clone())));
    assert_eq!(bed.registration("a", "shop.test").await, Some(first));
    assert_eq!((used(&bed, "a").await, bed.events_of("shop.test").await.len()), (1, 1));
    assert_eq!(bed.store.last_change().await.unwrap(), before);
}

async fn a_hostname_of_another_site_is_not_moved(bed: Bed) {
    let first = bed.register("a", "shop.test").await;
    let elsewhere = NewHostname { site: label("elsewhere"), ..new("a", "shop.test") };
    assert_eq!(bed.try_register(&elsewhere).await, Registered::OnAnotherSite(label("a-site")));
    assert_eq!(bed.registration("a", "shop.test").await, Some(first));
}

async fn two_organizations_may_have_the_same_hostname(bed: Bed) {
    let (one, other) = (bed.register("a", "shop.test").await, bed.register("b", "shop.test").await);
    assert!(one.holder && !other.holder);
    assert_ne!((one.id, &one.preview, &one.proof), (other.id, &other.preview, &other.proof));
    assert_eq!((used(&bed, "a").await, used(&bed, "b").await), (1, 1));
    bed.unregister("b", "shop.test").await.unwrap();
    assert_eq!(
        bed.registration("a", "shop.test").await.map(|one| (one.id, one.holder)),
        Some((one.id, true))
    );
    assert_eq!((used(&bed, "a").await, used(&bed, "b").await), (1, 0));
}

async fn a_quota_holds_and_a_deleted_hostname_gives_its_place_back(bed: Bed) {
    let register = async |raw: &str| bed.try_register(&NewHostname { quota: 2, ..new("a", raw) }).await;
    register("one.test").await;
    register("two.test").await;
    assert_eq!(register("three.test").await, Registered::QuotaReached(2));
    assert!(matches!(register("two.test").await, Registered::Existing(_)), "it takes no place");
    assert_eq!((used(&bed, "a").await, bed.registration("a", "three.test").await), (2, None));
    bed.unregister("a", "one.test").await.unwrap();
    assert_eq!(bed.unregister("a", "one.test").await, None);
    assert_eq!(used(&bed, "a").await, 1);
    assert!(matches!(register("three.test").await, Registered::Created(_)));
    assert_eq!(register("four.test").await, Registered::QuotaReached(2));
}

async fn an_organizations_own_quota_goes_before_the_general_one(bed: Bed) {
    let register = async |raw: &str| bed.try_register(&NewHostname { quota: 1, ..new("a", raw) }).await;
    bed.store.set_quota(&label("a"), Some(0), None).await.unwrap();
    assert_eq!(register("one.test").await, Registered::QuotaReached(0));
    bed.store.set_quota(&label("a"), Some(2), None).await.unwrap();
    assert!(matches!(register("one.test").await, Registered::Created(_)));
    assert!(matches!(register("two.test").await, Registered::Created(_)));
    bed.store.set_quota(&label("a"), None, None).await.unwrap();
    assert_eq!(register("three.test").await, Registered::QuotaReached(1));
}

async fn what_visitors_bring_is_counted_and_not_refused(bed: Bed) {
    let brought = |raw: &str| NewHostname { via: Via::OnDemand, quota: 1, ..new("a", raw) };
    for raw in ["one.test", "two.test", "three.test"] {
        assert!(matches!(bed.try_register(&brought(raw)).await, Registered::Created(_)), "{raw}");
    }
    assert_eq!(used(&bed, "a").await, 3);
    for raw in ["one.test", "two.test"] {
        bed.unregister("a", raw).await.unwrap();
    }
    let asked = NewHostname { via: Via::Api, ..brought("four.test") };
    assert_eq!(bed.try_register(&asked).await, Registered::QuotaReached(1));
}

async fn what_a_customer_was_given_for_a_name_stays_for_ever(bed: Bed) {
    let first = bed.register("a", "shop.test").await;
    bed.unregister("a", "shop.test").await.unwrap();
    let bed = bed.reopen().await;
    let again = bed.register("a", "shop.test").await;
    assert_eq!((&again.preview, &again.proof), (&first.preview, &first.proof));
    assert!(again.id > first.id, "a number is given once");
    let other = bed.register("b", "shop.test").await;
    assert_ne!((&other.preview, &other.proof), (&first.preview, &first.proof));
}

async fn a_hostname_is_configured_by_whoever_knows_its_version(bed: Bed) {
    let first = bed.register("a", "shop.test").await;
    bed.register("b", "shop.test").await;
    bed.clock.advance(Duration::from_secs(10));
    let set = async |settings: &Settings, based_on| {
        let (a, name) = (label("a"), name("shop.test"));
        bed.store.configure(&a, &name, settings, based_on, Some("token")).await.unwrap()
    };
    let before = bed.store.last_change().await.unwrap();
    let changed =
        Registration { settings: settings(), version: 2, updated_at: bed.clock.now(), ..first.clone() };
    assert_eq!(set(&settings(), Some(1)).await, Changed::Done(changed.clone()));
    assert_eq!(bed.registration("a", "shop.test").await, Some(changed));
    assert_eq!(set(&Settings::default(), Some(1)).await, Changed::Newer(2));
    assert_eq!(bed.changed(before).await, [Some("shop.test".to_owned())], "what was refused is none");
    assert!(matches!(set(&Settings::default(), None).await, Changed::Done(Registration { version: 3, .. })));
    assert_eq!(bed.registration("a", "shop.test").await.unwrap().settings, Settings::default());
    assert_eq!(bed.registration("b", "shop.test").await.unwrap().version, 1);
    let (c, shop) = (label("c"), name("shop.test"));
    let absent = bed.store.configure(&c, &shop, &settings(), None, None).await.unwrap();
    assert_eq!(absent, Changed::Absent);
    assert_eq!(bed.count("shop.test", EventKind::HostnameUpdated).await, 2);
}

async fn a_deleted_hostname_is_gone_and_returned_as_it_was(bed: Bed) {
    let first = bed.register("a", "shop.test").await;
    assert_eq!(bed.unregister("b", "shop.test").await, None);
    let before = bed.store.last_change().await.unwrap();
    assert_eq!(bed.unregister("a", "shop.test").await, Some(first));
    assert_eq!(bed.changed(before).await, [Some("shop.test".to_owned())]);
    assert_eq!(bed.registration("a", "shop.test").await, None);
    assert_eq!(bed.store.holder(&name("shop.test")).await.unwrap(), None);
    assert_eq!(bed.store.listings_of(&name("shop.test")).await.unwrap(), []);
}

async fn what_is_done_to_a_hostname_is_told_once(bed: Bed) {
    bed.register("a", "shop.test").await;
    bed.unregister("a", "shop.test").await.unwrap();
    bed.unregister("a", "shop.test").await;
    let told = bed.events_of("shop.test").await;
    let kinds: Vec<_> = told.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::HostnameDeleted, EventKind::HostnameCreated]);
    for event in told {
        assert_eq!((event.organization, event.site), (Some(label("a")), Some(label("a-site"))));
        assert_eq!((event.actor.as_deref(), event.at), (Some("token"), bed.clock.now()));
    }
}

async fn the_longest_name_and_wildcards_are_names_too(bed: Bed) {
    let longest = format!("{}.test", vec!["a".repeat(61); 4].join("."));
    assert_eq!(longest.len(), MAX_OCTETS - 1);
    for raw in [longest.as_str(), "*.shop.test", "xn--bcher-kva.test"] {
        let registered = bed.register("a", raw).await;
        assert_eq!(bed.registration("a", raw).await, Some(registered));
        assert_eq!(bed.holder(raw).await.as_deref(), Some("a"));
    }
    assert_eq!(bed.holder("www.shop.test").await, None, "a wildcard is a name of its own");
}

async fn a_listing_has_what_routing_needs(bed: Bed) {
    let wanted = NewHostname { settings: settings(), ..new("a", "shop.test") };
    bed.try_register(&wanted).await;
    bed.register("b", "shop.test").await;
    let listings = bed.store.listings_of(&name("shop.test")).await.unwrap();
    let holders: Vec<_> = listings.iter().map(|listing| (listing.site.as_str(), listing.holder)).collect();
    assert_eq!(holders, [("a-site", true), ("b-site", false)]);
    assert_eq!((&listings[0].settings, &listings[0].preview), (&wanted.settings, &wanted.preview));
    assert_eq!(listings[0].name, name("shop.test"));
}

async fn listings_are_read_in_the_order_of_their_numbers(bed: Bed) {
    for raw in ["c.test", "a.test", "b.test", "d.test"] {
        bed.register("a", raw).await;
    }
    bed.unregister("a", "a.test").await.unwrap();
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = bed.store.listings_after(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        seen.extend(page.into_iter().map(|listing| listing.name.to_string()));
    }
    assert_eq!(seen, ["c.test", "b.test", "d.test"]);
}
