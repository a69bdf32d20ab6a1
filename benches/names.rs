//! What the octets of an SNI cost to become a hostname.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use nameplate::domain::hostname::{CertificateName, Hostname};

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

criterion_group!(benches, names);
criterion_main!(benches);
