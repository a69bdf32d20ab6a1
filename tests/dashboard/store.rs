//! What the pictures are made from: counts of the store.

use std::sync::Arc;
use std::time::Duration;

use nameplate::domain::access::Reach;
use nameplate::domain::clock::{Clock, SystemClock, UnixTime};
use nameplate::domain::event::EventKind;
use nameplate::store::records::{Certificates, Events};
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::SqliteStore;
use nameplate::telemetry::metrics::Metrics;

#[tokio::test]
async fn orders_are_counted_by_hour_and_organization() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new("test")));
    let store = SqliteStore::open(folder.path(), SealingKey::random(), clock, metrics).await.unwrap();
    let (cats, dogs) = ("cats".parse().unwrap(), "dogs".parse().unwrap());
    let detail = serde_json::json!({});
    for (whose, kind) in [
        (&cats, EventKind::CertificateIssued),
        (&cats, EventKind::CertificateIssued),
        (&cats, EventKind::CertificateExpiring),
        (&dogs, EventKind::CertificateRenewalFailed),
    ] {
        store.note_event(whose, kind, None, &detail).await.unwrap();
    }
    let now = SystemClock.now();
    let since = now.minus(Duration::from_secs(7_200));
    let sum = async |reach: Reach, kind: EventKind| {
        let counts = store.orders_by_hour(&reach, since).await.unwrap();
        assert!(counts.iter().all(|count| count.hour.0 % 3_600 == 0 && count.hour <= now));
        counts.iter().filter(|count| count.kind == kind).map(|count| count.count).sum::<u64>()
    };
    let cats = Reach::Organization(cats);
    assert_eq!(sum(Reach::All, EventKind::CertificateIssued).await, 2);
    assert_eq!(sum(Reach::All, EventKind::CertificateRenewalFailed).await, 1);
    assert_eq!(sum(cats.clone(), EventKind::CertificateIssued).await, 2);
    assert_eq!(sum(cats.clone(), EventKind::CertificateRenewalFailed).await, 0);
    assert_eq!(sum(Reach::All, EventKind::CertificateExpiring).await, 0, "that is no order");
    assert!(store.orders_by_hour(&cats, UnixTime(i64::MAX)).await.unwrap().is_empty());
    for reach in [Reach::All, cats] {
        assert_eq!(store.count_ends(&reach, &[now]).await.unwrap(), [0, 0]);
    }
}
