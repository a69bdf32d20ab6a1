//! No statement of the store on PostgreSQL scans a table or sorts one, with plans that know no values, as a
//! connection makes them for a statement that it has seen often.

use std::time::Duration;

use nameplate::domain::access::Reach;
use nameplate::domain::certificate::{Certificate, KeyType, Source};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::revocation::Reason;
use nameplate::store::{
    Attempt, Bound, ChallengeKind, Health, LEASE_TTL, Revocation, Scope, UnfinishedOrder, WrittenRecord,
};
use sqlx::{Connection, PgConnection};

use crate::bed::{Bed, certificate, credentials, name, server};
use crate::heard;
use crate::postgres_asked as asked;
use crate::registered::{label, reach};

/// As a fleet fills it, and without what its triggers would note. The clock stands at 1,800,000,000.
const FILL: &str = "
    INSERT INTO certificates (name, chain, sealed_key, key_type, not_before, not_after, source, saved_at,
        renew_at, late_at, ask_at, parked, withheld)
    SELECT 'h' || n || '.test', chain, sealed_key, key_type, 0, 1800000000 + n * 20, source, 1800000000,
        CASE WHEN n % 50 > 0 THEN 1800000000 + n * 20 - 2000 END,
        CASE WHEN n % 50 > 0 THEN 1800000000 + n * 20 - 1000 END,
        CASE WHEN n % 50 > 0 THEN 1800000000 + n - 100 END,
        CASE WHEN n % 500 = 1 THEN 'it left' END, n % 50 = 0
    FROM certificates, generate_series(1, 1000000) AS n;
    INSERT INTO hostnames (name, organization, site, via, holder, preview, proof, state, reason, looks, look_at,
        version, created_at, updated_at)
    SELECT 'h' || n || '.test', CASE n % 2 WHEN 0 THEN 'many' ELSE 'o' || n % 1000 END, 'site', 'api', true,
        'preview' || n, 'proof', 'serving', '', 0, 1800000000 + n, 1, n, n
    FROM generate_series(1, 1000000) AS n;
    INSERT INTO attempts SELECT 'h' || n || '.test', n, 1, n, 'no', '[]' FROM generate_series(1, 1000000) AS n;
    INSERT INTO leases SELECT 'h' || n || '.test', n, 1800000000 + n % 60 - 30
    FROM generate_series(1, 50000) AS n;
    INSERT INTO orders (authority, hostname, domain, placed_at)
    SELECT 'ca' || n % 3, 'h' || n || '.test', 'h' || n || '.test', 1800000000 - n * 3 / 5
    FROM generate_series(1, 1000000) AS n;
    INSERT INTO unfinished_orders (name, authority, url, sealed_key, key_type, placed_at)
    SELECT 'h' || n || '.test', 'ca0', 'url', '', 'p256', 1800000000 - n
    FROM generate_series(1, 50000) AS n;
    INSERT INTO challenges SELECT 'http-01', 'token' || n, 'answer', 1800000000 + n - 10
    FROM generate_series(1, 50000) AS n;
    INSERT INTO written_records (name, zone, owner, value)
    SELECT 'h' || n || '.test', 'zone', 'owner' || n, 'value' FROM generate_series(1, 50000) AS n;
    INSERT INTO revocations SELECT decode(md5(n::text) || md5(n::text), 'hex'), 'h' || n || '.test', '', 'ca0', 1,
        n, 1800000000 + n * 10 - 100000, CASE WHEN n % 1000 = 0 THEN 1800000000 + n END, 0, ''
    FROM generate_series(1, 50000) AS n;
    INSERT INTO accounts SELECT 'https://ca/' || n, '' FROM generate_series(1, 20000) AS n;
    INSERT INTO own_certificates (id, name, organization, family, fingerprint, chain, sealed_key, key_type,
        not_before, not_after, saved_at, fall_back_at, tell_at)
    SELECT 'h' || n || '.test many ecdsa', 'h' || n || '.test', 'many', 'ecdsa', '', '', '', 'p256', 0,
        1800000000 + n * 20 + 1000, 0, 1800000000 + n * 20 - 1000, 1800000000 + n * 20
    FROM generate_series(2, 1000000, 2) AS n;
    ANALYZE";

const FILLED: [&str; 12] = [
    "certificates",
    "hostnames",
    "attempts",
    "leases",
    "orders",
    "unfinished_orders",
    "challenges",
    "written_records",
    "revocations",
    "accounts",
    "own_certificates",
    "changes",
];

async fn fill(bed: &Bed) {
    bed.save(&certificate("first.test", 2_000_000_000)).await;
    let database = bed.database.as_deref().unwrap();
    let triggered = ["certificates", "hostnames", "attempts", "own_certificates"];
    let switch =
        |word: &str| triggered.map(|table| format!("ALTER TABLE {table} {word} TRIGGER USER;")).concat();
    server().execute(database, &format!("{}{FILL}", switch("DISABLE"))).await;
    server().execute(database, &switch("ENABLE")).await;
    let number = "INSERT INTO changes (number, kind, name)
                  SELECT n * 1048576::bigint, 'certificate', 'h' || n || '.test' FROM generate_series(10, 50000) AS n";
    server().execute(database, number).await;
    server()
        .execute(database, &format!("ALTER DATABASE {database} SET plan_cache_mode = force_generic_plan"))
        .await;
    for statement in asked::FILL.split(';') {
        server().execute(database, statement).await;
    }
}

