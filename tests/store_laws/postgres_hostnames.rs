//! What machines that share a store may rely on about hostnames, events and webhooks when they do the same
//! at the same moment.

use std::time::Duration;

use futures::future::join_all;
use nameplate::domain::access::Reach;
use nameplate::domain::clock::Clock;
use nameplate::domain::event::EventKind;
use nameplate::domain::registration::{Proof, State};
use nameplate::store::answers::{Keyed, Turn};
use nameplate::store::records::{Claimed, NewHostname, Registered};
use nameplate::store::webhooks::{Outcome, TAKEN, Webhook};
use serde_json::json;

use crate::bed::{Bed, Opened, name, server};
use crate::postgres_races::machine;
use crate::registered::{label, look, new};
use crate::test_bed::eventually;

const SHOP: &str = "shop.test";

async fn note(store: &Opened, number: u32) {
    let detail = json!({ "number": number });
    store.note_event(&label("a"), EventKind::WebhookUpdated, None, &detail).await.unwrap();
}

async fn numbers(bed: &Bed, after: i64) -> Vec<(i64, serde_json::Value)> {
    let events = bed.store.events_after(after, 99).await.unwrap();
    events.into_iter().map(|event| (event.id, event.detail["number"].clone())).collect()
}

pub async fn webhook(bed: &Bed) -> Webhook {
    let webhook = Webhook {
        id: "wh_1".into(),
        organization: label("a"),
        url: "https://hooks.test/".parse().unwrap(),
        secret: "whsec_AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".parse().unwrap(),
        events: Vec::new(),
        disabled: None,
        version: 1,
        created_at: bed.clock.now(),
        updated_at: bed.clock.now(),
    };
    assert!(bed.store.add_webhook(&webhook, None).await.unwrap());
    webhook
}

async fn due(bed: &Bed, store: &Opened) -> Vec<i64> {
    let due = store.due_deliveries(bed.clock.now(), 99).await.unwrap();
    due.into_iter().map(|due| due.delivery.id).collect()
}

/// Works on two machines in turn.
fn each<'a>(number: usize, one: &'a Opened, other: &'a Opened) -> &'a Opened {
    if number.is_multiple_of(2) { one } else { other }
}

#[tokio::test]
async fn what_is_committed_late_is_read_after_what_was_read_before() {
    let bed = Bed::postgres().await;
    let begin = "BEGIN; INSERT INTO fresh_events (at, organization, kind, detail)
                 VALUES (1, 'a', 'webhook.updated', '{\"number\": 1}')";
    let mut first = bed.session(begin).await;
    note(&bed.store, 2).await;
    let read = numbers(&bed, 0).await;
    assert_eq!(read.iter().map(|(_, number)| number).collect::<Vec<_>>(), [&json!(2)]);
    sqlx::raw_sql("COMMIT").execute(&mut first).await.unwrap();
    let rest = numbers(&bed, read[0].0).await;
    assert_eq!(rest.iter().map(|(_, number)| number).collect::<Vec<_>>(), [&json!(1)], "it is not lost");
}

#[tokio::test]
async fn what_many_machines_note_is_read_once_and_in_one_order() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let noting = join_all((0..60).map(|number| note(each(number, &bed.store, &other), number as u32)));
    let reading = async {
        let mut seen: Vec<(i64, serde_json::Value)> = Vec::new();
        while seen.len() < 60 {
            seen.extend(numbers(&bed, seen.last().map_or(0, |last| last.0)).await);
        }
        seen
    };
    let reading = tokio::time::timeout(Duration::from_secs(30), reading);
    let ((), seen) = tokio::join!(async { drop(noting.await) }, reading);
    let seen = seen.expect("none of them is missed");
    assert!(seen.is_sorted_by(|one, next| one.0 < next.0));
    let of: std::collections::HashSet<String> = seen.iter().map(|(_, number)| number.to_string()).collect();
    assert_eq!((seen.len(), of.len()), (60, 60));
    assert_eq!(numbers(&bed, 0).await, seen, "and so it stays");
}

