//! What every store promises of looks at hostnames, and of changes that routing follows.

use std::time::Duration;

use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::event::EventKind;
use nameplate::domain::registration::{Proof, State};
use nameplate::store::records::Look;
use serde_json::json;

use crate::bed::{Bed, laws, name};
use crate::registered::{label, look};

laws!(
    a_new_hostname_is_due_at_once_and_the_longest_due_comes_first,
    a_look_is_kept_whole,
    a_look_is_told_where_the_state_or_the_reason_of_stuck_has_changed,
    what_else_a_look_found_is_told_with_it,
    a_look_at_a_hostname_that_is_gone_changes_nothing,
    a_look_that_was_asked_for_during_another_one_stays_due,
    of_two_looks_at_once_the_first_that_is_kept_is_told_and_the_other_changes_nothing,
    a_look_during_which_its_name_was_taken_or_given_back_keeps_nothing,
    a_hostname_that_is_looked_at_again_begins_anew,
    whoever_has_the_name_of_a_deleted_hostname_is_looked_at,
    changes_come_in_order_and_in_pages_over_a_restart,
    whoever_is_too_far_behind_reads_everything_again,
    whoever_is_ahead_of_the_store_reads_everything_again,
);

async fn a_new_hostname_is_due_at_once_and_the_longest_due_comes_first(bed: Bed) {
    for raw in ["b.test", "a.test", "c.test"] {
        bed.register("a", raw).await;
        bed.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(bed.due(0).await, ["b.test of a", "a.test of a", "c.test of a"]);
    let first = bed.store.due_for_look(bed.clock.now(), 1).await.unwrap();
    assert_eq!(first[0].name, name("b.test"));
    let later = bed.clock.now().plus(Duration::from_secs(10));
    bed.looked(&first[0], State::Waiting, "", later).await;
    assert_eq!(bed.due(9).await, ["a.test of a", "c.test of a"]);
    assert_eq!(bed.due(10).await, ["a.test of a", "c.test of a", "b.test of a"]);
}

async fn a_look_is_kept_whole(bed: Bed) {
    let registered = bed.register("a", "shop.test").await;
    let mut found = look(&registered, State::Stuck, "its CNAME leads to \"old.test\"", UnixTime(77));
    found.standing.looks = 5;
    found.standing.looked_at = Some(bed.clock.now());
    bed.clock.advance(Duration::from_secs(10));
    bed.store.note_look(registered.id, &found).await.unwrap();
    let bed = bed.reopen().await;
    let kept = bed.registration("a", "shop.test").await.unwrap();
    assert_eq!(kept.standing, found.standing);
    assert_eq!((kept.version, kept.updated_at), (1, registered.updated_at), "its settings are the same");
}

async fn a_look_is_told_where_the_state_or_the_reason_of_stuck_has_changed(bed: Bed) {
    let registered = bed.register("a", "shop.test").await;
    let mut told = bed.events_of("shop.test").await.len();
    for (state, reason, kind) in [
        (State::Waiting, "not yet", None),
        (State::Waiting, "an order is under way", None),
        (State::Stuck, "CAA", Some(EventKind::HostnameStuck)),
        (State::Stuck, "CAA", None),
        (State::Stuck, "no A record", Some(EventKind::HostnameStuck)),
        (State::Serving, "", Some(EventKind::HostnameServing)),
        (State::Serving, "its DNS left", None),
        (State::Waiting, "it ended", Some(EventKind::HostnameWaiting)),
    ] {
        bed.looked(&registered, state, reason, UnixTime(0)).await;
        let events = bed.events_of("shop.test").await;
        assert_eq!(events.len(), told + usize::from(kind.is_some()), "{state:?} {reason}");
        told = events.len();
        if let Some(kind) = kind {
            let newest = &events[0];
            assert_eq!((newest.kind, &newest.detail), (kind, &json!({ "reason": reason })));
            assert_eq!((newest.actor.as_deref(), &newest.site), (None, &Some(label("a-site"))));
        }
    }
}

async fn what_else_a_look_found_is_told_with_it(bed: Bed) {
    let registered = bed.register("a", "shop.test").await;
    let events = vec![(EventKind::HostnameDnsLeft, json!({ "found": ["192.0.2.1"] }))];
    let found = Look { events, ..look(&registered, State::Serving, "", UnixTime(0)) };
    bed.store.note_look(registered.id, &found).await.unwrap();
    let told = bed.events_of("shop.test").await;
    let kinds: Vec<_> = told.iter().map(|event| event.kind).collect();
    let expected = [EventKind::HostnameServing, EventKind::HostnameDnsLeft, EventKind::HostnameCreated];
    assert_eq!(kinds, expected);
    assert_eq!(told[1].detail, json!({ "found": ["192.0.2.1"] }));
}

async fn a_look_at_a_hostname_that_is_gone_changes_nothing(bed: Bed) {
    let registered = bed.register("a", "shop.test").await;
    bed.unregister("a", "shop.test").await.unwrap();
    let again = bed.register("a", "shop.test").await;
    let told = bed.events_of("shop.test").await.len();
    let found = look(&registered, State::Stuck, "", UnixTime(0));
    bed.store.note_look(registered.id, &found).await.unwrap();
    bed.store.look_again(registered.id, UnixTime(9)).await.unwrap();
    assert_eq!(bed.registration("a", "shop.test").await, Some(again));
    assert_eq!(bed.events_of("shop.test").await.len(), told);
}

async fn a_look_that_was_asked_for_during_another_one_stays_due(bed: Bed) {
    let before = bed.register("a", "shop.test").await;
    // Within the second in which the look under way became due.
    let asked_for = before.standing.look_at;
    bed.store.look_again(before.id, asked_for).await.unwrap();
    let later = asked_for.plus(Duration::from_secs(100));
    bed.store.note_look(before.id, &look(&before, State::Stuck, "CAA", later)).await.unwrap();
    let kept = bed.registration("a", "shop.test").await.unwrap().standing;
    assert_eq!((kept.state, kept.reason.as_str()), (State::Stuck, "CAA"), "what it found is kept");
    assert_eq!((kept.look_at, bed.due(0).await), (asked_for, vec!["shop.test of a".to_owned()]));
    assert_eq!(kept.looks, 0, "and that one begins anew");
    bed.looked(&before, State::Stuck, "CAA", later).await;
    assert_eq!((bed.due(99).await.len(), bed.due(100).await.len()), (0, 1), "that one was the one asked for");
}

async fn of_two_looks_at_once_the_first_that_is_kept_is_told_and_the_other_changes_nothing(bed: Bed) {
    let before = bed.register("a", "shop.test").await;
    let later = bed.clock.now().plus(Duration::from_secs(100));
    let events = vec![(EventKind::HostnameDnsReturned, json!({}))];
    let found = Look { events, ..look(&before, State::Serving, "", later) };
    bed.store.note_look(before.id, &found).await.unwrap();
    let kept = bed.registration("a", "shop.test").await;
    let other = Look { standing: look(&before, State::Stuck, "no A record", UnixTime(0)).standing, ..found };
    bed.store.note_look(before.id, &other).await.unwrap();
    assert_eq!(bed.registration("a", "shop.test").await, kept);
    assert_eq!(bed.count("shop.test", EventKind::HostnameDnsReturned).await, 1);
    assert_eq!(bed.count("shop.test", EventKind::HostnameStuck).await, 0);
}

async fn a_look_during_which_its_name_was_taken_or_given_back_keeps_nothing(bed: Bed) {
    let (a, b) = (bed.register("a", "shop.test").await, bed.register("b", "shop.test").await);
    let later = bed.clock.now().plus(Duration::from_secs(100));
    bed.claim(&b, Proof::Own).await;
    for (organization, before) in [("a", &a), ("b", &b)] {
        let now = bed.registration(organization, "shop.test").await.unwrap();
        let told = bed.events_of("shop.test").await.len();
        assert_ne!(now.holder, before.holder);
        let found = look(&now, State::Serving, "", later);
        bed.store.note_look(now.id, &Look { holder: before.holder, ..found.clone() }).await.unwrap();
        assert_eq!(bed.registration(organization, "shop.test").await.as_ref(), Some(&now));
        assert_eq!(bed.events_of("shop.test").await.len(), told, "and nothing is told");
        assert!(bed.due(0).await.contains(&format!("shop.test of {organization}")), "it is looked at again");
        bed.store.note_look(now.id, &found).await.unwrap();
        assert_eq!(bed.registration(organization, "shop.test").await.unwrap().standing.state, State::Serving);
    }
}

async fn a_hostname_that_is_looked_at_again_begins_anew(bed: Bed) {
    let registered = bed.register("a", "shop.test").await;
    let later = bed.clock.now().plus(Duration::from_secs(100));
    bed.looked(&registered, State::Stuck, "CAA", later).await;
    assert_eq!(bed.due(99).await, [""; 0]);
    bed.store.look_again(registered.id, bed.clock.now()).await.unwrap();
    assert_eq!(bed.due(0).await, ["shop.test of a"]);
    let standing = bed.registration("a", "shop.test").await.unwrap().standing;
    assert_eq!((standing.looks, standing.state, standing.reason.as_str()), (0, State::Stuck, "CAA"));
}

async fn whoever_has_the_name_of_a_deleted_hostname_is_looked_at(bed: Bed) {
    bed.register("a", "shop.test").await;
    let other = bed.register("b", "shop.test").await;
    let later = bed.clock.now().plus(Duration::from_secs(100));
    bed.looked(&other, State::Stuck, "it is a's", later).await;
    bed.unregister("a", "shop.test").await.unwrap();
    assert_eq!(bed.due(0).await, ["shop.test of b"]);
}

async fn changes_come_in_order_and_in_pages_over_a_restart(bed: Bed) {
    assert_eq!(bed.store.last_change().await.unwrap(), 0);
    assert_eq!(bed.store.changes_after(0, 9).await.unwrap(), Some(vec![]));
    bed.register("a", "one.test").await;
    bed.register("a", "two.test").await;
    bed.unregister("a", "one.test").await.unwrap();
    let bed = bed.reopen().await;
    let of = |raw: &str| Some(raw.to_owned());
    assert_eq!(bed.changed(0).await, [of("one.test"), of("two.test"), of("one.test")]);
    let first = bed.store.changes_after(0, 2).await.unwrap().unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(bed.changed(first[1].0).await, [of("one.test")]);
    let last = bed.store.last_change().await.unwrap();
    assert_eq!(bed.changed(last).await, []);
}

async fn whoever_is_too_far_behind_reads_everything_again(bed: Bed) {
    for raw in ["one.test", "two.test", "three.test"] {
        bed.register("a", raw).await;
    }
    let all = bed.store.changes_after(0, 9).await.unwrap().unwrap();
    // A fleet's keeps the one that somebody stands at.
    let forgotten = if bed.database.is_some() { "number <" } else { "id <=" };
    bed.change(&format!("DELETE FROM changes WHERE {forgotten} {}", all[1].0)).await;
    assert_eq!(bed.store.changes_after(all[0].0, 9).await.unwrap(), None);
    assert_eq!(bed.changed(all[1].0).await, [Some("three.test".to_owned())]);
    assert_eq!(bed.store.last_change().await.unwrap(), all[2].0);
}

#[tokio::test]
async fn the_embedded_store_knows_its_last_change_when_all_are_forgotten() {
    let bed = Bed::embedded().await;
    bed.register("a", "one.test").await;
    bed.register("a", "two.test").await;
    bed.change("DELETE FROM changes").await;
    assert_eq!(bed.store.changes_after(1, 9).await.unwrap(), None, "also where nothing newer is there");
    assert_eq!(bed.store.last_change().await.unwrap(), 2, "so it goes on from here");
    assert_eq!(bed.store.changes_after(2, 9).await.unwrap(), Some(vec![]));
}

async fn whoever_is_ahead_of_the_store_reads_everything_again(bed: Bed) {
    bed.register("a", "one.test").await;
    assert_eq!(bed.store.changes_after(500, 9).await.unwrap(), None, "the store was begun anew since");
}

#[tokio::test]
async fn old_changes_are_forgotten_as_they_are_read() {
    let bed = Bed::embedded().await;
    let kept = i64::from(nameplate::store::records::CHANGES_KEPT);
    for raw in ["one.test", "two.test"] {
        bed.register("a", raw).await;
    }
    bed.change(&format!("UPDATE sqlite_sequence SET seq = {kept} WHERE name = 'changes'")).await;
    bed.change(&format!("INSERT INTO changes (id) VALUES ({kept})")).await;
    bed.register("a", "three.test").await;
    bed.store.changes_after(kept - 1, 9).await.unwrap();
    assert_eq!(bed.store.changes_after(0, 9).await.unwrap(), None);
    let newest = Some(vec![(kept + 1, Some(name("three.test")))]);
    assert_eq!(bed.store.changes_after(kept, 9).await.unwrap(), newest);
}
