//! What every store promises of authorities and orders.

use std::time::Duration;

use nameplate::domain::budget::Purpose;
use nameplate::domain::certificate::{KeyType, PrivateKey};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::renewal::Window;
use nameplate::domain::revocation::{Fingerprint, Reason};
use nameplate::store::{Bound, Health, Placed, Revocation, Scope, UnfinishedOrder};

use crate::bed::{Bed, certificate, laws, name};

laws!(
    the_health_of_an_authority_outlives_a_restart,
    who_does_not_know_of_an_authoritys_limit_does_not_end_it,
    orders_are_bounded_for_an_authority_a_domain_and_a_hostname,
    it_is_told_how_many_orders_are_left_and_when_there_is_room_for_any_name,
    renewals_leave_room_to_new_names_and_late_ones_take_it,
    each_account_has_its_own_orders_and_all_share_those_of_a_name_and_a_domain,
    an_order_without_bounds_is_noted_however_many_there_are,
    an_unfinished_order_is_kept_until_its_certificate_is_saved,
    a_window_is_kept_until_another_certificate_is_saved,
    certificates_that_are_replaced_early_are_counted,
    what_is_revoked_stays_revoked_and_is_not_imported_again,
    what_was_noted_while_the_clock_was_ahead_holds_nobody_back,
);

async fn who_does_not_know_of_an_authoritys_limit_does_not_end_it(bed: Bed) {
    let now = bed.clock.now();
    let health = |failures, seconds, reason: &str| Health {
        failures,
        closed_until: now.plus(Duration::from_secs(seconds)),
        reason: reason.into(),
    };
    let (limited, longer) = (health(0, 500, "slow down"), health(0, 900, "slower"));
    let kept = async |saved: &Health| {
        bed.store.save_health("first", saved).await.unwrap();
        bed.store.health("first").await.unwrap().unwrap()
    };
    assert_eq!(kept(&limited).await, limited);
    assert_eq!(kept(&health(0, 0, "")).await, limited, "one that was under way succeeded");
    assert_eq!(kept(&longer).await, longer);
    assert_eq!(kept(&health(1, 0, "down")).await, health(1, 900, "slower"), "and another one failed");
    assert_eq!(kept(&health(0, 0, "")).await, longer, "and the next one succeeded");
    let down = health(3, 930, "down");
    assert_eq!(
        (kept(&down).await, kept(&health(0, 0, "")).await),
        (down, health(0, 0, "")),
        "it is well again"
    );
    let ahead = health(0, 400 * 24 * 60 * 60, "by a clock that was ahead");
    assert_eq!((kept(&ahead).await, kept(&limited).await), (ahead, limited));
}

async fn the_health_of_an_authority_outlives_a_restart(bed: Bed) {
    assert_eq!(bed.store.health("first").await.unwrap(), None);
    let health = Health { failures: 4, closed_until: UnixTime(9), reason: "it is down".into() };
    bed.store.save_health("first", &health).await.unwrap();
    let bed = bed.reopen().await;
    assert_eq!(bed.store.health("first").await.unwrap(), Some(health));
    assert_eq!(bed.store.health("second").await.unwrap(), None);
}

const fn bound(scope: Scope, count: u32, seconds: u64) -> Bound {
    Bound { scope, count, per: Duration::from_secs(seconds) }
}

/// From when on all bounds allow an order by the account; `None`: it is noted.
async fn place(bed: &Bed, authority: &str, account: u32, raw: &str, bounds: &[Bound]) -> Option<UnixTime> {
    match bed.store.place_order(authority, account, &name(raw), bounds).await.unwrap() {
        Placed::Noted { .. } => None,
        Placed::Full { until, .. } => Some(until),
    }
}

async fn orders_are_bounded_for_an_authority_a_domain_and_a_hostname(bed: Bed) {
    let bounds =
        [bound(Scope::Authority, 4, 100), bound(Scope::Domain, 3, 200), bound(Scope::Hostname, 2, 300)];
    let place = async |raw: &str| place(&bed, "first", 0, raw, &bounds).await;
    let begin = bed.clock.now();
    assert_eq!(place("a.shop.test").await, None);
    bed.clock.advance(Duration::from_secs(10));
    assert_eq!(place("a.shop.test").await, None);
    assert_eq!(place("a.shop.test").await, Some(begin.plus(Duration::from_secs(300))), "the hostname");
    assert_eq!(place("b.shop.test").await, None);
    assert_eq!(place("c.shop.test").await, Some(begin.plus(Duration::from_secs(200))), "the domain");
    assert_eq!(place("c.other.test").await, None);
    assert_eq!(place("d.more.test").await, Some(begin.plus(Duration::from_secs(100))), "the authority");
    let elsewhere = super::ledger::place(&bed, "second", 0, "d.more.test", &bounds).await;
    assert_eq!(elsewhere, None, "each authority has its own");
    bed.clock.advance(Duration::from_secs(90));
    assert_eq!(place("d.more.test").await, None, "what was refused counts for nothing");
}