async fn ask(bed: &Bed) {
    let (store, now) = (&bed.store, bed.clock.now());
    let (shop, later) = (name("h77.test"), now.plus(Duration::from_secs(1_000)));
    store.certificate(&shop).await.unwrap_err();
    assert!(store.has_certificate(&shop).await.unwrap());
    assert_eq!(store.names_after(Some(&shop), 50).await.unwrap().len(), 50);
    let claimed = store.claim_due(now, 50, Duration::from_secs(60)).await.unwrap();
    assert_eq!(claimed.len(), 50);
    assert!(store.count_due(now, 1_000).await.unwrap() > 0);
    store.give_up_claims(&claimed).await.unwrap();
    assert!(store.claim_due(UnixTime(0), 50, Duration::ZERO).await.unwrap().is_empty());
    store.renewal_state(&shop).await.unwrap().unwrap();
    assert!(!store.due_for_asking(now, 50).await.unwrap().is_empty());
    assert!(store.late(now).await.unwrap().0 > 10);
    assert!(store.parked().await.unwrap() > 10);
    assert!(store.ending_between(now, later).await.unwrap() > 10);
    store.attempt(&shop).await.unwrap().unwrap();
    store.account("https://ca/7").await.unwrap_err();
    store.health("ca").await.unwrap();
    store.kept_order(&shop).await.unwrap_err();
    store.challenge(ChallengeKind::Http01, "token77").await.unwrap().unwrap();
    store.dns_answers("owner").await.unwrap();
    assert_eq!(store.abandoned_records(50).await.unwrap().len(), 50);
    assert!(store.revocations_to_tell(later, 50).await.unwrap().len() == 1);
    assert!(store.revocations_pending().await.unwrap() > 10);
    assert!(store.revoked(UnixTime(49_990), now.plus(Duration::from_secs(390_000))).await.unwrap().len() > 5);
    store.own_certificates(&name("h78.test")).await.unwrap_err();
    assert_eq!(store.own_facts(&name("h78.test")).await.unwrap().len(), 1);
    assert!(store.due_for_fall_back(later, 50).await.unwrap().len() <= 50);
    store.last_own_change().await.unwrap();
    store.own_changes(0, 50).await.unwrap();
    for number in [store.last_news().await.unwrap(), 1] {
        store.news_after(number, 10).await.unwrap();
    }
    for reach in [Reach::All, reach("many"), reach("o7")] {
        assert_eq!(store.certificates_after(&reach, "h5", 50).await.unwrap().len(), 50);
        store.count_ends(&reach, &[now, later]).await.unwrap();
    }
    store.certificate_facts(&shop).await.unwrap().unwrap();
}

async fn change(bed: &Bed) {
    let (store, now) = (&bed.store, bed.clock.now());
    let shop = name("h78.test");
    let saved = certificate("h78.test", now.0 + 1_000_000);
    bed.clock.advance(Duration::from_secs(60));
    let lease = store.lease(&shop, LEASE_TTL).await.unwrap().unwrap();
    store.renew_lease(&lease, LEASE_TTL).await.unwrap();
    store.save(&lease, &saved).await.unwrap();
    store.release(&lease).await.unwrap();
    store.postpone_renewal(&shop, now).await.unwrap();
    store.note_window(&shop, None, now, Some(now)).await.unwrap();
    store.park_renewal(&shop, "it left", now).await.unwrap();
    store.withhold(&shop).await.unwrap();
    assert!(store.bring_back(&shop).await.unwrap());
    let many: Vec<Certificate> =
        (1..=500).map(|n| certificate(&format!("h{n}.test"), 2_000_000_000)).collect();
    assert_eq!(store.import(&many).await.unwrap().filed, 500);
}

/// What is done on the way to a certificate.
async fn order(bed: &Bed) {
    let (store, now, shop) = (&bed.store, bed.clock.now(), name("h78.test"));
    let attempt =
        Attempt { at: now, failures: 1, next: None, report: "no".into(), failed_validations: vec![] };
    store.record_attempt(&shop, &attempt).await.unwrap();
    store.allow_attempt(&shop, now).await.unwrap();
    store.save_account("key", &credentials(1)).await.unwrap();
    let health = Health { failures: 1, closed_until: now, reason: "down".into() };
    store.save_health("ca0", &health).await.unwrap();
    let bounds = [Scope::Authority, Scope::Domain, Scope::Hostname];
    let bounds = bounds.map(|scope| Bound { scope, count: 9_000, per: Duration::from_secs(100_000) });
    store.place_order("ca0", 0, &shop, &bounds).await.unwrap();
    let order = UnfinishedOrder {
        authority: "ca0".into(),
        account: 0,
        url: "url".into(),
        key: certificate("h78.test", 1).key,
        key_type: KeyType::P256,
        placed_at: now,
    };
    store.keep_order(&shop, &order).await.unwrap();
    store.forget_order(&shop).await.unwrap();
    let challenge = bed.challenge(ChallengeKind::Http01, "token", 60);
    store.publish_challenge(&challenge).await.unwrap();
    store.withdraw_challenge(&challenge).await.unwrap();
    let record =
        WrittenRecord { name: shop.clone(), zone: "zone".into(), owner: "o".into(), value: "v".into() };
    store.keep_record(&record).await.unwrap();
    store.forget_record(&record).await.unwrap();
}

