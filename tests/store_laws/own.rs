//! What every store promises of certificates that organizations bring.

use std::time::Duration;

use nameplate::domain::certificate::{Certificate, KeyFamily, KeyType, Source};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::event::EventKind;
use nameplate::domain::registration::Proof;
use nameplate::domain::revocation::Reason;
use nameplate::store::Revocation;
use nameplate::store::own::{Brought, Stamp};
use nameplate::store::records::Claimed;
use nameplate::store::seal::SealingKey;

use crate::bed::{Bed, assert_same, certificate, laws, name};
use crate::registered::label;

laws!(
    one_of_each_family_is_kept_whole_beside_the_obtained_one,
    one_of_the_same_family_takes_the_place_of_the_one_before,
    only_a_hostname_that_is_held_has_one,
    a_revoked_certificate_is_not_brought_again,
    they_are_taken_away_all_or_by_family,
    they_go_with_their_hostname,
    they_are_found_for_whoever_holds_the_name,
    each_change_is_told_to_every_machine,
    a_name_with_an_own_certificate_alone_has_a_certificate,
    a_fallback_is_due_before_the_end_unless_there_is_one,
    a_longer_chain_of_the_same_leaf_is_told_from_the_one_before,
    a_wildcard_has_a_fallback_as_other_names_have,
    each_that_ends_soon_is_told_of_once,
    they_are_counted_by_their_end,
    a_damaged_one_is_kept_aside_alone,
    they_are_sealed_anew,
    what_a_machine_kept_comes_back_under_its_organization,
);

const SHOP: &str = "shop.test";
const DAY: u64 = 24 * 60 * 60;

/// Of an organization, valid for so many days from now.
fn own(bed: &Bed, organization: &str, key_type: KeyType, days: u64) -> Certificate {
    let begin = bed.clock.now();
    let mut own = certificate(SHOP, begin.plus(Duration::from_secs(days * DAY)).0);
    own.chain[0] = format!("{organization} {key_type:?} {days}").into_bytes();
    own.validity.not_before = begin;
    own.key_type = key_type;
    own.source = Source::Own(organization.into());
    own
}

async fn bring(bed: &Bed, organization: &str, certificate: &Certificate) -> Brought {
    bed.store.bring_own(&label(organization), certificate, Some("token")).await.unwrap()
}

async fn kept(bed: &Bed, organization: &str, key_type: KeyType, days: u64) -> Certificate {
    let own = own(bed, organization, key_type, days);
    assert_eq!(bring(bed, organization, &own).await, Brought::Kept);
    own
}

async fn found(bed: &Bed) -> Vec<Certificate> {
    bed.store.own_certificates(&name(SHOP)).await.unwrap()
}

async fn remove(bed: &Bed, organization: &str, family: Option<KeyFamily>) -> u64 {
    bed.store.remove_own(&label(organization), &name(SHOP), family, Some("token")).await.unwrap()
}

async fn one_of_each_family_is_kept_whole_beside_the_obtained_one(bed: Bed) {
    bed.register("a", SHOP).await;
    bed.save(&certificate(SHOP, 1_000)).await;
    let rsa = kept(&bed, "a", KeyType::Rsa, 90).await;
    let p384 = kept(&bed, "a", KeyType::P384, 60).await;
    let bed = bed.reopen().await;
    let both = found(&bed).await;
    assert_eq!(both.len(), 2);
    assert_same(&both[0], &p384);
    assert_same(&both[1], &rsa);
    let facts = bed.store.own_facts(&name(SHOP)).await.unwrap();
    assert_eq!(facts.iter().map(|one| one.key_type).collect::<Vec<_>>(), [KeyType::P384, KeyType::Rsa]);
    assert_same(&bed.find(SHOP).await.unwrap(), &certificate(SHOP, 1_000));
    let names = bed.store.own_names().await.unwrap();
    assert_eq!(names.get(&name(SHOP)), Some(&Stamp::of(&both)));
    assert_eq!(bed.count(SHOP, EventKind::CertificateSet).await, 2);
    assert_eq!(bed.events_of(SHOP).await[0].actor.as_deref(), Some("token"));
}

