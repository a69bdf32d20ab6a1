//! Keys of session tickets: one for all machines, sealed, forgotten in time.

use std::time::Duration;

use futures::future::join_all;
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::ticket::{DRAWN_OCTETS, Life, TicketKey};
use nameplate::store::seal::SealingKey;
use zeroize::Zeroizing;

use crate::bed::{Bed, laws};

laws!(
    an_added_key_is_found_again_whole_after_reopening,
    of_many_that_are_added_at_once_one_is_kept,
    what_is_added_to_an_old_state_is_not_kept,
    ended_keys_are_forgotten_and_serials_never_go_back,
    one_that_stands_alone_is_the_only_one_left,
    a_key_that_another_sealing_key_sealed_costs_itself_alone,
    keys_of_tickets_are_sealed_anew,
);

const PERIOD: Duration = Duration::from_secs(1_000);

fn key(number: u8, begins: UnixTime) -> TicketKey {
    let drawn = Zeroizing::new([number; DRAWN_OCTETS]);
    TicketKey::new(drawn, Life::new(begins, begins, PERIOD), false)
}

async fn kept(bed: &Bed) -> (Vec<TicketKey>, i64) {
    let mut fleet = bed.store.ticket_keys().await.unwrap();
    fleet.keys.sort_by_key(|key| *key.name());
    (fleet.keys, fleet.serial)
}

async fn add(bed: &Bed, key: &TicketKey) {
    let (_, serial) = kept(bed).await;
    assert!(bed.store.add_ticket_key(key, serial).await.unwrap());
}

async fn an_added_key_is_found_again_whole_after_reopening(bed: Bed) {
    assert_eq!(kept(&bed).await, (vec![], 0));
    let now = bed.clock.now();
    let first = key(1, now);
    let second = key(2, now.plus(PERIOD));
    add(&bed, &first).await;
    add(&bed, &second).await;
    let bed = bed.reopen().await;
    let (keys, serial) = kept(&bed).await;
    assert_eq!((keys, serial), (vec![first, second], 2));
}

async fn of_many_that_are_added_at_once_one_is_kept(bed: Bed) {
    for round in 0..3u8 {
        let (before, serial) = kept(&bed).await;
        let adds = (1..=20u8).map(|number| {
            let (store, key) = (bed.store.clone(), key(round * 20 + number, bed.clock.now()));
            tokio::spawn(async move { store.add_ticket_key(&key, serial).await.unwrap() })
        });
        let added = join_all(adds).await.into_iter().filter(|added| *added.as_ref().unwrap()).count();
        let (after, newest) = kept(&bed).await;
        assert_eq!((added, after.len()), (1, before.len() + 1));
        assert!(newest > serial);
    }
}

async fn what_is_added_to_an_old_state_is_not_kept(bed: Bed) {
    let now = bed.clock.now();
    add(&bed, &key(1, now)).await;
    for serial in [0, 2, -1] {
        assert!(!bed.store.add_ticket_key(&key(2, now), serial).await.unwrap(), "{serial}");
    }
    assert_eq!(kept(&bed).await.0, [key(1, now)]);
}

async fn ended_keys_are_forgotten_and_serials_never_go_back(bed: Bed) {
    let begin = bed.clock.now();
    add(&bed, &key(1, begin)).await;
    add(&bed, &key(2, begin)).await;
    bed.clock.advance(PERIOD * 2 - Duration::from_secs(1));
    assert_eq!(kept(&bed).await.0.len(), 2);
    bed.clock.advance(Duration::from_secs(1));
    assert_eq!(kept(&bed).await, (vec![], 2), "ended");
    assert!(!bed.store.add_ticket_key(&key(3, begin), 0).await.unwrap());
    let fresh = key(3, bed.clock.now());
    add(&bed, &fresh).await;
    // Not only hidden: with the clock set back they do not come again.
    bed.clock.set_back(PERIOD);
    let bed = bed.reopen().await;
    assert_eq!(kept(&bed).await, (vec![fresh], 3));
}

async fn one_that_stands_alone_is_the_only_one_left(bed: Bed) {
    let now = bed.clock.now();
    add(&bed, &key(1, now)).await;
    add(&bed, &key(2, now.plus(PERIOD))).await;
    let mut alone = key(3, now);
    alone.alone = true;
    add(&bed, &alone).await;
    assert_eq!(kept(&bed).await, (vec![alone.clone()], 3));
    add(&bed, &key(4, now)).await;
    let bed = bed.reopen().await;
    assert_eq!(kept(&bed).await, (vec![alone, key(4, now)], 4));
}

async fn a_key_that_another_sealing_key_sealed_costs_itself_alone(bed: Bed) {
    let (ours, other) = (sealing(1), sealing(2));
    let now = bed.clock.now();
    bed.key.replace_by(&SealingKey::parse(&ours).unwrap());
    add(&bed, &key(1, now)).await;
    bed.key.replace_by(&SealingKey::parse(&other).unwrap());
    add(&bed, &key(2, now)).await;
    assert_eq!(kept(&bed).await, (vec![key(2, now)], 2));
    bed.key.replace_by(&SealingKey::parse(&format!("{other} {ours}")).unwrap());
    assert_eq!(kept(&bed).await, (vec![key(1, now), key(2, now)], 2));
}

async fn keys_of_tickets_are_sealed_anew(bed: Bed) {
    let (ours, next) = (sealing(1), sealing(2));
    let now = bed.clock.now();
    bed.key.replace_by(&SealingKey::parse(&ours).unwrap());
    for number in 1..=3 {
        add(&bed, &key(number, now)).await;
    }
    bed.key.replace_by(&SealingKey::parse(&format!("{next} {ours}")).unwrap());
    let outcome = bed.store.reseal("", 2).await.unwrap();
    assert_eq!((outcome.resealed, outcome.unusable), (3, 0));
    bed.key.replace_by(&SealingKey::parse(&next).unwrap());
    assert_eq!(kept(&bed).await.0, [1, 2, 3].map(|number| key(number, now)));
}

/// A sealing key as its file holds it.
fn sealing(number: u8) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode([number; 32])
}

/// Of the embedded store: what its rows hold, and a damaged one.
#[tokio::test]
async fn a_damaged_key_costs_itself_alone_and_no_row_shows_a_secret() {
    let bed = Bed::embedded().await;
    let now = bed.clock.now();
    for number in 1..=4 {
        add(&bed, &key(number, now)).await;
    }
    let shows = "ticket_keys WHERE instr(sealed_key, x'0202020202020202') > 0";
    assert_eq!(bed.rows(shows).await, 0);
    let named = |number: u8| format!("name = '{}'", format!("{number:02x}").repeat(16));
    bed.change(&format!("UPDATE ticket_keys SET sealed_key = x'0102' WHERE {}", named(1))).await;
    let of_4 = format!("(SELECT sealed_key FROM ticket_keys WHERE {})", named(4));
    bed.change(&format!("UPDATE ticket_keys SET sealed_key = {of_4} WHERE {}", named(3))).await;
    assert_eq!(kept(&bed).await, (vec![key(2, now), key(4, now)], 4));
}
