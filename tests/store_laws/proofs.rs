//! What every store promises of challenges' answers.

use std::time::Duration;

use nameplate::domain::hostname::Hostname;
use nameplate::store::{ChallengeKind, LEASE_TTL, WrittenRecord};

use crate::bed::{Bed, laws, name};
use crate::postgres_races::machine;

laws!(
    a_published_challenge_is_found_until_it_is_withdrawn,
    an_expired_challenge_is_absent,
    two_answers_of_dns_01_stand_beside_each_other,
    of_other_challenges_the_newest_answer_stands,
    a_written_record_is_abandoned_once_nobody_holds_a_lease_on_its_name,
    written_records_outlive_a_restart,
    one_holder_at_a_time_has_the_lease_on_a_zone,
);

async fn a_published_challenge_is_found_until_it_is_withdrawn(bed: Bed) {
    let token = bed.challenge(ChallengeKind::Http01, "token", 60);
    let hostname = bed.challenge(ChallengeKind::TlsAlpn01, "a.test", 60);
    bed.store.publish_challenge(&token).await.unwrap();
    bed.store.publish_challenge(&hostname).await.unwrap();
    let found = bed.store.challenge(ChallengeKind::Http01, "token").await.unwrap();
    assert_eq!(found, Some(token.clone()));
    assert_eq!(bed.store.challenge(ChallengeKind::TlsAlpn01, "token").await.unwrap(), None);
    bed.store.withdraw_challenge(&token).await.unwrap();
    assert_eq!(bed.store.challenge(ChallengeKind::Http01, "token").await.unwrap(), None);
    let found = bed.store.challenge(ChallengeKind::TlsAlpn01, "a.test").await.unwrap();
    assert_eq!(found, Some(hostname));
}

async fn an_expired_challenge_is_absent(bed: Bed) {
    let challenge = bed.challenge(ChallengeKind::Http01, "token", 60);
    bed.store.publish_challenge(&challenge).await.unwrap();
    let answer = bed.challenge(ChallengeKind::Dns01, "x.acme.test", 60);
    bed.store.publish_challenge(&answer).await.unwrap();
    bed.clock.advance(Duration::from_secs(59));
    assert!(bed.store.challenge(ChallengeKind::Http01, "token").await.unwrap().is_some());
    assert_eq!(bed.store.dns_answers("x.acme.test").await.unwrap(), [answer.answer]);
    bed.clock.advance(Duration::from_secs(1));
    assert!(bed.store.challenge(ChallengeKind::Http01, "token").await.unwrap().is_none());
    assert!(bed.store.dns_answers("x.acme.test").await.unwrap().is_empty());
}

async fn two_answers_of_dns_01_stand_beside_each_other(bed: Bed) {
    let one = bed.challenge(ChallengeKind::Dns01, "x.acme.test", 60);
    let mut other = one.clone();
    other.answer = "for the wildcard".to_owned();
    bed.store.publish_challenge(&one).await.unwrap();
    bed.store.publish_challenge(&other).await.unwrap();
    let mut found = bed.store.dns_answers("x.acme.test").await.unwrap();
    found.sort();
    let mut both = [one.answer.clone(), other.answer.clone()];
    both.sort();
    assert_eq!(found, both);
    bed.store.withdraw_challenge(&one).await.unwrap();
    assert_eq!(bed.store.dns_answers("x.acme.test").await.unwrap(), [other.answer]);
    assert!(bed.store.dns_answers("y.acme.test").await.unwrap().is_empty());
}

async fn of_other_challenges_the_newest_answer_stands(bed: Bed) {
    let old = bed.challenge(ChallengeKind::TlsAlpn01, "a.test", 60);
    let mut new = old.clone();
    new.answer = "newer".to_owned();
    bed.store.publish_challenge(&old).await.unwrap();
    bed.store.publish_challenge(&new).await.unwrap();
    // The order before it withdraws its own answer only.
    bed.store.withdraw_challenge(&old).await.unwrap();
    let found = bed.store.challenge(ChallengeKind::TlsAlpn01, "a.test").await.unwrap();
    assert_eq!(found, Some(new));
}

fn record(raw: &str, value: &str) -> WrittenRecord {
    let owner = format!("_acme-challenge.{}", name(raw).bare());
    WrittenRecord { name: name(raw), zone: "test".into(), owner, value: value.into() }
}

async fn a_written_record_is_abandoned_once_nobody_holds_a_lease_on_its_name(bed: Bed) {
    let (own, wildcard) = (record("a.test", "one"), record("*.a.test", "two"));
    let held = bed.lease("*.a.test").await.unwrap();
    for record in [&own, &wildcard] {
        bed.store.keep_record(record).await.unwrap();
    }
    assert_eq!(bed.store.abandoned_records(10).await.unwrap(), std::slice::from_ref(&own));
    bed.store.forget_record(&own).await.unwrap();
    assert!(bed.store.abandoned_records(10).await.unwrap().is_empty());
    bed.clock.advance(LEASE_TTL);
    assert_eq!(bed.store.abandoned_records(10).await.unwrap(), std::slice::from_ref(&wildcard));
    drop(held);
    bed.store.forget_record(&wildcard).await.unwrap();
    assert!(bed.store.abandoned_records(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_removal_of_an_abandoned_record_is_one_machines_for_a_time() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let left = record("a.test", "one");
    bed.store.keep_record(&left).await.unwrap();
    let (ours, theirs) = tokio::join!(bed.store.abandoned_records(10), other.abandoned_records(10));
    let both = [ours.unwrap(), theirs.unwrap()].concat();
    assert_eq!(both, std::slice::from_ref(&left));
    bed.clock.advance(Duration::from_secs(3 * 60));
    assert_eq!(other.abandoned_records(10).await.unwrap(), [left], "it failed, or its machine is gone");
}

async fn one_holder_at_a_time_has_the_lease_on_a_zone(bed: Bed) {
    let (zone, other): (Hostname, Hostname) = ("a.test".parse().unwrap(), "b.test".parse().unwrap());
    let lease = async |zone: &Hostname| bed.store.lease_zone(zone, LEASE_TTL).await.unwrap();
    let of_the_name = bed.lease("a.test").await;
    let first = lease(&zone).await.expect("that on the hostname is another one");
    assert!(of_the_name.is_some() && lease(&zone).await.is_none() && lease(&other).await.is_some());
    bed.clock.advance(LEASE_TTL);
    let second = lease(&zone).await.expect("the first one ran out");
    assert!(second.token > first.token);
    bed.store.release_zone(&first).await.unwrap();
    assert!(lease(&zone).await.is_none(), "who lost it gives nobody else's back");
    bed.store.release_zone(&second).await.unwrap();
    assert!(lease(&zone).await.is_some());
}

async fn written_records_outlive_a_restart(bed: Bed) {
    let left = record("*.a.test", "two");
    bed.lease("*.a.test").await.unwrap();
    bed.store.keep_record(&left).await.unwrap();
    // Twice is once: an order that is tried again writes the same.
    bed.store.keep_record(&left).await.unwrap();
    let bed = bed.reopen().await;
    bed.clock.advance(LEASE_TTL);
    assert_eq!(bed.store.abandoned_records(10).await.unwrap(), [left]);
}
