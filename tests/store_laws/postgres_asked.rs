//! Hostnames, events and webhooks as a fleet has them, and everything that is asked and done about them.

use std::time::Duration;

use nameplate::domain::access::{Reach, Scope};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::event::EventKind;
use nameplate::domain::registration::{Proof, Settings, State};
use nameplate::store::answers::{Answer, Keyed};
use nameplate::store::records::{EventFilter, Filter, Token};
use nameplate::store::webhooks::{DeliveryFilter, Outcome};

use crate::bed::{Bed, name};
use crate::postgres_hostnames::webhook;
use crate::registered::{all, label, reach};

pub const FILL: &str = "
    INSERT INTO organizations (name, used, created_at)
    SELECT 'o' || n, 1, 1 FROM generate_series(1, 20000) AS n;
    INSERT INTO tokens (id, organization, scope, hash, note, created_at)
    SELECT 't' || n, 'o' || n % 1000, 'write', decode(md5('') || md5(''), 'hex'), '', 1
    FROM generate_series(1, 20000) AS n;
    INSERT INTO sites (name, organization, origins, version, created_at, updated_at)
    SELECT 's' || n, 'o' || n % 1000, '[\"10.0.0.1:80\"]', 1, 1, 1 FROM generate_series(1, 20000) AS n;
    INSERT INTO proofs SELECT 'many', 'h' || n || '.test', 'given' || n, 'proof' FROM generate_series(1, 50000) AS n;
    INSERT INTO claims SELECT 'h' || n || '.test', 'many', 'dns', 1 FROM generate_series(2, 1000000, 2) AS n;
    INSERT INTO unlisted SELECT 'u' || n || '.test' FROM generate_series(1, 20000) AS n;
    INSERT INTO events (at, organization, site, hostname, kind, actor, detail)
    SELECT 1800000000 - n, CASE n % 2 WHEN 0 THEN 'many' ELSE 'o' || n % 1000 END, 'site', 'h' || n || '.test',
        CASE n % 5 WHEN 0 THEN 'certificate.issued' ELSE 'hostname.created' END,
        CASE n % 3 WHEN 0 THEN 'token' END, '{}'
    FROM generate_series(1, 1010000) AS n;
    UPDATE outbox SET handed_out = 1010000;
    INSERT INTO webhooks SELECT 'w' || n, 'o' || n % 1000, 'https://hooks.test/', '', '[]', NULL, 0, 1, 1, 1
    FROM generate_series(1, 20000) AS n;
    INSERT INTO deliveries (webhook, organization, event, kind, message, hostname, body, created_at, open, head,
        next_at)
    SELECT 'w' || n % 500, 'many', n, 'hostname.created', 'msg', 'h' || n || '.test', '{}', 1800000000 - n * 4,
        n % 50 = 0, n % 50 = 0, CASE WHEN n % 50 = 0 THEN 1800000000 - 7 END
    FROM generate_series(1, 1000000) AS n;
    INSERT INTO answers SELECT 'a' || n, 'c' || n % 10, '', '', 1800000000 + n FROM generate_series(1, 100000) AS n;
    VACUUM ANALYZE";

pub const FILLED: [&str; 11] = [
    "organizations",
    "tokens",
    "sites",
    "proofs",
    "claims",
    "unlisted",
    "events",
    "webhooks",
    "deliveries",
    "answers",
    "hostnames",
];

pub async fn work(bed: &Bed) {
    registry(bed).await;
    lists(bed).await;
    life(bed).await;
    events(bed).await;
    deliveries(bed).await;
    let request = Keyed { caller: "c7", key: "k", fingerprint: [7; 32] };
    bed.store.take_turn(request).await.unwrap();
    bed.store.take_turn(request).await.unwrap();
    bed.store.keep_answer(request, &Answer { status: 200, headers: vec![], body: "".into() }).await.unwrap();
    bed.store.give_turn_back(request).await.unwrap();
    bed.store.trim_answers().await.unwrap();
}

async fn registry(bed: &Bed) {
    let store = &bed.store;
    store.organization(&label("o7")).await.unwrap().unwrap();
    assert_eq!(store.organizations("o7", 50).await.unwrap().len(), 50);
    store.set_quota(&label("o7"), Some(900), None).await.unwrap();
    let token = Token {
        id: "fresh".into(),
        reach: reach("o7"),
        scope: Scope::Write,
        hash: [7; 32],
        note: String::new(),
        created_at: UnixTime(1),
        expires_at: None,
        revoked_at: None,
    };
    store.add_token(&token, None).await.unwrap();
    store.token("t7").await.unwrap().unwrap();
    for reach in [Reach::All, reach("o7")] {
        assert!(!store.tokens(&reach, "t", 10).await.unwrap().is_empty());
        assert!(!store.sites(&reach, "s", 10).await.unwrap().is_empty());
    }
    assert!(store.revoke_token(&reach("o7"), "t7", None).await.unwrap());
    let site = store.site(&label("s7")).await.unwrap().unwrap();
    store.change_site(&site, Some(1), None).await.unwrap();
    assert_eq!(store.remove_site(&label("s7"), None).await.unwrap(), Some(0));
    assert!(store.add_site(&site, None).await.unwrap());
}

