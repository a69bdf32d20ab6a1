//! What every store promises of handing renewals out.

use std::time::Duration;

use nameplate::domain::budget::Due;
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::hostname::CertificateName;

use crate::bed::{Bed, certificate, laws, name};

laws!(
    what_is_due_is_one_callers_until_the_hold_is_over,
    late_ones_are_handed_out_first_and_each_in_its_turn,
    what_is_put_off_parked_or_saved_is_nobodys,
    what_was_given_up_is_due_as_before,
    what_is_due_and_nobodys_is_counted_up_to_a_bound,
    parked_ones_are_in_nobodys_way,
    two_callers_at_once_never_get_the_same_name,
);

const HOLD: Duration = Duration::from_secs(100);
const DAY: u64 = 24 * 60 * 60;

/// Saves a certificate of each name that lives for so many days from now.
async fn save(bed: &Bed, all: &[(&str, u64)]) {
    for (raw, days) in all {
        bed.save(&certificate(raw, bed.clock.now().plus(Duration::from_secs(days * DAY)).0)).await;
    }
}

async fn claim(bed: &Bed, limit: u32) -> Vec<CertificateName> {
    bed.store.claim_due(bed.clock.now(), limit, HOLD).await.unwrap()
}

async fn what_is_due_is_one_callers_until_the_hold_is_over(bed: Bed) {
    save(&bed, &[("a.test", 30), ("b.test", 30)]).await;
    assert_eq!(claim(&bed, 9).await, []);
    bed.clock.advance(Duration::from_secs(21 * DAY));
    let first = claim(&bed, 1).await;
    let second = claim(&bed, 9).await;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
    bed.clock.advance(HOLD - Duration::from_secs(1));
    assert_eq!(claim(&bed, 9).await, []);
    bed.clock.advance(Duration::from_secs(1));
    assert_eq!(claim(&bed, 9).await.len(), 2, "whoever had them is gone");
    // A clock that was set back does not hold them for ever.
    bed.clock.advance(Duration::from_secs(40 * DAY));
    bed.clock.set_back(Duration::from_secs(40 * DAY) - HOLD);
    assert_eq!(claim(&bed, 9).await.len(), 2);
    let far = Duration::from_secs(40 * DAY);
    bed.clock.advance(far);
    assert_eq!(claim(&bed, 9).await.len(), 2);
    bed.clock.set_back(far);
    assert_eq!(claim(&bed, 9).await.len(), 2, "nobody holds a name for forty days");
}

async fn late_ones_are_handed_out_first_and_each_in_its_turn(bed: Bed) {
    let all = [("d90.test", 90), ("d60.test", 60), ("d75.test", 75), ("d81.test", 81), ("d300.test", 300)];
    save(&bed, &all).await;
    bed.clock.advance(Duration::from_secs(62 * DAY));
    let now = bed.clock.now();
    // One of the late ones was put off: it is not due, and then it is late still.
    bed.store.postpone_renewal(&name("d60.test"), UnixTime(now.0 + 10)).await.unwrap();
    let mut expected = Vec::new();
    for (raw, _) in all {
        let state = bed.store.renewal_state(&name(raw)).await.unwrap().unwrap();
        expected.push((Due { at: state.due, late_at: state.late_at }, name(raw)));
    }
    let mut in_turn = |now: UnixTime| -> Vec<CertificateName> {
        expected.sort_by_key(|(due, _)| due.place(now));
        expected.iter().filter(|(due, _)| due.at <= now).map(|(_, name)| name.clone()).collect()
    };
    let wanted = in_turn(now);
    assert!(wanted.len() >= 3 && !wanted.contains(&name("d60.test")), "{wanted:?}");
    assert_eq!(bed.renewals(now, 9).await, wanted);
    bed.clock.advance(Duration::from_secs(10));
    let wanted = in_turn(bed.clock.now());
    assert_eq!(wanted[0], name("d60.test"), "late for longest");
    assert_eq!(bed.renewals(bed.clock.now(), 9).await, wanted);
    assert_eq!(bed.renewals(bed.clock.now(), 1).await, wanted[..1]);
    let mut one_by_one = Vec::new();
    for _ in &wanted {
        one_by_one.extend(claim(&bed, 1).await);
    }
    assert_eq!(one_by_one, wanted);
}

