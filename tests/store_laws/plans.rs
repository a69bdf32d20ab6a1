//! No statement of the embedded store scans a table, or sorts one to show a page of it.

use std::time::Duration;

use nameplate::domain::event::EventKind;
use nameplate::domain::registration::{Proof, Settings, State};
use nameplate::domain::ticket::{DRAWN_OCTETS, Life, TicketKey};
use nameplate::store::answers::{Answer, Keyed};
use nameplate::store::records::{EventFilter, Filter, NewHostname, StoredSite};
use nameplate::store::sqlite::DATABASE_FILE;
use nameplate::store::{Bound, Scope};
use serde_json::json;
use sqlx::Connection;

use crate::bed::{Bed, certificate, name};
use crate::heard;
use crate::registered::{all, fill, label, new, reach};

/// Every list of hostnames and of events that can be asked for.
async fn ask_for_lists(bed: &Bed) {
    let store = &bed.store;
    for reach in [reach("*"), reach("many")] {
        for site in [None, Some(label("many-site"))] {
            for state in [None, Some(State::Stuck)] {
                for text in [None, Some("00"), Some("000777"), Some("many")] {
                    let text = text.map(str::to_owned);
                    let filter = Filter { reach: reach.clone(), site: site.clone(), state, text, ..all(50) };
                    store.registrations(&filter).await.unwrap();
                }
            }
        }
        for hostname in [None, Some(name("a.test"))] {
            for audit in [false, true] {
                let (reach, hostname) = (reach.clone(), hostname.clone());
                let filter = EventFilter { reach, hostname, audit, before: None, limit: 50 };
                store.events(&filter).await.unwrap();
            }
        }
        store.count_states(&reach).await.unwrap();
        store.tokens(&reach, "", 50).await.unwrap();
        store.sites(&reach, "", 50).await.unwrap();
        store.revoke_token(&reach, "none", None).await.unwrap();
    }
    store.organizations("", 50).await.unwrap();
    store.organization(&label("many")).await.unwrap();
    store.token("none").await.unwrap();
    store.listings_after(0, 50).await.unwrap();
    store.listings_of(&name("a.test")).await.unwrap();
    store.changes_after(0, 50).await.unwrap();
    store.events_after(0, 50).await.unwrap();
    store.unlisted(50).await.unwrap();
    bed.due(0).await;
}

/// Everything that is done to hostnames, sites and certificates.
async fn change_things(bed: &Bed) {
    let (store, now) = (&bed.store, nameplate::domain::clock::Clock::now(&*bed.clock));
    let site = StoredSite {
        name: label("a-site"),
        organization: label("a"),
        origins: vec!["10.0.0.1:80".parse().unwrap()],
        cname_target: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    store.set_quota(&label("a"), Some(9), None).await.unwrap();
    store.add_site(&site, None).await.unwrap();
    store.change_site(&site, None, None).await.unwrap();
    let created = bed.register("a", "a.test").await;
    let other = bed.register("b", "a.test").await;
    let settings = Settings::default();
    store.configure(&label("a"), &name("a.test"), &settings, None, None).await.unwrap();
    bed.looked(&created, State::Stuck, "", now).await;
    store.look_again(created.id, now).await.unwrap();
    bed.claim(&created, Proof::Dns).await;
    bed.claim(&other, Proof::Own).await;
    store.claim(&name("a.test")).await.unwrap();
    bed.holder("a.test").await;
    bed.save(&certificate("a.test", now.0 + 1)).await;
    bed.attempt("a.test", 1).await;
    store.note_expiring(now, 50).await.unwrap();
    let due = store.claim_due(now, 50, Duration::from_secs(60)).await.unwrap();
    store.give_up_claims(&due).await.unwrap();
    store.count_due(now, 50).await.unwrap();
    let bounds = [Scope::Authority, Scope::Domain, Scope::Hostname].map(|scope| Bound {
        scope,
        count: 50,
        per: Duration::from_secs(60),
    });
    store.place_order("a", 0, &name("a.test"), &bounds).await.unwrap();
    store.note_event(&label("a"), EventKind::WebhookCreated, None, &json!({})).await.unwrap();
    store.remove_site(&label("a-site"), None).await.unwrap();
    bed.unregister("a", "a.test").await.unwrap();
    bed.unregister("b", "a.test").await.unwrap();
    store.bring_back(&name("a.test")).await.unwrap();
    store.remove_site(&label("a-site"), None).await.unwrap();
    store.forget_unlisted(&name("a.test")).await.unwrap();
    store.trim_events().await.unwrap();
    let request = Keyed { caller: "a", key: "k", fingerprint: [0; 32] };
    store.take_turn(request).await.unwrap();
    store.give_turn_back(request).await.unwrap();
    let answer = Answer { status: 201, headers: Vec::new(), body: String::new() };
    store.keep_answer(request, &answer).await.unwrap();
    store.trim_answers().await.unwrap();
    for alone in [false, true] {
        let fleet = store.ticket_keys().await.unwrap();
        let life = Life::new(now, now, Duration::from_secs(60));
        let key = TicketKey::new([u8::from(alone); DRAWN_OCTETS].into(), life, alone);
        assert!(store.add_ticket_key(&key, fleet.serial).await.unwrap());
    }
    bed.try_register(&NewHostname { quota: 0, ..new("a", "b.test") }).await;
}

/// What a plan may go through from its beginning: names that have a part, what a query inside has
/// found, one row for each table, and names that are taken away as they are read.
const BOUNDED: [&str; 5] =
    ["hostname_texts VIRTUAL TABLE INDEX", "(subquery", "CONSTANT ROW", "sqlite_sequence", "unlisted"];

/// Whether a step of the statement's plan takes longer with each row that is stored.
fn is_unbounded(step: &str, statement: &str) -> bool {
    let scanned = step.strip_prefix("SCAN ");
    let scans = scanned.is_some_and(|table| !BOUNDED.iter().any(|bounded| table.starts_with(bounded)));
    // Names with a rare part are few enough to be put in order.
    let sorts = step.contains("USE TEMP B-TREE") && !statement.contains("hostname_texts WHERE name MATCH");
    // Most events were asked for by nobody, and most of the old ones by somebody.
    let passes_over =
        statement.contains("actor IS") && step.contains("events USING INTEGER PRIMARY KEY (rowid<");
    scans || sorts || passes_over
}

/// The steps of the plan that SQLite makes for `statement`.
async fn plan(connection: &mut sqlx::SqliteConnection, statement: &str) -> Vec<String> {
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(connection).await.unwrap();
    rows.into_iter().map(|(.., step)| step).collect()
}

#[tokio::test]
async fn no_statement_scans_a_table_or_sorts_a_page() {
    let bed = Bed::embedded().await;
    fill(&bed, 5_000).await;
    let work = async {
        change_things(&bed).await;
        ask_for_lists(&bed).await;
    };
    let statements = heard::statements(|| tracing::info_span!("heard embedded"), work).await;

    let lists = statements.iter().filter(|statement| statement.contains("FROM hostnames INDEXED BY")).count();
    assert!(statements.len() > 60 && lists > 5, "{} were heard", statements.len());
    let url = format!("sqlite:{}", bed.data_dir().join(DATABASE_FILE).display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let mut bad = Vec::new();
    for statement in &statements {
        let steps = plan(&mut connection, statement).await;
        bad.extend(
            steps
                .iter()
                .filter(|step| is_unbounded(step, statement))
                .map(|step| format!("{step}: {statement}")),
        );
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