/// What is done with own certificates, and with those that are to be served no more.
async fn take_away(bed: &Bed) {
    let (store, now, shop) = (&bed.store, bed.clock.now(), name("h78.test"));
    let saved = certificate("h78.test", now.0 + 1_000_000);
    let own = Certificate { source: Source::Own("many".into()), ..saved.clone() };
    store.bring_own(&label("many"), &own, None).await.unwrap();
    assert_eq!(store.quarantine_own(&name("h80.test"), "a test").await.unwrap(), 1);
    store.postpone_fall_back(&shop, now).await.unwrap();
    assert_eq!(store.remove_own(&label("many"), &shop, None, None).await.unwrap(), 1);
    let revocation = Revocation {
        name: shop.clone(),
        leaf: saved.chain[0].clone(),
        authority: None,
        reason: Reason::Unspecified,
        asked_at: now,
        not_after: now,
        next: None,
        failures: 0,
        report: String::new(),
    };
    store.save_revocation(&revocation).await.unwrap();
    assert!(store.quarantine(&shop, "a test").await.unwrap());
    assert!(store.remove(&name("h79.test")).await.unwrap());
    store.reseal("h9", 50).await.unwrap();
}

/// What may be put in order: a page, moments that were asked for, certificates of one name, hostnames of one
/// name, what is about as many events as were read or webhooks as wait, the orders of a few days.
const SORTED: [&str; 13] = [
    "SELECT DISTINCT name FROM (",
    "FROM unnest($1::bigint[], $2::bigint[])",
    "ORDER BY o.family",
    "WITH ORDINALITY",
    "WHERE head AND (webhook, hostname) IN",
    "GROUP BY hour, kind",
    "FROM walked",
    "FROM found",
    "SELECT * FROM due ORDER BY look_at, id",
    "WHERE name = $1 ORDER BY id",
    "ORDER BY earliest",
    "ORDER BY place",
    "FOR NO KEY UPDATE SKIP LOCKED",
];

async fn plan(connection: &mut PgConnection, statement: &str) -> Vec<String> {
    let prepare = sqlx::AssertSqlSafe(format!("PREPARE heard AS {statement}"));
    sqlx::raw_sql(prepare).execute(&mut *connection).await.unwrap();
    let parameters: i32 = sqlx::query_scalar(
        "SELECT coalesce(cardinality(parameter_types), 0) FROM pg_prepared_statements WHERE name = 'heard'",
    )
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    let nulls = vec!["NULL"; parameters as usize].join(", ");
    let nulls = if parameters > 0 { format!("({nulls})") } else { String::new() };
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN EXECUTE heard{nulls}"));
    let rows = sqlx::raw_sql(explain).fetch_all(&mut *connection).await.unwrap();
    sqlx::raw_sql("DEALLOCATE heard").execute(connection).await.unwrap();
    rows.iter().map(|row| sqlx::Row::get::<String, _>(row, 0)).collect()
}

#[tokio::test]
async fn no_statement_scans_a_table_or_sorts_one() {
    let bed = Bed::postgres().await;
    fill(&bed).await;
    let database = bed.database.clone().unwrap();
    let bed = bed.close().await;
    server().number(&database, "SELECT count(*) FROM (SELECT pg_stat_reset()) AS done").await;
    let bed = bed.open().await;
    let work = async {
        ask(&bed).await;
        change(&bed).await;
        order(&bed).await;
        take_away(&bed).await;
        asked::work(&bed).await;
    };
    let statements = heard::statements(|| tracing::info_span!("heard postgres"), work).await;
    assert!(statements.len() > 50, "{} were heard", statements.len());

    let mut connection = PgConnection::connect(&server().url(&database)).await.unwrap();
    let mut bad = Vec::new();
    for statement in &statements {
        for step in plan(&mut connection, statement).await {
            let scans = FILLED
                .iter()
                .chain(&asked::FILLED)
                .any(|table| step.contains(&format!("Seq Scan on {table} ")));
            let sorts = step.trim_start().trim_start_matches("->  ").starts_with("Sort  (")
                && !SORTED.iter().any(|bounded| statement.contains(bounded));
            if scans || sorts {
                bad.push(format!("{}: {statement}", step.trim()));
            }
        }
    }
    // What functions and triggers do is seen by what was scanned in fact; sessions tell that as they end.
    bed.close().await;
    for table in FILLED.iter().chain(&asked::FILLED) {
        let scanned = format!("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = '{table}'");
        let scans = server().number(&database, &scanned).await;
        bad.extend((scans > 0).then(|| format!("{table} was scanned {scans} times")));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