#[tokio::test]
async fn a_hostname_is_looked_at_by_one_machine() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    for number in 0..40 {
        bed.register("a", &format!("h{number}.test")).await;
    }
    let now = bed.clock.now();
    let rounds = (0..8).map(|number| each(number, &bed.store, &other).due_for_look(now, 5));
    let found = join_all(rounds).await.into_iter().flat_map(Result::unwrap);
    let found: std::collections::HashSet<i64> = found.map(|one| one.id).collect();
    let rest = other.due_for_look(now, 99).await.unwrap();
    let ours = bed.store.due_for_look(now, 99).await.unwrap();
    assert!(!ours.is_empty() && ours.iter().all(|one| rest.iter().all(|other| other.id != one.id)));
    assert_eq!((ours.len() + rest.len(), found.len() <= 40), (40, true));

    let later = now.plus(Duration::from_secs(1_000));
    other.note_look(rest[0].id, &look(&rest[0], State::Serving, "", later)).await.unwrap();
    bed.store.look_again(rest[0].id, now).await.unwrap();
    let again = bed.store.due_for_look(now, 99).await.unwrap();
    assert!(again.iter().any(|one| one.id == rest[0].id), "whoever looked at it lets it go");
    bed.clock.advance(Duration::from_secs(60));
    let left = other.due_for_look(bed.clock.now(), 99).await.unwrap();
    assert_eq!(left.len(), 40, "a machine that asks no more holds nothing");
}

#[tokio::test]
async fn a_quota_holds_for_all_machines_together() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let wanted: Vec<_> =
        (0..40).map(|number| NewHostname { quota: 10, ..new("a", &format!("h{number}.test")) }).collect();
    let registers =
        wanted.iter().enumerate().map(|(number, new)| each(number, &bed.store, &other).register(new, None));
    let came = join_all(registers).await;
    let created = came.iter().filter(|one| matches!(one, Ok(Registered::Created(_)))).count();
    let refused = came.iter().filter(|one| matches!(one, Ok(Registered::QuotaReached(10)))).count();
    assert_eq!((created, refused, bed.rows("hostnames").await), (10, 30, 10));
    assert_eq!(bed.store.organization(&label("a")).await.unwrap().unwrap().used, 10);
}

#[tokio::test]
async fn of_many_that_register_one_name_at_once_one_holds_it() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let wanted: Vec<_> = (0..40).map(|number| new(&format!("o{}", number % 20), SHOP)).collect();
    let registers = wanted
        .iter()
        .enumerate()
        .map(|(number, new)| each(number / 20, &bed.store, &other).register(new, None));
    let came: Vec<_> = join_all(registers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(came.iter().filter(|one| matches!(one, Registered::Created(_))).count(), 20);
    assert_eq!(came.iter().filter(|one| matches!(one, Registered::Existing(_))).count(), 20);
    assert_eq!((bed.rows("hostnames WHERE holder").await, bed.rows("hostnames").await), (1, 20));
    assert_eq!(bed.rows("organizations WHERE used = 1").await, 20);
}

#[tokio::test]
async fn of_many_that_claim_one_name_at_once_one_holds_it() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let mut theirs = Vec::new();
    for number in 0..20 {
        theirs.push(bed.register(&format!("o{number}"), SHOP).await);
    }
    let claims = theirs
        .iter()
        .enumerate()
        .map(|(number, one)| each(number, &bed.store, &other).claim_for(one.id, Proof::Own, false));
    let came: Vec<_> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
    let held: Vec<_> = came.iter().zip(&theirs).filter(|(came, _)| **came == Claimed::Held).collect();
    assert_eq!(held.len(), 1);
    let claim = bed.store.claim(&name(SHOP)).await.unwrap().unwrap();
    assert_eq!(claim.organization, held[0].1.organization);
    assert_eq!(bed.holder(SHOP).await.as_deref(), Some(claim.organization.as_str()));
}

#[tokio::test]
async fn the_certificate_of_a_name_that_changes_hands_meanwhile_is_not_withheld() {
    let bed = Bed::postgres().await;
    let a = bed.register("a", SHOP).await;
    let b = bed.register("b", SHOP).await;
    bed.save(&crate::certificate(SHOP, bed.clock.now().0 + 3_600)).await;
    let mut taking = bed
        .session(
            "BEGIN; UPDATE hostnames SET holder = false WHERE organization = 'a';
             UPDATE hostnames SET holder = true WHERE organization = 'b'",
        )
        .await;
    let go_on = async {
        eventually("the deletion waits", async || bed.waiting().await == 1).await;
        sqlx::raw_sql("COMMIT").execute(&mut taking).await.unwrap();
    };
    let (gone, ()) = tokio::join!(bed.unregister("a", SHOP), go_on);
    assert_eq!(gone.map(|gone| (gone.id, gone.holder)), Some((a.id, false)));
    assert!(bed.find(SHOP).await.is_some(), "it is b's");
    assert_eq!(bed.store.holder(&name(SHOP)).await.unwrap().map(|holder| holder.id), Some(b.id));
}

