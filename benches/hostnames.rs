//! What the embedded store takes for one hostname, and for a page of a list, among 100,000.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use nameplate::domain::access::Reach;
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::registration::{Settings, State, Via};
use nameplate::store::records::{Cursor, Filter, Hostnames, NewHostname};
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::{DATABASE_FILE, SqliteStore};
use nameplate::telemetry::metrics::Metrics;
use sqlx::Connection;
use tokio::runtime::Runtime;

/// Hostnames in the store, besides those that are made and deleted.
const COUNT: u32 = 100_000;
/// Those at the end of the list whose names have a part that no other has.
const LAST: u32 = 3_000;

/// A clock that stands still.
struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

fn new(number: u32) -> NewHostname {
    NewHostname {
        name: format!("fresh-{number:06}.shop.example.com").parse().expect("a valid name"),
        organization: "many".parse().expect("a valid label"),
        site: "many-site".parse().expect("a valid label"),
        via: Via::Api,
        settings: Settings::default(),
        preview: format!("fresh-{number}"),
        proof: "proof".into(),
        quota: u32::MAX,
    }
}

async fn fill(store: &SqliteStore, data_dir: &std::path::Path) {
    store.register(&new(u32::MAX), None).await.expect("the organization is made");
    let url = format!("sqlite:{}", data_dir.join(DATABASE_FILE).display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("it was just made");
    let rows = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {COUNT})
         INSERT INTO hostnames (name, organization, site, via, holder, preview, proof, state, reason, looks,
             look_at, version, created_at, updated_at)
         SELECT printf('status.customer-%06d%s.example.com', n, iif(n > {COUNT} - {LAST}, '-last', '')),
             'many', 'many-site', 'api', 1, 'many-' || n, 'proof',
             CASE n % 100 WHEN 0 THEN 'stuck' WHEN 1 THEN 'waiting' ELSE 'serving' END, '', 0, n, 1, n, n
         FROM numbers"
    );
    let texts = "INSERT INTO hostname_texts (rowid, name) SELECT id, name FROM hostnames
         WHERE id NOT IN (SELECT rowid FROM hostname_texts)";
    for statement in [rows.as_str(), texts] {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        sqlx::query(statement).execute(&mut connection).await.expect("the schema has these columns");
    }
    connection.close().await.expect("nothing is left to do");
}

fn filter(text: Option<&str>) -> Filter {
    let text = text.map(str::to_owned);
    Filter { reach: Reach::All, site: None, state: None, text, after: None, limit: 50 }
}

fn lists() -> Vec<(&'static str, Filter)> {
    let middle = Cursor { name: "status.customer-050000.example.com".into(), id: 0 };
    let end = Cursor { name: "status.customer-099990-last.example.com".into(), id: 0 };
    let of = |organization: &str| Reach::Organization(organization.parse().expect("a valid label"));
    let site = Some("many-site".parse().expect("a valid label"));
    vec![
        ("first page", filter(None)),
        ("middle page", Filter { after: Some(middle), ..filter(None) }),
        ("last page", Filter { after: Some(end), ..filter(None) }),
        ("an organization's page", Filter { reach: of("many"), ..filter(None) }),
        ("by state", Filter { state: Some(State::Stuck), ..filter(None) }),
        ("by site and state", Filter { site, state: Some(State::Stuck), ..filter(None) }),
        ("by text of one name", filter(Some("customer-054321"))),
        ("by text of one name at the end", filter(Some("customer-100000"))),
        ("by text of every name", filter(Some("example"))),
        ("by text of no name, in parts of every name", filter(Some("example.status"))),
        ("by text of the last 3,000 names", filter(Some("-last"))),
        ("by long text of the last 3,000 names", filter(Some("-last.example.com"))),
        ("by a beginning that no name has", filter(Some("zz"))),
        ("by text and a state that few have", Filter { state: Some(State::Stuck), ..filter(Some("999.ex")) }),
    ]
}

fn hostnames(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("threads can be had");
    let folder = tempfile::TempDir::new().expect("a folder can be made");
    let (clock, metrics) = (Arc::new(Still(AtomicI64::new(1_800_000_000))), Arc::new(Metrics::new("bench")));
    let store = runtime.block_on(async {
        let opened = SqliteStore::open(folder.path(), SealingKey::random(), clock, metrics).await;
        let store = opened.expect("the folder is new");
        fill(&store, folder.path()).await;
        store
    });
    let mut group = criterion.benchmark_group("100,000 hostnames");
    let numbers = AtomicU32::new(0);
    let fresh = || new(numbers.fetch_add(1, Ordering::Relaxed));
    group.bench_function("create", |b| {
        b.to_async(&runtime)
            .iter(|| async { store.register(&fresh(), Some("token")).await.expect("it is there") })
    });
    let (organization, some) =
        ("many".parse().expect("a valid label"), "status.customer-054321.example.com".parse());
    let some = some.expect("a valid name");
    group.bench_function("get", |b| {
        b.to_async(&runtime)
            .iter(|| async { store.registration(&organization, &some).await.expect("it is there") })
    });
    for (what, filter) in lists() {
        group.bench_function(what, |b| {
            b.to_async(&runtime).iter(|| async { store.registrations(&filter).await.expect("it is there") })
        });
    }
    let made = || {
        let new = fresh();
        runtime.block_on(store.register(&new, None)).expect("it is there");
        new
    };
    group.bench_function("delete", |b| {
        b.iter_batched(
            made,
            |new| {
                runtime.block_on(store.unregister(&new.organization, &new.name, None)).expect("it is there")
            },
            BatchSize::PerIteration,
        )
    });
    group.finish();
    runtime.block_on(store.close());
}

criterion_group!(benches, hostnames);
criterion_main!(benches);