async fn one_of_the_same_family_takes_the_place_of_the_one_before(bed: Bed) {
    bed.register("a", SHOP).await;
    kept(&bed, "a", KeyType::P256, 90).await;
    let newer = kept(&bed, "a", KeyType::P384, 30).await;
    let all = found(&bed).await;
    assert_eq!(all.len(), 1);
    assert_same(&all[0], &newer);
}

async fn only_a_hostname_that_is_held_has_one(bed: Bed) {
    assert_eq!(bring(&bed, "a", &own(&bed, "a", KeyType::P256, 9)).await, Brought::Absent);
    bed.register("a", SHOP).await;
    bed.register("b", SHOP).await;
    assert_eq!(bring(&bed, "b", &own(&bed, "b", KeyType::P256, 9)).await, Brought::NotHeld);
    assert!(found(&bed).await.is_empty());
    assert_eq!(remove(&bed, "b", None).await, 0);
}

async fn a_revoked_certificate_is_not_brought_again(bed: Bed) {
    bed.register("a", SHOP).await;
    let own = own(&bed, "a", KeyType::P256, 9);
    let revocation = Revocation {
        name: name(SHOP),
        leaf: own.chain[0].clone(),
        authority: None,
        reason: Reason::KeyCompromise,
        asked_at: bed.clock.now(),
        not_after: own.validity.not_after,
        next: None,
        failures: 0,
        report: String::new(),
    };
    bed.store.save_revocation(&revocation).await.unwrap();
    assert_eq!(bring(&bed, "a", &own).await, Brought::Revoked);
    assert!(found(&bed).await.is_empty());
}

async fn they_are_taken_away_all_or_by_family(bed: Bed) {
    bed.register("a", SHOP).await;
    for key_type in [KeyType::P256, KeyType::Rsa, KeyType::Ed25519] {
        kept(&bed, "a", key_type, 9).await;
    }
    assert_eq!(remove(&bed, "a", Some(KeyFamily::Rsa)).await, 1);
    assert_eq!(remove(&bed, "a", Some(KeyFamily::Rsa)).await, 0);
    assert_eq!(found(&bed).await.len(), 2);
    assert_eq!(remove(&bed, "a", None).await, 2);
    assert!(found(&bed).await.is_empty());
    assert_eq!(bed.count(SHOP, EventKind::CertificateRemoved).await, 2, "what takes nothing away is none");
}

async fn they_go_with_their_hostname(bed: Bed) {
    bed.register("a", SHOP).await;
    kept(&bed, "a", KeyType::P256, 9).await;
    bed.unregister("a", SHOP).await.unwrap();
    assert!(found(&bed).await.is_empty());
    assert_eq!(
        bed.store.claim(&name(SHOP)).await.unwrap().unwrap().organization,
        label("a"),
        "it was served"
    );
    bed.register("a", SHOP).await;
    assert!(found(&bed).await.is_empty(), "and do not come back with it");
    assert_eq!(bed.rows("own_certificates").await, 0);
}

async fn they_are_found_for_whoever_holds_the_name(bed: Bed) {
    bed.register("a", SHOP).await;
    let of_a = kept(&bed, "a", KeyType::P256, 9).await;
    let b = bed.register("b", SHOP).await;
    let before = bed.store.last_own_change().await.unwrap();
    assert_eq!(bed.claim(&b, Proof::Own).await, Claimed::Held);
    assert!(found(&bed).await.is_empty(), "another organization's key serves nobody else");
    assert!(bed.store.own_names().await.unwrap().is_empty());
    assert_eq!(bed.store.own_facts(&name(SHOP)).await.unwrap(), []);
    let told = bed.store.own_changes(before, 9).await.unwrap().unwrap();
    assert!(told.iter().any(|(_, changed)| *changed == name(SHOP)), "{told:?}");
    bed.unregister("b", SHOP).await.unwrap();
    assert_same(&found(&bed).await[0], &of_a);
}

