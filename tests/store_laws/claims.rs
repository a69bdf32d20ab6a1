//! What every store promises of whose a name is.

use std::time::Duration;

use nameplate::domain::clock::Clock;
use nameplate::domain::event::EventKind;
use nameplate::domain::registration::{Claim, Proof};
use nameplate::store::records::Claimed;

use crate::bed::{Bed, certificate, laws, name};
use crate::registered::label;

laws!(
    who_registers_a_name_first_holds_it,
    of_two_whose_dns_leads_here_the_first_holds_the_name,
    a_proof_of_its_own_goes_before_dns,
    of_two_proofs_of_their_own_the_first_stands_until_it_is_gone,
    a_claim_stays_when_its_hostname_is_deleted,
    a_name_that_was_served_is_claimed_for_its_holder_when_it_is_deleted,
    a_name_that_was_not_served_or_not_held_is_claimed_for_nobody_when_it_is_deleted,
    a_claim_that_was_deleted_with_its_hostname_yields_to_a_proof_of_its_own,
    a_name_that_nobody_holds_or_claims_is_taken_by_dns,
    a_claim_grows_with_its_proof_and_keeps_its_beginning,
    whoever_loses_a_name_is_told_and_looked_at,
    a_hostname_that_is_gone_claims_nothing,
);

const SHOP: &str = "shop.test";

async fn claimed(bed: &Bed) -> Option<(String, Proof)> {
    let claim = bed.store.claim(&name(SHOP)).await.unwrap();
    claim.map(|claim| (claim.organization.to_string(), claim.proof))
}

async fn who_registers_a_name_first_holds_it(bed: Bed) {
    bed.register("a", SHOP).await;
    bed.register("b", SHOP).await;
    assert_eq!(bed.holder(SHOP).await.as_deref(), Some("a"));
    assert_eq!(claimed(&bed).await, None, "it has shown nothing yet");
}

async fn of_two_whose_dns_leads_here_the_first_holds_the_name(bed: Bed) {
    let (a, b) = (bed.register("a", SHOP).await, bed.register("b", SHOP).await);
    assert_eq!(bed.claim(&b, Proof::Dns).await, Claimed::Anothers(Proof::Dns));
    assert_eq!((bed.holder(SHOP).await.as_deref(), claimed(&bed).await), (Some("a"), None));
    assert_eq!(bed.claim(&a, Proof::Dns).await, Claimed::Held);
    assert_eq!(bed.claim(&b, Proof::Dns).await, Claimed::Anothers(Proof::Dns));
    assert_eq!(bed.store.claim_for(b.id, Proof::Dns, true).await.unwrap(), Claimed::Anothers(Proof::Dns));
    assert_eq!(claimed(&bed).await, Some(("a".into(), Proof::Dns)));
    assert_eq!(bed.holder(SHOP).await.as_deref(), Some("a"));
}

async fn a_proof_of_its_own_goes_before_dns(bed: Bed) {
    let (a, b) = (bed.register("a", SHOP).await, bed.register("b", SHOP).await);
    bed.claim(&a, Proof::Dns).await;
    let before = bed.store.last_change().await.unwrap();
    assert_eq!(bed.claim(&b, Proof::Own).await, Claimed::Held);
    assert_eq!(bed.holder(SHOP).await.as_deref(), Some("b"));
    assert_eq!(claimed(&bed).await, Some(("b".into(), Proof::Own)));
    assert!(!bed.registration("a", SHOP).await.unwrap().holder);
    assert_eq!(bed.changed(before).await, [Some(SHOP.to_owned())], "routing is told");
    assert_eq!(bed.claim(&a, Proof::Dns).await, Claimed::Anothers(Proof::Own));
}

async fn of_two_proofs_of_their_own_the_first_stands_until_it_is_gone(bed: Bed) {
    let (a, b) = (bed.register("a", SHOP).await, bed.register("b", SHOP).await);
    assert_eq!(bed.claim(&a, Proof::Own).await, Claimed::Held);
    assert_eq!(bed.claim(&b, Proof::Own).await, Claimed::Anothers(Proof::Own));
    assert_eq!(bed.holder(SHOP).await.as_deref(), Some("a"));
    assert_eq!(bed.store.claim_for(b.id, Proof::Own, true).await.unwrap(), Claimed::Held);
    assert_eq!(
        (bed.holder(SHOP).await.as_deref(), claimed(&bed).await),
        (Some("b"), Some(("b".into(), Proof::Own)))
    );
}

async fn a_claim_stays_when_its_hostname_is_deleted(bed: Bed) {
    let a = bed.register("a", SHOP).await;
    bed.claim(&a, Proof::Dns).await;
    bed.unregister("a", SHOP).await.unwrap();
    let bed = bed.reopen().await;
    assert_eq!(claimed(&bed).await, Some(("a".into(), Proof::Dns)));
    let b = bed.register("b", SHOP).await;
    assert!(!b.holder, "its DNS may lead here since it was a's");
    assert_eq!(bed.claim(&b, Proof::Dns).await, Claimed::Anothers(Proof::Dns));
    assert_eq!(bed.holder(SHOP).await, None);
    assert!(bed.register("a", SHOP).await.holder, "it is a's still");
}