async fn lists(bed: &Bed) {
    let store = &bed.store;
    for reach in [Reach::All, reach("many"), reach("o7")] {
        for site in [None, Some(label("site"))] {
            for state in [None, Some(State::Serving), Some(State::Stuck)] {
                for text in [None, Some("h1"), Some("h999999"), Some("test")] {
                    let (reach, site, text) = (reach.clone(), site.clone(), text.map(str::to_owned));
                    store.registrations(&Filter { reach, site, state, text, ..all(20) }).await.unwrap();
                }
            }
        }
        store.count_states(&reach).await.unwrap();
    }
    assert_eq!(store.listings_after(77, 50).await.unwrap().len(), 50);
    assert_eq!(store.listings_of(&name("h77.test")).await.unwrap().len(), 1);
    store.holder(&name("h77.test")).await.unwrap().unwrap();
    store.claim(&name("h78.test")).await.unwrap().unwrap();
    let last = store.last_change().await.unwrap();
    store.changes_after(last, 50).await.unwrap();
    assert_eq!(store.unlisted(50).await.unwrap().len(), 50);
    store.forget_unlisted(&name("u7.test")).await.unwrap();
}

async fn life(bed: &Bed) {
    let (store, now) = (&bed.store, bed.clock.now());
    let mine = bed.register("many", "fresh.test").await;
    store.configure(&label("many"), &mine.name, &Settings::default(), Some(1), None).await.unwrap();
    assert!(!store.due_for_look(now, 50).await.unwrap().is_empty());
    store.look_again(mine.id, now).await.unwrap();
    bed.looked(&mine, State::Stuck, "why", now).await;
    store.claim_for(mine.id, Proof::Own, false).await.unwrap();
    store.claim_for(mine.id, Proof::Own, false).await.unwrap();
    let other = bed.register("o7", "fresh.test").await;
    store.claim_for(other.id, Proof::Own, true).await.unwrap();
    let listings = store.listings_of(&mine.name).await.unwrap();
    let sites = [store.site(&label("s9")).await.unwrap().unwrap()];
    for organization in ["many", "o7"] {
        bed.unregister(organization, "fresh.test").await.unwrap();
    }
    assert_eq!(store.restore(&sites, &listings).await.unwrap(), 2);
}

async fn events(bed: &Bed) {
    let (store, now) = (&bed.store, bed.clock.now());
    store.note_event(&label("o7"), EventKind::WebhookUpdated, None, &serde_json::json!({})).await.unwrap();
    for reach in [Reach::All, reach("many"), reach("o7")] {
        for hostname in [None, Some(name("h77.test"))] {
            for audit in [false, true] {
                let (reach, hostname) = (reach.clone(), hostname.clone());
                let filter = EventFilter { reach, hostname, audit, before: Some(1_000_000), limit: 50 };
                store.events(&filter).await.unwrap();
            }
        }
        store.orders_by_hour(&reach, UnixTime(now.0 - 3_600)).await.unwrap();
    }
    assert_eq!(store.events_after(100, 50).await.unwrap().len(), 50);
    store.note_expiring(now, 50).await.unwrap();
    store.note_expiring(now.plus(Duration::from_secs(1_000_000)), 50).await.unwrap();
    store.trim_events().await.unwrap();
}

async fn deliveries(bed: &Bed) {
    let (store, now) = (&bed.store, bed.clock.now());
    let made = webhook(bed).await;
    bed.register("a", "told.test").await;
    let told = bed.registration("a", "told.test").await.unwrap();
    bed.looked(&told, State::Serving, "", now).await;
    assert!(store.hand_out(500).await.unwrap().deliveries > 0);
    store.due_deliveries(now, 50).await.unwrap();
    store.change_webhook(&made, Some(1), None).await.unwrap();
    for reach in [Reach::All, reach("a")] {
        store.webhook(&reach, "w7").await.ok();
        store.webhooks(&reach, "x", 50).await.unwrap();
        for webhook in [None, Some("w7".to_owned())] {
            let filter = DeliveryFilter { reach: reach.clone(), webhook, before: Some(500_000), limit: 50 };
            store.deliveries(&filter).await.unwrap();
        }
        store.delivery(&reach, 77).await.unwrap();
        store.redeliver(&reach, 77).await.unwrap();
        store.redeliver_given_up(&reach, "w7", UnixTime(now.0 - 9_000)).await.unwrap();
    }
    let version = store.webhook(&Reach::All, &made.id).await.unwrap().unwrap().version;
    let gone = Outcome::Gone { status: 410, report: "gone".into(), version, next: None };
    let failed = Outcome::Failed { status: None, report: "no".into(), next: Some(now) };
    let to_made =
        DeliveryFilter { reach: Reach::All, webhook: Some(made.id.clone()), before: None, limit: 1 };
    let id = store.deliveries(&to_made).await.unwrap()[0].id;
    for outcome in [failed, Outcome::Delivered { status: 200 }, gone] {
        store.note_delivery(id, &outcome).await.unwrap();
    }
    store.deliveries_pending().await.unwrap();
    store.trim_deliveries(now).await.unwrap();
    assert!(store.remove_webhook(&Reach::All, &made.id, None).await.unwrap());
}