#[tokio::test]
async fn events_are_handed_out_once_and_each_delivery_is_tried_by_one_machine() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    webhook(&bed).await;
    for number in 0..12 {
        let hostname = bed.register("a", &format!("h{number}.test")).await;
        for state in [State::Serving, State::Stuck] {
            bed.looked(&hostname, state, "why", bed.clock.now()).await;
        }
    }
    let hands = join_all((0..8).map(|number| each(number, &bed.store, &other).hand_out(99))).await;
    assert_eq!(hands.into_iter().map(|out| out.unwrap().deliveries).sum::<u32>(), 24);
    let takes = join_all((0..8).map(|number| due(&bed, each(number, &bed.store, &other)))).await;
    let taken: Vec<i64> = takes.into_iter().flatten().collect();
    assert_eq!(taken.len(), 4, "so many of a webhook are under way at once, in the whole fleet: {taken:?}");
    assert_eq!(std::collections::HashSet::<&i64>::from_iter(&taken).len(), 4);

    bed.clock.advance(TAKEN - Duration::from_secs(1));
    assert_eq!(due(&bed, &other).await, [0; 0]);
    bed.clock.advance(Duration::from_secs(1));
    let again = due(&bed, &other).await;
    assert!(again.len() == 4 && again.iter().all(|id| *id < 100), "whoever took them is gone");
    for id in again {
        other.note_delivery(id, &Outcome::Delivered { status: 200 }).await.unwrap();
    }
    assert_eq!((due(&bed, &bed.store).await.len(), bed.store.deliveries_pending().await.unwrap()), (4, 20));
}

#[tokio::test]
async fn what_is_handed_out_while_the_one_before_it_is_delivered_is_due_next() {
    let bed = Bed::postgres().await;
    webhook(&bed).await;
    let hostname = bed.register("a", SHOP).await;
    bed.looked(&hostname, State::Serving, "", bed.clock.now()).await;
    bed.store.hand_out(99).await.unwrap();
    let first = due(&bed, &bed.store).await;
    bed.looked(&hostname, State::Stuck, "why", bed.clock.now()).await;
    let close = "BEGIN; UPDATE deliveries SET open = false, taken = false, next_at = NULL";
    let mut closing = bed.session(close).await;
    let go_on = async {
        eventually("the next one waits for it", async || bed.waiting().await == 1).await;
        sqlx::raw_sql("COMMIT").execute(&mut closing).await.unwrap();
    };
    let (handed, ()) = tokio::join!(bed.store.hand_out(99), go_on);
    assert_eq!(handed.unwrap().deliveries, 1);
    let next = due(&bed, &bed.store).await;
    assert!(next.len() == 1 && next[0] > first[0], "{next:?}");
}

#[tokio::test]
async fn of_many_requests_with_one_key_on_two_machines_one_is_carried_out() {
    let bed = Bed::postgres().await;
    let other = machine(&bed).await;
    let request = Keyed { caller: "a", key: "k", fingerprint: [7; 32] };
    let turns = join_all((0..100).map(|number| each(number, &bed.store, &other).take_turn(request))).await;
    assert_eq!(turns.iter().filter(|turn| matches!(turn, Ok(turn) if *turn == Turn::Ours)).count(), 1);
}

/// A text that many names have is found on the way, a rare one by the index of parts; an octet that no
/// value may hold is no fault.
#[tokio::test]
async fn a_part_of_a_name_is_found_over_pages_and_nul_is_in_none() {
    let bed = Bed::postgres().await;
    let database = bed.database.as_deref().unwrap();
    server()
        .execute(
            database,
            "INSERT INTO hostnames (name, organization, site, via, holder, preview, proof, state, reason, looks,
                 look_at, version, created_at, updated_at)
             SELECT lpad(n::text, 6, '0') || CASE WHEN n > 9000 THEN '-last' ELSE '' END || '.many.test', 'many',
                 'many-site', 'api', true, 'many-' || n, 'proof', 'serving', '', 0, n, 1, n, n
             FROM generate_series(1, 10000) AS n",
        )
        .await;
    for (text, expected) in [("many", 10_000), ("-last.", 1_000), ("09999-l", 1), ("any%test", 0)] {
        let mut filter =
            nameplate::store::records::Filter { text: Some(text.into()), ..crate::registered::all(500) };
        let mut seen = 0;
        loop {
            let page = bed.store.registrations(&filter).await.unwrap();
            seen += page.len();
            let Some(last) = page.last() else { break };
            filter.after =
                Some(nameplate::store::records::Cursor { name: last.name.to_string(), id: last.id });
        }
        assert_eq!(seen, expected, "{text}");
    }
    assert_eq!(bed.store.token("a\0").await.unwrap(), None);
    assert_eq!(bed.store.sites(&Reach::All, "\0", 9).await.unwrap(), []);
    assert!(bed.store.webhook(&Reach::All, "\0").await.unwrap().is_none());
}