/// A certificate of the name, as a visit or an import brings one before the first look.
async fn served(bed: &Bed) {
    bed.save(&certificate(SHOP, bed.clock.now().0 + 3_600)).await;
}

async fn a_name_that_was_served_is_claimed_for_its_holder_when_it_is_deleted(bed: Bed) {
    bed.register("a", SHOP).await;
    served(&bed).await;
    assert_eq!(claimed(&bed).await, None);
    bed.clock.advance(Duration::from_secs(10));
    bed.unregister("a", SHOP).await.unwrap();
    let bed = bed.reopen().await;
    let claim = Claim { organization: label("a"), proof: Proof::Dns, since: bed.clock.now() };
    assert_eq!(bed.store.claim(&name(SHOP)).await.unwrap(), Some(claim));
    let b = bed.register("b", SHOP).await;
    assert!(!b.holder, "its DNS may lead here since it was a's");
    assert_eq!(bed.claim(&b, Proof::Dns).await, Claimed::Anothers(Proof::Dns));
    assert_eq!(bed.holder(SHOP).await, None);
    assert_eq!(bed.claim(&b, Proof::Own).await, Claimed::Held, "its owner may show that it is its own");
}

async fn a_name_that_was_not_served_or_not_held_is_claimed_for_nobody_when_it_is_deleted(bed: Bed) {
    bed.register("a", SHOP).await;
    bed.unregister("a", SHOP).await.unwrap();
    assert_eq!(claimed(&bed).await, None, "it was not served");
    bed.register("a", SHOP).await;
    bed.register("b", SHOP).await;
    served(&bed).await;
    bed.unregister("b", SHOP).await.unwrap();
    assert_eq!(claimed(&bed).await, None, "it was a's that was served");
    assert_eq!(bed.holder(SHOP).await.as_deref(), Some("a"));
}

async fn a_claim_that_was_deleted_with_its_hostname_yields_to_a_proof_of_its_own(bed: Bed) {
    let a = bed.register("a", SHOP).await;
    bed.claim(&a, Proof::Dns).await;
    bed.unregister("a", SHOP).await.unwrap();
    let b = bed.register("b", SHOP).await;
    assert_eq!(bed.claim(&b, Proof::Own).await, Claimed::Held);
    assert_eq!(bed.holder(SHOP).await.as_deref(), Some("b"));
    assert!(!bed.register("a", SHOP).await.holder);
}

async fn a_name_that_nobody_holds_or_claims_is_taken_by_dns(bed: Bed) {
    bed.register("a", SHOP).await;
    let b = bed.register("b", SHOP).await;
    bed.unregister("a", SHOP).await.unwrap();
    assert_eq!(bed.holder(SHOP).await, None);
    assert_eq!(bed.claim(&b, Proof::Dns).await, Claimed::Held);
    assert_eq!(
        (bed.holder(SHOP).await.as_deref(), claimed(&bed).await),
        (Some("b"), Some(("b".into(), Proof::Dns)))
    );
}

async fn a_claim_grows_with_its_proof_and_keeps_its_beginning(bed: Bed) {
    let a = bed.register("a", SHOP).await;
    let since = bed.clock.now();
    bed.claim(&a, Proof::Dns).await;
    bed.clock.advance(Duration::from_secs(10));
    bed.claim(&a, Proof::Own).await;
    bed.clock.advance(Duration::from_secs(10));
    assert_eq!(bed.claim(&a, Proof::Dns).await, Claimed::Held);
    let claim = Claim { organization: label("a"), proof: Proof::Own, since };
    assert_eq!(bed.store.claim(&name(SHOP)).await.unwrap(), Some(claim));
    let b = bed.register("b", SHOP).await;
    bed.store.claim_for(b.id, Proof::Own, true).await.unwrap();
    let claim = Claim { organization: label("b"), proof: Proof::Own, since: bed.clock.now() };
    assert_eq!(bed.store.claim(&name(SHOP)).await.unwrap(), Some(claim));
}

async fn whoever_loses_a_name_is_told_and_looked_at(bed: Bed) {
    let (a, b) = (bed.register("a", SHOP).await, bed.register("b", SHOP).await);
    for one in [&a, &b] {
        bed.store.look_again(one.id, bed.clock.now().plus(Duration::from_secs(100))).await.unwrap();
    }
    assert_eq!(bed.due(0).await, [""; 0]);
    bed.claim(&b, Proof::Own).await;
    bed.claim(&b, Proof::Own).await;
    assert_eq!(bed.due(0).await, ["shop.test of a"]);
    let lost: Vec<_> = bed.events_of(SHOP).await;
    let lost: Vec<_> = lost.iter().filter(|event| event.kind == EventKind::HostnameLost).collect();
    assert_eq!(lost.len(), 1);
    assert_eq!((&lost[0].organization, &lost[0].site), (&Some(label("a")), &Some(label("a-site"))));
}

async fn a_hostname_that_is_gone_claims_nothing(bed: Bed) {
    let a = bed.register("a", SHOP).await;
    bed.unregister("a", SHOP).await.unwrap();
    let before = bed.store.last_change().await.unwrap();
    assert!(matches!(bed.claim(&a, Proof::Own).await, Claimed::Anothers(_)));
    assert_eq!((claimed(&bed).await, bed.holder(SHOP).await), (None, None));
    assert_eq!(bed.store.last_change().await.unwrap(), before);
}