async fn it_is_told_how_many_orders_are_left_and_when_there_is_room_for_any_name(bed: Bed) {
    let bounds = [bound(Scope::Authority, 3, 100), bound(Scope::Hostname, 2, 300)];
    let place = async |raw: &str| bed.store.place_order("first", 0, &name(raw), &bounds).await.unwrap();
    let after = |seconds: i64| Some(UnixTime(1_800_000_000 + seconds));
    assert_eq!(place("a.test").await, Placed::Noted { left: Some(2) });
    assert_eq!(place("a.test").await, Placed::Noted { left: Some(1) });
    let full = Placed::Full { until: UnixTime(1_800_000_300), for_any: None };
    assert_eq!(place("a.test").await, full, "its own limit alone");
    bed.clock.advance(Duration::from_secs(10));
    assert_eq!(place("b.test").await, Placed::Noted { left: Some(0) });
    assert_eq!(place("c.test").await, Placed::Full { until: UnixTime(1_800_000_100), for_any: after(100) });
    let full = Placed::Full { until: UnixTime(1_800_000_300), for_any: after(100) };
    assert_eq!(place("a.test").await, full, "both");
    bed.clock.advance(Duration::from_secs(90));
    assert_eq!(place("c.test").await, Placed::Noted { left: Some(1) });
    let alone = [bound(Scope::Hostname, 9, 300)];
    let placed = bed.store.place_order("first", 0, &name("a.test"), &alone).await.unwrap();
    assert_eq!(placed, Placed::Noted { left: None }, "no bound on all");
}

async fn renewals_leave_room_to_new_names_and_late_ones_take_it(bed: Bed) {
    let all = bound(Scope::Authority, 4, 100);
    let place = async |raw: &str, purpose| place(&bed, "first", 0, raw, &[all.for_purpose(purpose)]).await;
    for raw in ["a.test", "b.test", "c.test"] {
        assert_eq!(place(raw, Purpose::Renewal).await, None);
    }
    assert!(place("d.test", Purpose::Renewal).await.is_some());
    assert_eq!(place("d.test", Purpose::LateRenewal).await, None);
    assert!(place("e.test", Purpose::NewName).await.is_some(), "no more than the limit for anybody");
}

async fn each_account_has_its_own_orders_and_all_share_those_of_a_name_and_a_domain(bed: Bed) {
    let bounds =
        [bound(Scope::Authority, 2, 100), bound(Scope::Domain, 3, 200), bound(Scope::Hostname, 2, 300)];
    let place = async |account, raw: &str| place(&bed, "first", account, raw, &bounds).await;
    assert_eq!(place(0, "a.shop.test").await, None);
    assert_eq!(place(0, "b.shop.test").await, None);
    assert!(place(0, "other.test").await.is_some(), "the first account is full");
    assert_eq!(place(1, "a.shop.test").await, None, "the second one is not");
    let after = |seconds| Some(bed.clock.now().plus(Duration::from_secs(seconds)));
    assert_eq!(place(2, "a.shop.test").await, after(300), "two of one name by two accounts");
    assert_eq!(place(2, "c.shop.test").await, after(200), "three of one domain by two accounts");
    assert_eq!(place(2, "other.test").await, None);
}

async fn an_order_without_bounds_is_noted_however_many_there_are(bed: Bed) {
    let one = [bound(Scope::Authority, 1, 100)];
    assert_eq!(place(&bed, "first", 0, "a.test", &one).await, None);
    assert_eq!(place(&bed, "first", 0, "b.test", &[]).await, None);
    let two = [bound(Scope::Authority, 2, 100)];
    assert!(place(&bed, "first", 0, "c.test", &two).await.is_some(), "both count");
}

async fn an_unfinished_order_is_kept_until_its_certificate_is_saved(bed: Bed) {
    let order = UnfinishedOrder {
        authority: "first".into(),
        account: 3,
        url: "https://ca.test/order/1".into(),
        key: PrivateKey::from_der(b"a key".to_vec()),
        key_type: KeyType::P256,
        placed_at: bed.clock.now(),
    };
    for raw in ["a.test", "b.test"] {
        bed.store.keep_order(&name(raw), &order).await.unwrap();
    }
    let bed = bed.reopen().await;
    let kept = bed.store.kept_order(&name("a.test")).await.unwrap().unwrap();
    assert_eq!((&kept.url, &kept.key, kept.key_type), (&order.url, &order.key, order.key_type));
    assert_eq!((kept.authority.as_str(), kept.account), ("first", 3));
    bed.save(&certificate("a.test", 1_000)).await;
    assert!(bed.store.kept_order(&name("a.test")).await.unwrap().is_none());
    assert!(bed.store.kept_order(&name("b.test")).await.unwrap().is_some());
    bed.store.forget_order(&name("b.test")).await.unwrap();
    assert!(bed.store.kept_order(&name("b.test")).await.unwrap().is_none());
}

