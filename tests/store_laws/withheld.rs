//! What every store promises of certificates whose hostname was deleted, and of names that have a
//! certificate and no hostname.

use std::time::Duration;

use nameplate::domain::certificate::{Certificate, Source};
use nameplate::domain::clock::Clock;
use nameplate::domain::event::EventKind;
use nameplate::domain::registration::Proof;

use crate::bed::{Bed, assert_same, certificate, laws, name};

laws!(
    the_certificate_of_a_deleted_hostname_is_neither_found_nor_listed_nor_renewed,
    a_certificate_is_withheld_once_nobody_has_its_name,
    a_withheld_certificate_comes_back_while_it_is_valid,
    a_certificate_that_came_back_is_renewed_as_any_other,
    a_wildcard_that_came_back_is_renewed,
    a_saved_certificate_takes_the_place_of_a_withheld_one,
    an_imported_certificate_takes_the_place_of_a_withheld_one,
    what_fails_while_a_certificate_is_withheld_is_no_renewal,
    a_parked_name_is_not_counted_once_its_hostname_is_deleted,
    names_with_a_certificate_or_an_attempt_are_unlisted_until_somebody_has_them,
    a_name_that_somebody_has_is_not_unlisted,
    what_comes_back_for_nobody_is_unlisted,
);

const SHOP: &str = "shop.test";

/// A certificate of a hour from now whose hostname was deleted.
async fn withheld(bed: &Bed, raw: &str) -> Certificate {
    let mut saved = certificate(raw, bed.clock.now().0 + 3_600);
    saved.validity.not_before = bed.clock.now();
    bed.register("a", raw).await;
    bed.save(&saved).await;
    bed.unregister("a", raw).await.unwrap();
    saved
}

async fn bring_back(bed: &Bed, raw: &str) -> bool {
    bed.store.bring_back(&name(raw)).await.unwrap()
}

async fn unlisted(bed: &Bed) -> Vec<String> {
    bed.store.unlisted(100).await.unwrap().iter().map(ToString::to_string).collect()
}

async fn the_certificate_of_a_deleted_hostname_is_neither_found_nor_listed_nor_renewed(bed: Bed) {
    withheld(&bed, SHOP).await;
    let end = bed.clock.now().plus(Duration::from_secs(3_600));
    let bed = bed.reopen().await;
    assert!(bed.find(SHOP).await.is_none());
    assert!(!bed.store.has_certificate(&name(SHOP)).await.unwrap());
    assert!(bed.store.names_after(None, 9).await.unwrap().is_empty());
    assert!(bed.renewals(end, 9).await.is_empty());
    assert!(bed.store.due_for_asking(end, 9).await.unwrap().is_empty());
    assert_eq!(bed.store.renewal_state(&name(SHOP)).await.unwrap(), None);
    assert_eq!(bed.store.late(end).await.unwrap(), (0, None));
    assert_eq!(bed.store.ending_between(bed.clock.now(), end).await.unwrap(), 0);
    assert_eq!(bed.store.note_expiring(end, 9).await.unwrap(), 0);
}

async fn a_certificate_is_withheld_once_nobody_has_its_name(bed: Bed) {
    let (_, b) = (bed.register("a", SHOP).await, bed.register("b", SHOP).await);
    bed.claim(&b, Proof::Own).await;
    bed.save(&certificate(SHOP, bed.clock.now().0 + 3_600)).await;
    bed.unregister("a", SHOP).await.unwrap();
    assert!(bed.find(SHOP).await.is_some(), "it is b's");
    bed.unregister("b", SHOP).await.unwrap();
    assert!(bed.find(SHOP).await.is_none());
}

async fn a_withheld_certificate_comes_back_while_it_is_valid(bed: Bed) {
    assert!(!bring_back(&bed, SHOP).await, "there is none");
    let saved = withheld(&bed, SHOP).await;
    assert!(bring_back(&bed, SHOP).await);
    assert_same(&bed.find(SHOP).await.unwrap(), &saved);
    assert!(!bring_back(&bed, SHOP).await, "it is back");
    let other = withheld(&bed, "other.test").await;
    bed.clock.advance(Duration::from_secs(3_601));
    assert!(!bring_back(&bed, "other.test").await, "it has ended: {:?}", other.validity);
    assert!(bed.find("other.test").await.is_none());
}

async fn a_certificate_that_came_back_is_renewed_as_any_other(bed: Bed) {
    let after = |seconds| bed.clock.now().plus(Duration::from_secs(seconds));
    withheld(&bed, SHOP).await;
    bring_back(&bed, SHOP).await;
    assert_eq!(bed.store.due_for_asking(after(0), 9).await.unwrap(), [name(SHOP)]);
    // Half of so short a life, less a twentieth at most.
    let due = bed.store.renewal_state(&name(SHOP)).await.unwrap().unwrap().due;
    assert!(after(1_600) < due && due <= after(1_800), "{due}");
    assert_eq!(bed.store.late(after(3_600)).await.unwrap(), (1, Some(name(SHOP))));

    let source = Source::Imported;
    let mut imported = Certificate { source, ..certificate("brought.test", after(36_000).0) };
    imported.validity.not_before = after(0);
    bed.register("a", "brought.test").await;
    bed.store.import(&[imported]).await.unwrap();
    bed.unregister("a", "brought.test").await.unwrap();
    bring_back(&bed, "brought.test").await;
    // The other one's question may be somebody's by now.
    let asked = bed.store.due_for_asking(after(0), 9).await.unwrap();
    assert!(!asked.contains(&name("brought.test")), "{asked:?}");
    let due = bed.store.renewal_state(&name("brought.test")).await.unwrap().unwrap().due;
    assert!(after(30_000) < due, "in the last part of its life: {due}");
}

