//! What a hostname costs on the hot path: read from SNI, its certificate found, its site found.

use std::hint::black_box;

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nameplate::certs::index::{Entry, Index};
use nameplate::domain::certificate::Validity;
use nameplate::domain::clock::UnixTime;
use nameplate::domain::hostname::{CertificateName, Hostname};
use nameplate::domain::site::{Origin, OriginTimeouts, Scheme, Site};
use nameplate::sites::table::{Names, Table};

/// How many names there are in a look-up.
const SIZES: [usize; 3] = [1, 10_000, 1_000_000];
/// Look-ups walk through this many of them, so that no cache holds just one.
const WALK: usize = 4096;

fn names(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("names");
    group.bench_function("sni", |b| {
        b.iter(|| Hostname::from_sni(black_box(b"status.customer-1234.example.com")))
    });
    group.bench_function("sni in upper case with a trailing dot", |b| {
        b.iter(|| Hostname::from_sni(black_box(b"Status.Customer-1234.Example.COM.")))
    });
    group.bench_function("sni that is none", |b| b.iter(|| Hostname::from_sni(black_box(b"a..b_c/../etc"))));
    let hostname = Hostname::from_sni(b"status.customer-1234.example.com").expect("a valid name");
    group.bench_function("wildcard of a hostname", |b| {
        b.iter(|| CertificateName::wildcard_of(black_box(&hostname)))
    });
    group.bench_function("obtainable", |b| b.iter(|| black_box(&hostname).obtainable()));
    group.finish();
}

fn hostname(number: usize) -> Hostname {
    format!("status.customer-{number}.example.com").parse().expect("a valid name")
}

/// Names spread over all `size`, in an order that no prefetcher guesses.
fn walk(size: usize) -> Vec<Hostname> {
    (0..WALK.min(size)).map(|step| hostname(step.wrapping_mul(2_654_435_761) % size)).collect()
}

fn index(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    let now = UnixTime(1);
    let validity = Validity { not_before: UnixTime(0), not_after: UnixTime(2) };
    let entry = || Entry { ready: Arc::new(()), validity, own: false };
    for size in SIZES {
        let index = Index::new(2_000_000);
        for number in 0..size {
            index.insert(hostname(number).into(), entry());
        }
        index.insert("*.platform.example".parse().expect("a valid name"), entry());
        let names = walk(size);
        let mut next = names.iter().cycle();
        group.bench_function(BenchmarkId::new("exact", size), |b| {
            b.iter(|| index.find(next.next().expect("a cycle"), now).expect("inserted"))
        });
        let under_wildcard: Hostname = "shop.platform.example".parse().expect("a valid name");
        group.bench_function(BenchmarkId::new("wildcard", size), |b| {
            b.iter(|| index.find(black_box(&under_wildcard), now).expect("inserted"))
        });
        let unknown: Hostname = "nobody.stranger.example".parse().expect("a valid name");
        group.bench_function(BenchmarkId::new("unknown", size), |b| {
            b.iter(|| index.find(black_box(&unknown), now).is_none())
        });
    }
    group.finish();
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routes");
    for size in SIZES {
        let site = Site {
            name: "default".into(),
            organization: "default".into(),
            hostnames: (0..size).map(|number| hostname(number).into()).collect(),
            origins: vec![Origin { scheme: Scheme::Http, host: "127.0.0.1".into(), port: 3000 }],
            files: None,
            hsts: None,
            timeouts: OriginTimeouts::default(),
        };
        let table = Table::new(&Names::of_sites(&[site]), |place, _| place);
        let names = walk(size);
        let mut next = names.iter().cycle();
        group.bench_function(BenchmarkId::new("exact", size), |b| {
            b.iter(|| table.find(next.next().expect("a cycle")).expect("listed"))
        });
    }
    group.finish();
}

criterion_group!(benches, names, index, routes);
criterion_main!(benches);