async fn each_change_is_told_to_every_machine(bed: Bed) {
    assert_eq!(bed.store.last_own_change().await.unwrap(), 0);
    bed.register("a", SHOP).await;
    assert_eq!(bed.store.last_own_change().await.unwrap(), 0, "a hostname alone is none");
    let mut last = 0;
    let own = own(&bed, "a", KeyType::P256, 9);
    bring(&bed, "a", &own).await;
    for again in [true, false] {
        let told = bed.store.own_changes(last, 9).await.unwrap().unwrap();
        assert_eq!(told.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), [SHOP]);
        last = told[0].0;
        assert_eq!(bed.store.last_own_change().await.unwrap(), last);
        if again {
            remove(&bed, "a", None).await;
        }
    }
    assert_eq!(bed.store.own_changes(last, 9).await.unwrap(), Some(Vec::new()));
    assert_eq!(bed.store.own_changes(last + 1, 9).await.unwrap(), None, "ahead of the store");
}

async fn a_name_with_an_own_certificate_alone_has_a_certificate(bed: Bed) {
    bed.register("a", SHOP).await;
    kept(&bed, "a", KeyType::P256, 9).await;
    for other in ["a.test", "z.test"] {
        bed.save(&certificate(other, 1_000)).await;
    }
    let names = bed.store.names_after(None, 9).await.unwrap();
    assert_eq!(names, [name("a.test"), name(SHOP), name("z.test")]);
    assert!(bed.find(SHOP).await.is_none());
}

async fn a_fallback_is_due_before_the_end_unless_there_is_one(bed: Bed) {
    bed.register("a", SHOP).await;
    kept(&bed, "a", KeyType::P256, 60).await;
    kept(&bed, "a", KeyType::Rsa, 90).await;
    let due = async |days: u64| {
        let at = bed.clock.now().plus(Duration::from_secs(days * DAY));
        bed.store.due_for_fall_back(at, 9).await.unwrap()
    };
    assert_eq!(due(59).await, [], "the other one lasts longer");
    assert_eq!(due(60).await, [name(SHOP)]);
    let later = bed.clock.now().plus(Duration::from_secs(61 * DAY));
    bed.store.postpone_fall_back(&name(SHOP), later).await.unwrap();
    assert_eq!(due(60).await, []);
    assert_eq!(due(61).await, [name(SHOP)]);
    let mut obtained = certificate(SHOP, bed.clock.now().plus(Duration::from_secs(70 * DAY)).0);
    obtained.validity.not_before = bed.clock.now();
    bed.save(&obtained).await;
    assert_eq!(due(61).await, [], "there is one");
    assert_eq!(due(71).await, [name(SHOP)], "which has ended then");
}

async fn a_longer_chain_of_the_same_leaf_is_told_from_the_one_before(bed: Bed) {
    bed.register("a", SHOP).await;
    let mut own = kept(&bed, "a", KeyType::P256, 60).await;
    let before = bed.store.own_names().await.unwrap()[&name(SHOP)];
    own.chain.push(b"the intermediate".to_vec());
    assert_eq!(bring(&bed, "a", &own).await, Brought::Kept);
    let now = bed.store.own_names().await.unwrap()[&name(SHOP)];
    assert_ne!(now, before);
    assert_eq!(now, Stamp::of(&[own]));
}

async fn a_wildcard_has_a_fallback_as_other_names_have(bed: Bed) {
    let wildcard = "*.shop.test";
    bed.register("a", wildcard).await;
    let own = Certificate { name: name(wildcard), ..own(&bed, "a", KeyType::P256, 90) };
    assert_eq!(bring(&bed, "a", &own).await, Brought::Kept);
    let at = |days: u64| bed.clock.now().plus(Duration::from_secs(days * DAY));
    assert_eq!(bed.store.due_for_fall_back(at(59), 9).await.unwrap(), []);
    assert_eq!(bed.store.due_for_fall_back(at(60), 9).await.unwrap(), [name(wildcard)]);
}