async fn a_window_is_kept_until_another_certificate_is_saved(bed: Bed) {
    let now = bed.clock.now();
    bed.save(&certificate("a.test", now.0 + 90_000)).await;
    assert_eq!(bed.store.due_for_asking(now, 9).await.unwrap(), [name("a.test")]);
    let window = Window::new(now, now.plus(Duration::from_secs(10)));
    let (ask, due) = (now.plus(Duration::from_secs(60)), now.plus(Duration::from_secs(5)));
    bed.store.note_window(&name("a.test"), window, ask, Some(due)).await.unwrap();
    assert!(bed.store.due_for_asking(now, 9).await.unwrap().is_empty());
    assert_eq!(bed.store.due_for_asking(ask, 9).await.unwrap(), [name("a.test")]);
    let state = bed.store.renewal_state(&name("a.test")).await.unwrap().unwrap();
    assert_eq!((state.window, state.due), (window, due));
    bed.store.note_window(&name("a.test"), window, ask, None).await.unwrap();
    assert_eq!(bed.store.renewal_state(&name("a.test")).await.unwrap().unwrap().due, due);
    bed.save(&certificate("a.test", now.0 + 90_000)).await;
    assert_eq!(bed.store.renewal_state(&name("a.test")).await.unwrap().unwrap().window, None);
}

async fn certificates_that_are_replaced_early_are_counted(bed: Bed) {
    let early = async || bed.store.renewal_state(&name("a.test")).await.unwrap().unwrap().early;
    let save = async || bed.save(&certificate("a.test", bed.clock.now().0 + 900)).await;
    save().await;
    assert_eq!(early().await, 0);
    bed.clock.advance(Duration::from_secs(100));
    save().await;
    bed.clock.advance(Duration::from_secs(100));
    save().await;
    assert_eq!(early().await, 2);
    bed.clock.advance(Duration::from_secs(600));
    save().await;
    assert_eq!(early().await, 0);
}

async fn what_is_revoked_stays_revoked_and_is_not_imported_again(bed: Bed) {
    let now = bed.clock.now();
    let (one, other) = (certificate("one.test", now.0 + 100), certificate("two.test", now.0 + 100));
    let revocation = |next, failures| Revocation {
        name: name("one.test"),
        leaf: one.chain[0].clone(),
        authority: Some("pebble".into()),
        reason: Reason::KeyCompromise,
        asked_at: now,
        not_after: UnixTime(now.0 + 100),
        next,
        failures,
        report: "it is down".into(),
    };
    bed.store.save_revocation(&revocation(Some(now), 0)).await.unwrap();
    let later = revocation(Some(now.plus(Duration::from_secs(10))), 1);
    bed.store.save_revocation(&later).await.unwrap();
    let bed = bed.reopen().await;
    let to_tell = async |after: u64| {
        bed.store.revocations_to_tell(now.plus(Duration::from_secs(after)), 10).await.unwrap()
    };
    assert_eq!(to_tell(9).await, []);
    assert_eq!(to_tell(10).await, [later], "the newest state, whole");
    assert_eq!(bed.store.revocations_pending().await.unwrap(), 1);
    let known = vec![(Fingerprint::of(&one.chain[0]), name("one.test"), now)];
    assert_eq!(bed.store.revoked(now, now).await.unwrap(), known);
    assert_eq!(bed.store.revoked(now.plus(Duration::from_secs(1)), now).await.unwrap(), []);

    assert_eq!(bed.store.import(&[one.clone(), other]).await.unwrap().filed, 1);
    assert!(bed.store.certificate(&name("one.test")).await.unwrap().is_none());
    assert!(bed.store.certificate(&name("two.test")).await.unwrap().is_some());

    bed.store.save_revocation(&revocation(None, 1)).await.unwrap();
    assert_eq!(bed.store.revocations_pending().await.unwrap(), 0);
    bed.clock.advance(Duration::from_secs(101));
    assert_eq!(bed.store.revoked(UnixTime(0), bed.clock.now()).await.unwrap(), [], "it has ended");
}

async fn what_was_noted_while_the_clock_was_ahead_holds_nobody_back(bed: Bed) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const AHEAD: Duration = Duration::from_secs(40 * 24 * 60 * 60);
    // Of two days, due after one, late after one and a half.
    let end = bed.clock.now().plus(2 * DAY).0;
    bed.save(&certificate("near.test", end)).await;
    bed.clock.advance(DAY * 8 / 5);
    let due = async || bed.renewals(bed.clock.now(), 10).await;
    assert_eq!(due().await, [name("near.test")]);
    bed.clock.advance(AHEAD);
    assert!(bed.lease("held.test").await.is_some());
    let later = bed.clock.now().plus(Duration::from_secs(3600));
    bed.store.postpone_renewal(&name("near.test"), later).await.unwrap();
    bed.clock.set_back(AHEAD);
    assert!(bed.lease("held.test").await.is_some(), "no lease ends in forty days");
    assert_eq!(due().await, [name("near.test")], "nor is a renewal put off for so long");
}