async fn a_wildcard_that_came_back_is_renewed(bed: Bed) {
    withheld(&bed, "*.shop.test").await;
    assert!(bring_back(&bed, "*.shop.test").await);
    assert!(bed.find("*.shop.test").await.is_some());
    let due = bed.store.renewal_state(&name("*.shop.test")).await.unwrap().unwrap().due;
    assert_eq!(bed.renewals(due, 9).await, [name("*.shop.test")]);
}

async fn a_saved_certificate_takes_the_place_of_a_withheld_one(bed: Bed) {
    withheld(&bed, SHOP).await;
    let newer = certificate(SHOP, bed.clock.now().0 + 60);
    bed.register("a", SHOP).await;
    bed.save(&newer).await;
    assert_same(&bed.find(SHOP).await.unwrap(), &newer);
    assert!(!bring_back(&bed, SHOP).await);
    assert_eq!(bed.count(SHOP, EventKind::CertificateIssued).await, 2, "each was its hostname's first");
    assert_eq!(bed.count(SHOP, EventKind::CertificateRenewed).await, 0);
}

async fn an_imported_certificate_takes_the_place_of_a_withheld_one(bed: Bed) {
    withheld(&bed, SHOP).await;
    let sooner = certificate(SHOP, bed.clock.now().0 + 60);
    assert_eq!(bed.store.import(std::slice::from_ref(&sooner)).await.unwrap().filed, 1);
    assert_same(&bed.find(SHOP).await.unwrap(), &sooner);
}

async fn what_fails_while_a_certificate_is_withheld_is_no_renewal(bed: Bed) {
    withheld(&bed, SHOP).await;
    bed.register("a", SHOP).await;
    bed.attempt(SHOP, 1).await;
    assert_eq!(bed.count(SHOP, EventKind::CertificateFailed).await, 1);
    assert_eq!(bed.count(SHOP, EventKind::CertificateRenewalFailed).await, 0);
}

async fn a_parked_name_is_not_counted_once_its_hostname_is_deleted(bed: Bed) {
    bed.register("a", SHOP).await;
    bed.save(&certificate(SHOP, bed.clock.now().0 + 3_600)).await;
    bed.store.park_renewal(&name(SHOP), "it left", bed.clock.now()).await.unwrap();
    assert_eq!(bed.store.parked().await.unwrap(), 1);
    bed.unregister("a", SHOP).await.unwrap();
    assert_eq!(bed.store.parked().await.unwrap(), 0);
    bring_back(&bed, SHOP).await;
    assert_eq!(bed.store.renewal_state(&name(SHOP)).await.unwrap().unwrap().parked, None);
}

async fn names_with_a_certificate_or_an_attempt_are_unlisted_until_somebody_has_them(bed: Bed) {
    let end = bed.clock.now().0 + 3_600;
    bed.save(&certificate("saved.test", end)).await;
    bed.store.import(&[certificate("imported.test", end), certificate("*.wild.test", end)]).await.unwrap();
    bed.attempt("tried.test", 1).await;
    bed.attempt("tried.test", 2).await;
    let bed = bed.reopen().await;
    assert_eq!(unlisted(&bed).await, ["*.wild.test", "imported.test", "saved.test", "tried.test"]);
    assert_eq!(bed.store.unlisted(1).await.unwrap(), [name("*.wild.test")]);
    bed.register("a", "saved.test").await;
    bed.store.forget_unlisted(&name("imported.test")).await.unwrap();
    assert_eq!(unlisted(&bed).await, ["*.wild.test", "tried.test"]);
}

async fn a_name_that_somebody_has_is_not_unlisted(bed: Bed) {
    bed.register("a", SHOP).await;
    bed.save(&certificate(SHOP, bed.clock.now().0 + 3_600)).await;
    bed.attempt(SHOP, 1).await;
    assert_eq!(unlisted(&bed).await, [""; 0]);
    bed.register("b", SHOP).await;
    bed.unregister("a", SHOP).await.unwrap();
    bed.attempt(SHOP, 2).await;
    assert_eq!(
        (unlisted(&bed).await, bed.holder(SHOP).await),
        (vec![], None),
        "b has it, though it does not hold it"
    );
}

async fn what_comes_back_for_nobody_is_unlisted(bed: Bed) {
    for raw in ["back.test", "kept.test", "saved.test", "listed.test"] {
        withheld(&bed, raw).await;
    }
    assert_eq!(unlisted(&bed).await, [""; 0], "they were deleted on purpose");
    bring_back(&bed, "back.test").await;
    bed.save(&certificate("saved.test", bed.clock.now().0 + 60)).await;
    bed.register("a", "listed.test").await;
    bring_back(&bed, "listed.test").await;
    assert_eq!(unlisted(&bed).await, ["back.test", "saved.test"]);
}