async fn each_that_ends_soon_is_told_of_once(bed: Bed) {
    bed.register("a", SHOP).await;
    kept(&bed, "a", KeyType::P256, 60).await;
    let at = |days: u64| bed.clock.now().plus(Duration::from_secs(days * DAY));
    assert_eq!(bed.store.note_expiring(at(39), 9).await.unwrap(), 0);
    // However often a fallback is put off, its owner is told.
    bed.store.postpone_fall_back(&name(SHOP), at(59)).await.unwrap();
    assert_eq!(bed.store.note_expiring(at(40), 9).await.unwrap(), 1);
    assert_eq!(bed.store.note_expiring(at(41), 9).await.unwrap(), 0);
    let events = bed.events_of(SHOP).await;
    assert_eq!(
        (events[0].kind, &events[0].detail["source"]),
        (EventKind::CertificateExpiring, &"own".into())
    );
    kept(&bed, "a", KeyType::P256, 90).await;
    assert_eq!(bed.store.note_expiring(at(60), 9).await.unwrap(), 1, "the next one in its place is another");
}

async fn they_are_counted_by_their_end(bed: Bed) {
    bed.register("a", SHOP).await;
    let own = kept(&bed, "a", KeyType::P256, 3).await;
    bed.save(&certificate(SHOP, own.validity.not_after.0)).await;
    let now = bed.clock.now();
    let within = async |end: UnixTime| bed.store.ending_between(now, end).await.unwrap();
    assert_eq!(within(own.validity.not_after).await, 2);
    assert_eq!(within(own.validity.not_after.minus(Duration::from_secs(1))).await, 0);
}

async fn a_damaged_one_is_kept_aside_alone(bed: Bed) {
    bed.register("a", SHOP).await;
    kept(&bed, "a", KeyType::P256, 9).await;
    let rsa = kept(&bed, "a", KeyType::Rsa, 9).await;
    bed.change("UPDATE own_certificates SET sealed_key = x'0102' WHERE family = 'ecdsa'").await;
    let error = bed.store.own_certificates(&name(SHOP)).await.unwrap_err();
    assert!(error.is_of_the_record(), "{error}");
    assert_eq!(bed.store.quarantine_own(&name(SHOP), "a test").await.unwrap(), 1);
    let rest = found(&bed).await;
    assert_eq!(rest.len(), 1);
    assert_same(&rest[0], &rsa);
    assert_eq!(bed.rows("own_quarantine WHERE why = 'a test'").await, 1);
    assert_eq!(bed.store.quarantine_own(&name(SHOP), "again").await.unwrap(), 0);
}

async fn they_are_sealed_anew(bed: Bed) {
    bed.register("a", SHOP).await;
    let own = kept(&bed, "a", KeyType::P256, 9).await;
    bed.key.replace_by(&SealingKey::random());
    // The key before it is gone: what it sealed opens no more, and counts as unusable.
    assert_eq!(bed.store.reseal("", 9).await.unwrap().unusable, 1);
    bring(&bed, "a", &own).await;
    let sealed = bed.store.reseal("", 9).await.unwrap();
    assert_eq!((sealed.resealed, sealed.unusable), (0, 0));
    assert_same(&found(&bed).await[0], &own);
}

async fn what_a_machine_kept_comes_back_under_its_organization(bed: Bed) {
    let own = own(&bed, "a", KeyType::P256, 9);
    assert_eq!(bed.store.import(std::slice::from_ref(&own)).await.unwrap().filed, 1);
    assert_eq!(bed.store.last_change().await.unwrap(), 0, "hostnames come back behind it");
    assert_same(&found(&bed).await[0], &own);
    assert!(bed.find(SHOP).await.is_none());
    bed.register("a", SHOP).await;
    assert_same(&found(&bed).await[0], &own);
    let newer = kept(&bed, "a", KeyType::P256, 10).await;
    assert_eq!(
        bed.store.import(std::slice::from_ref(&own)).await.unwrap().filed,
        0,
        "one that is there stays"
    );
    assert_same(&found(&bed).await[0], &newer);
}
