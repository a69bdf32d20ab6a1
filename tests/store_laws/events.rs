//! What every store promises of events.

use std::time::Duration;

use nameplate::domain::access::Reach;
use nameplate::domain::clock::Clock;
use nameplate::domain::event::{Event, EventKind};
use nameplate::domain::registration::State;
use nameplate::store::records::{EVENTS_KEPT, EventFilter};
use nameplate::store::webhooks::{Outcome, Webhook};
use serde_json::json;

use crate::bed::{Bed, certificate, laws, name};
use crate::postgres_hostnames::webhook;
use crate::registered::{label, reach};

laws!(
    an_event_is_kept_whole,
    events_come_newest_first_in_pages,
    events_are_filtered_by_whose_they_are_what_they_are_about_and_who_asked,
    new_events_come_oldest_first,
    a_certificate_is_issued_and_then_renewed_and_each_is_told_once,
    attempts_that_failed_are_told_by_what_is_served_meanwhile,
    a_certificate_that_is_late_is_told_of_once,
    what_happens_to_a_certificate_is_told_to_whoever_holds_its_name,
    what_happens_to_a_certificate_has_its_hostname_looked_at,
    a_receiver_that_wants_nothing_more_has_its_webhook_disabled_unless_that_was_changed,
);

async fn note(bed: &Bed, organization: &str, kind: EventKind, actor: Option<&str>) {
    let detail = json!({ "say": "\"it's\" ünïcode", "number": 1 });
    bed.store.note_event(&label(organization), kind, actor, &detail).await.unwrap();
}

fn newest(reach: Reach) -> EventFilter {
    EventFilter { reach, hostname: None, audit: false, before: None, limit: 100 }
}

async fn listed(bed: &Bed, filter: &EventFilter) -> Vec<Event> {
    bed.store.events(filter).await.unwrap()
}

fn ids(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.id).collect()
}

async fn an_event_is_kept_whole(bed: Bed) {
    note(&bed, "a", EventKind::WebhookCreated, Some("token")).await;
    let at = bed.clock.now();
    bed.clock.advance(Duration::from_secs(10));
    let bed = bed.reopen().await;
    let kept = listed(&bed, &newest(Reach::All)).await;
    let expected = Event {
        id: kept[0].id,
        at,
        organization: Some(label("a")),
        site: None,
        hostname: None,
        kind: EventKind::WebhookCreated,
        actor: Some("token".into()),
        detail: json!({ "say": "\"it's\" ünïcode", "number": 1 }),
    };
    assert_eq!(kept, [expected]);
}

