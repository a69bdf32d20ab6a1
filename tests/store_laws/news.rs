//! The sequence of changes by which machines learn what others did.

use std::collections::BTreeSet;

use nameplate::store::changes::{Change, News};
use nameplate::store::{Challenge, ChallengeKind};

use crate::bed::{Bed, certificate, laws, name};

laws!(
    a_saved_certificate_is_news,
    a_certificate_that_is_taken_out_of_use_is_news,
    imported_certificates_are_news,
    news_come_in_order_and_in_pages,
    a_number_that_was_never_given_is_refused,
    what_was_forgotten_is_not_taken_for_nothing,
);

impl Bed {
    async fn next_news(&self, after: i64, limit: u32) -> Vec<(i64, Change)> {
        match self.store.news_after(after, limit).await.unwrap() {
            News::Next(news) => news,
            other => panic!("{other:?}"),
        }
    }

    /// What changed behind `after`, once each, and the number of the last.
    async fn news(&self, after: i64) -> (i64, BTreeSet<String>) {
        let news = self.next_news(after, 1_000).await;
        let last = news.last().map_or(after, |(number, _)| *number);
        (last, news.into_iter().map(|(_, change)| format!("{change:?}")).collect())
    }
}

fn of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|raw| format!("{:?}", Change::Certificate(name(raw)))).collect()
}

async fn a_saved_certificate_is_news(bed: Bed) {
    assert_eq!(bed.store.last_news().await.unwrap(), 0);
    bed.save(&certificate("a.test", 2_000_000_000)).await;
    let (last, news) = bed.news(0).await;
    assert_eq!(news, of(&["a.test"]));
    assert_eq!(bed.store.last_news().await.unwrap(), last);
    bed.save(&certificate("b.test", 2_000_000_000)).await;
    let (after, news) = bed.news(last).await;
    assert_eq!(news, of(&["b.test"]));
    assert!(bed.news(after).await.1.is_empty());
    // What does not concern others is none.
    bed.lease("b.test").await.unwrap();
    bed.store.postpone_renewal(&name("b.test"), nameplate::domain::clock::UnixTime(1)).await.unwrap();
    assert!(bed.news(after).await.1.is_empty());
}

async fn a_certificate_that_is_taken_out_of_use_is_news(bed: Bed) {
    for raw in ["removed.test", "withheld.test", "damaged.test"] {
        bed.save(&certificate(raw, 2_000_000_000)).await;
    }
    let (last, _) = bed.news(0).await;
    bed.store.remove(&name("removed.test")).await.unwrap();
    bed.store.withhold(&name("withheld.test")).await.unwrap();
    bed.store.quarantine(&name("damaged.test"), "a test").await.unwrap();
    let (last, news) = bed.news(last).await;
    assert_eq!(news, of(&["removed.test", "withheld.test", "damaged.test"]));
    assert!(bed.store.bring_back(&name("withheld.test")).await.unwrap());
    assert_eq!(bed.news(last).await.1, of(&["withheld.test"]));
}

async fn imported_certificates_are_news(bed: Bed) {
    let brought = ["a.test", "b.test"].map(|raw| certificate(raw, 2_000_000_000));
    bed.store.import(&brought).await.unwrap();
    let (last, news) = bed.news(0).await;
    assert_eq!(news, of(&["a.test", "b.test"]));
    bed.store.import(&brought).await.unwrap();
    assert!(bed.news(last).await.1.is_empty(), "they were there");
}

async fn news_come_in_order_and_in_pages(bed: Bed) {
    let names: Vec<String> = (0..5).map(|number| format!("n{number}.test")).collect();
    for name in &names {
        bed.save(&certificate(name, 2_000_000_000)).await;
    }
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let page = bed.next_news(after, 2).await;
        let Some((last, _)) = page.last() else { break };
        assert!(page.len() <= 2 && *last > after);
        after = *last;
        found.extend(page.into_iter().map(|(_, change)| change));
    }
    let wanted: Vec<Change> = names.iter().map(|raw| Change::Certificate(name(raw))).collect();
    assert_eq!(found, wanted);
}

async fn a_number_that_was_never_given_is_refused(bed: Bed) {
    bed.save(&certificate("a.test", 2_000_000_000)).await;
    let last = bed.store.last_news().await.unwrap();
    // As after a restore of a backup, whose numbers have gone another way since.
    assert_eq!(bed.store.news_after(last + 1, 10).await.unwrap(), News::Elsewhere);
    assert_eq!(bed.next_news(last, 10).await, []);
}

async fn what_was_forgotten_is_not_taken_for_nothing(bed: Bed) {
    for raw in ["a.test", "b.test", "c.test"] {
        bed.save(&certificate(raw, 2_000_000_000)).await;
    }
    let numbers: Vec<i64> = bed.next_news(0, 10).await.into_iter().map(|(number, _)| number).collect();
    let forget = match bed.database.is_none() {
        true => format!("DELETE FROM news WHERE id <= {}", numbers[1]),
        false => format!("DELETE FROM changes WHERE number <= {}", numbers[1]),
    };
    bed.change(&forget).await;
    assert_eq!(bed.store.news_after(numbers[0], 10).await.unwrap(), News::Forgotten);
    assert_eq!(bed.next_news(numbers[2], 10).await, []);
}

/// As where a machine is moved from the embedded store: nothing was forgotten that its copies lack.
#[tokio::test]
async fn a_number_of_an_embedded_store_is_none_of_postgres() {
    let bed = Bed::postgres().await;
    bed.save(&certificate("a.test", 2_000_000_000)).await;
    // It is numbered by then.
    assert!(bed.store.last_news().await.unwrap() > 1_000_000);
    for number in [1, 100_000] {
        assert_eq!(bed.store.news_after(number, 10).await.unwrap(), News::Elsewhere);
    }
}

/// The embedded store's machines are one, which knows its own challenges.
#[tokio::test]
async fn a_challenge_of_another_machine_is_news() {
    let bed = Bed::postgres().await;
    let challenge = |kind, key: &str| Challenge { kind, ..bed.challenge(kind, key, 60) };
    let (http, alpn) =
        (challenge(ChallengeKind::Http01, "token"), challenge(ChallengeKind::TlsAlpn01, "a.test"));
    bed.store.publish_challenge(&http).await.unwrap();
    bed.store.publish_challenge(&alpn).await.unwrap();
    let said =
        |challenge: &Challenge| format!("{:?}", Change::Challenge(challenge.kind, challenge.key.clone()));
    let (last, news) = bed.news(0).await;
    assert_eq!(news, BTreeSet::from([said(&http), said(&alpn)]));
    bed.store.withdraw_challenge(&http).await.unwrap();
    assert_eq!(bed.news(last).await.1, BTreeSet::from([said(&http)]));
}