async fn what_is_put_off_parked_or_saved_is_nobodys(bed: Bed) {
    save(&bed, &[("off.test", 30), ("parked.test", 30), ("saved.test", 30), ("brought.test", 30)]).await;
    bed.clock.advance(Duration::from_secs(29 * DAY));
    let now = bed.clock.now();
    let long = Duration::from_secs(5 * DAY);
    assert_eq!(bed.store.claim_due(now, 9, long).await.unwrap().len(), 4);
    bed.store.postpone_renewal(&name("off.test"), now).await.unwrap();
    assert_eq!(claim(&bed, 9).await, [name("off.test")]);
    bed.store.park_renewal(&name("parked.test"), "it left", now).await.unwrap();
    assert_eq!(claim(&bed, 9).await, [name("parked.test")]);
    save(&bed, &[("saved.test", 0)]).await;
    assert_eq!(claim(&bed, 9).await, [name("saved.test")]);
    bed.store.import(&[certificate("brought.test", now.0 + 2 * DAY as i64)]).await.unwrap();
    bed.clock.advance(Duration::from_secs(2 * DAY));
    assert!(claim(&bed, 9).await.contains(&name("brought.test")), "it was another certificate's");
}

async fn what_was_given_up_is_due_as_before(bed: Bed) {
    save(&bed, &[("a.test", 30), ("b.test", 30), ("c.test", 30)]).await;
    bed.clock.advance(Duration::from_secs(29 * DAY));
    let before = bed.store.renewal_state(&name("a.test")).await.unwrap();
    let claimed = claim(&bed, 9).await;
    bed.store.give_up_claims(&claimed[..2]).await.unwrap();
    bed.store.give_up_claims(&[name("nobody.test")]).await.unwrap();
    bed.store.give_up_claims(&[]).await.unwrap();
    assert_eq!(claim(&bed, 9).await, claimed[..2], "in their places");
    assert_eq!(bed.store.renewal_state(&name("a.test")).await.unwrap(), before);
    assert!(bed.store.attempt(&name("a.test")).await.unwrap().is_none());
}

async fn what_is_due_and_nobodys_is_counted_up_to_a_bound(bed: Bed) {
    save(&bed, &[("a.test", 30), ("b.test", 30), ("c.test", 30), ("d.test", 300)]).await;
    let count = async |most| bed.store.count_due(bed.clock.now(), most).await.unwrap();
    assert_eq!(count(9).await, 0);
    bed.clock.advance(Duration::from_secs(29 * DAY));
    assert_eq!((count(9).await, count(2).await), (3, 2));
    claim(&bed, 1).await;
    assert_eq!(count(9).await, 2);
    bed.clock.advance(HOLD);
    assert_eq!(count(9).await, 3);
}

async fn parked_ones_are_in_nobodys_way(bed: Bed) {
    save(&bed, &[("parked.test", 20), ("late.test", 30), ("due.test", 40)]).await;
    bed.clock.advance(Duration::from_secs(28 * DAY));
    let again = bed.clock.now();
    bed.store.park_renewal(&name("parked.test"), "it left", again).await.unwrap();
    assert_eq!(claim(&bed, 2).await, [name("late.test"), name("due.test")]);
    assert_eq!(claim(&bed, 2).await, [name("parked.test")]);
}

async fn two_callers_at_once_never_get_the_same_name(bed: Bed) {
    let all: Vec<String> = (0..100).map(|number| format!("n{number}.test")).collect();
    save(&bed, &all.iter().map(|raw| (raw.as_str(), 30)).collect::<Vec<_>>()).await;
    bed.clock.advance(Duration::from_secs(29 * DAY));
    let callers = (0..10).map(|_| claim(&bed, 15));
    let claimed = futures::future::join_all(callers).await.concat();
    let mut names = claimed.clone();
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    assert_eq!((claimed.len(), names.len()), (100, 100));
}