async fn events_come_newest_first_in_pages(bed: Bed) {
    for _ in 0..7 {
        note(&bed, "a", EventKind::WebhookUpdated, None).await;
    }
    let all = ids(&listed(&bed, &newest(Reach::All)).await);
    assert!(all.len() == 7 && all.is_sorted_by(|one, next| one > next));
    for reach in [Reach::All, reach("a")] {
        let mut seen = Vec::new();
        loop {
            let before = seen.last().copied();
            let page = EventFilter { before, limit: 3, ..newest(reach.clone()) };
            let page = ids(&listed(&bed, &page).await);
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert_eq!(seen, all);
    }
}

async fn events_are_filtered_by_whose_they_are_what_they_are_about_and_who_asked(bed: Bed) {
    bed.register("a", "shop.test").await;
    bed.register("b", "shop.test").await;
    bed.register("a", "other.test").await;
    note(&bed, "a", EventKind::WebhookUpdated, None).await;
    bed.save(&certificate("shop.test", 1_000)).await;
    let every = listed(&bed, &newest(Reach::All)).await;
    assert_eq!(every.len(), 5);
    for reach in [Reach::All, reach("a"), reach("b"), reach("c")] {
        for hostname in [None, Some(name("shop.test")), Some(name("none.test"))] {
            for audit in [false, true] {
                let filter = EventFilter { hostname: hostname.clone(), audit, ..newest(reach.clone()) };
                let fits = |event: &&Event| {
                    event.organization.as_ref().is_some_and(|of| reach.covers(of))
                        && (hostname.is_none() || event.hostname == hostname)
                        && (!audit || event.actor.is_some())
                };
                let expected: Vec<_> = every.iter().filter(fits).cloned().collect();
                assert_eq!(listed(&bed, &filter).await, expected, "{filter:?}");
                let before = EventFilter { before: Some(every[2].id), ..filter };
                let older: Vec<_> = expected.into_iter().filter(|event| event.id < every[2].id).collect();
                assert_eq!(listed(&bed, &before).await, older, "{before:?}");
            }
        }
    }
}

async fn new_events_come_oldest_first(bed: Bed) {
    for _ in 0..5 {
        note(&bed, "a", EventKind::WebhookUpdated, None).await;
    }
    let first = bed.store.events_after(0, 2).await.unwrap();
    let rest = bed.store.events_after(first[1].id, 9).await.unwrap();
    let mut seen = ids(&first);
    seen.extend(ids(&rest));
    assert!(seen.len() == 5 && seen.is_sorted());
    assert_eq!(bed.store.events_after(seen[4], 9).await.unwrap(), []);
}

async fn a_certificate_is_issued_and_then_renewed_and_each_is_told_once(bed: Bed) {
    let end = bed.clock.now().0 + 1_000;
    bed.register("a", "shop.test").await;
    for (issued, renewed) in [(1, 0), (1, 1), (1, 2)] {
        bed.save(&certificate("shop.test", end)).await;
        let counts = (
            bed.count("shop.test", EventKind::CertificateIssued).await,
            bed.count("shop.test", EventKind::CertificateRenewed).await,
        );
        assert_eq!(counts, (issued, renewed));
    }
    let told = &bed.events_of("shop.test").await[0];
    assert_eq!(told.detail["authority"], "pebble");
    assert_eq!(told.detail["not_after"], crate::UnixTime(end).to_string());
    assert_eq!((&told.organization, &told.actor), (&Some(label("a")), &None));
    let stale = bed.lease("shop.test").await.unwrap();
    bed.clock.advance(crate::LEASE_TTL);
    bed.lease("shop.test").await.unwrap();
    crate::Store::save(&*bed.store, &stale, &certificate("shop.test", end)).await.unwrap_err();
    assert_eq!(bed.count("shop.test", EventKind::CertificateRenewed).await, 2, "what is refused is not told");
}

async fn attempts_that_failed_are_told_by_what_is_served_meanwhile(bed: Bed) {
    bed.register("a", "shop.test").await;
    let counts = async || {
        let failed = bed.count("shop.test", EventKind::CertificateFailed).await;
        (failed, bed.count("shop.test", EventKind::CertificateRenewalFailed).await)
    };
    bed.attempt("shop.test", 1).await;
    assert_eq!(counts().await, (1, 0));
    bed.attempt("shop.test", 0).await;
    assert_eq!(counts().await, (1, 0), "what succeeded is told when it is saved");
    bed.save(&certificate("shop.test", bed.clock.now().0 + 1_000)).await;
    bed.attempt("shop.test", 1).await;
    bed.attempt("shop.test", 2).await;
    assert_eq!(counts().await, (1, 2));
    let told = &bed.events_of("shop.test").await[0];
    assert_eq!((&told.detail["failures"], &told.detail["report"]), (&json!(2), &json!("CAA forbids it")));
}

async fn a_certificate_that_is_late_is_told_of_once(bed: Bed) {
    let now = bed.clock.now();
    for raw in ["shop.test", "other.test", "fresh.test"] {
        bed.register("a", raw).await;
    }
    bed.save(&certificate("shop.test", now.0 + 1_000)).await;
    bed.save(&certificate("other.test", now.0 + 1_000)).await;
    bed.save(&certificate("nobodys.test", now.0 + 1_000)).await;
    bed.save(&certificate("fresh.test", now.0 + 100_000)).await;
    assert_eq!(bed.store.note_expiring(now, 10).await.unwrap(), 0);
    bed.clock.advance(Duration::from_secs(990));
    let note = async |limit| bed.store.note_expiring(bed.clock.now(), limit).await.unwrap();
    assert_eq!(note(2).await, 2);
    assert_eq!((note(2).await, note(2).await), (1, 0));
    let count = async |raw: &str| bed.count(raw, EventKind::CertificateExpiring).await;
    assert_eq!((count("shop.test").await, count("other.test").await), (1, 1));
    assert_eq!((count("nobodys.test").await, count("fresh.test").await), (0, 0));
    bed.save(&certificate("shop.test", bed.clock.now().0 + 1_000)).await;
    assert_eq!(note(2).await, 0, "the one that was saved is not late");
    bed.clock.advance(Duration::from_secs(990));
    assert_eq!((note(9).await, count("shop.test").await), (1, 2), "until it is late itself");
}

async fn what_happens_to_a_certificate_is_told_to_whoever_holds_its_name(bed: Bed) {
    bed.register("a", "shop.test").await;
    bed.register("b", "shop.test").await;
    bed.save(&certificate("shop.test", bed.clock.now().0 + 1_000)).await;
    bed.save(&certificate("nobodys.test", bed.clock.now().0 + 1_000)).await;
    bed.attempt("nobodys.test", 1).await;
    let issued = EventFilter { hostname: Some(name("shop.test")), limit: 1, ..newest(reach("a")) };
    assert_eq!(listed(&bed, &issued).await[0].kind, EventKind::CertificateIssued);
    assert_eq!(listed(&bed, &newest(reach("b"))).await.len(), 1, "registered, no more");
    assert_eq!(bed.events_of("nobodys.test").await, []);
}

async fn what_happens_to_a_certificate_has_its_hostname_looked_at(bed: Bed) {
    let registered = bed.register("a", "shop.test").await;
    let later = bed.clock.now().plus(Duration::from_secs(1_000));
    let put_off = async || bed.store.look_again(registered.id, later).await.unwrap();
    put_off().await;
    assert_eq!(bed.due(0).await, [""; 0]);
    bed.save(&certificate("shop.test", bed.clock.now().0 + 1_000)).await;
    assert_eq!(bed.due(0).await, ["shop.test of a"]);
    put_off().await;
    bed.attempt("shop.test", 1).await;
    assert_eq!(bed.due(0).await, ["shop.test of a"]);
}

#[tokio::test]
async fn old_events_are_forgotten_unless_somebody_asked_for_them() {
    let bed = Bed::embedded().await;
    for actor in [Some("token"), None, Some("token"), None, None] {
        note(&bed, "a", EventKind::WebhookUpdated, actor).await;
    }
    bed.store.trim_events().await.unwrap();
    assert_eq!(listed(&bed, &newest(Reach::All)).await.len(), 5);
    // As if so many had come meanwhile.
    let last = EVENTS_KEPT + 4;
    bed.change(&format!("UPDATE sqlite_sequence SET seq = {} WHERE name = 'events'", last - 1)).await;
    note(&bed, "a", EventKind::WebhookUpdated, None).await;
    bed.store.trim_events().await.unwrap();
    let left = ids(&listed(&bed, &newest(Reach::All)).await);
    assert_eq!(left, [i64::from(last), 5, 3, 1]);
}

async fn a_receiver_that_wants_nothing_more_has_its_webhook_disabled_unless_that_was_changed(bed: Bed) {
    let made = webhook(&bed).await;
    let hostname = bed.register("a", "shop.test").await;
    bed.looked(&hostname, State::Serving, "", bed.clock.now()).await;
    bed.store.hand_out(99).await.unwrap();
    let found = async || bed.store.webhook(&Reach::All, &made.id).await.unwrap().unwrap();
    let due = async || bed.store.due_deliveries(bed.clock.now(), 99).await.unwrap();
    let next = Some(bed.clock.now());
    let asked = due().await.pop().unwrap();
    let gone = |version| Outcome::Gone { status: 410, report: "gone".into(), version, next };

    let elsewhere = Webhook { url: "https://new.test/".parse().unwrap(), ..found().await };
    bed.store.change_webhook(&elsewhere, None, None).await.unwrap();
    bed.store.note_delivery(asked.delivery.id, &gone(asked.webhook.version)).await.unwrap();
    assert_eq!(found().await.disabled, None, "who answered is not whom it leads to now");
    let again = due().await.pop().expect("it is tried there");
    assert_eq!((again.delivery.id, again.delivery.failures), (asked.delivery.id, 1));

    bed.store.note_delivery(again.delivery.id, &gone(again.webhook.version)).await.unwrap();
    assert_eq!(found().await.disabled.as_deref(), Some("gone"));
    assert_eq!((due().await.len(), bed.store.deliveries_pending().await.unwrap()), (0, 0));
}
