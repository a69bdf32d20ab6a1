//! What every store promises of answers that are kept for requests that come again.

use std::time::Duration;

use futures::future::join_all;
use nameplate::domain::clock::Clock;
use nameplate::store::answers::{Answer, KEPT, Keyed, PER_CALLER, Turn, UNDER_WAY};
use nameplate::store::seal::SealingKey;

use crate::bed::{Bed, laws};

laws!(
    of_many_requests_with_one_key_one_is_carried_out,
    the_first_answer_is_kept_also_after_reopening,
    callers_and_keys_are_apart,
    a_key_is_for_one_request,
    a_turn_that_is_given_back_is_taken_again,
    a_turn_ends_with_its_time_and_an_answer_stays,
    answers_are_forgotten_after_their_time,
    of_one_caller_the_newest_are_kept,
    an_answer_is_sealed_and_is_sealed_anew,
);

fn keyed<'a>(caller: &'a str, key: &'a str) -> Keyed<'a> {
    Keyed { caller, key, fingerprint: [7; 32] }
}

fn answer(body: &str) -> Answer {
    let headers = vec![("etag".into(), "\"v1\"".into()), ("content-type".into(), "application/json".into())];
    Answer { status: 201, headers, body: body.into() }
}

async fn turn(bed: &Bed, request: Keyed<'_>) -> Turn {
    bed.store.take_turn(request).await.unwrap()
}

async fn is_kept(bed: &Bed, request: Keyed<'_>, body: &str) -> bool {
    turn(bed, request).await == Turn::Answered(answer(body))
}

async fn keep(bed: &Bed, request: Keyed<'_>, body: &str) {
    bed.store.keep_answer(request, &answer(body)).await.unwrap();
}

async fn of_many_requests_with_one_key_one_is_carried_out(bed: Bed) {
    let turns = join_all((0..50).map(|_| turn(&bed, keyed("a", "k")))).await;
    assert_eq!(turns.iter().filter(|turn| **turn == Turn::Ours).count(), 1);
    let until = bed.clock.now().plus(UNDER_WAY);
    assert_eq!(turns.iter().filter(|turn| **turn == Turn::Theirs(until)).count(), 49);
}

async fn the_first_answer_is_kept_also_after_reopening(bed: Bed) {
    assert!(turn(&bed, keyed("a", "k")).await == Turn::Ours);
    keep(&bed, keyed("a", "k"), "first").await;
    keep(&bed, keyed("a", "k"), "second").await;
    let bed = bed.reopen().await;
    assert!(is_kept(&bed, keyed("a", "k"), "first").await);
}

async fn callers_and_keys_are_apart(bed: Bed) {
    for request in [keyed("a", "bc"), keyed("ab", "c"), keyed("a", "c")] {
        assert!(turn(&bed, request).await == Turn::Ours);
        keep(&bed, request, request.caller).await;
    }
    assert!(is_kept(&bed, keyed("a", "bc"), "a").await);
    assert!(is_kept(&bed, keyed("ab", "c"), "ab").await);
}

async fn a_key_is_for_one_request(bed: Bed) {
    let other = Keyed { fingerprint: [8; 32], ..keyed("a", "k") };
    assert!(turn(&bed, keyed("a", "k")).await == Turn::Ours);
    assert!(turn(&bed, other).await == Turn::OtherRequest);
    bed.store.give_turn_back(other).await.unwrap();
    keep(&bed, other, "other").await;
    keep(&bed, keyed("a", "k"), "ours").await;
    assert!(turn(&bed, other).await == Turn::OtherRequest);
    assert!(is_kept(&bed, keyed("a", "k"), "ours").await);
}

async fn a_turn_that_is_given_back_is_taken_again(bed: Bed) {
    let request = keyed("a", "k");
    assert!(turn(&bed, request).await == Turn::Ours);
    bed.store.give_turn_back(request).await.unwrap();
    assert!(turn(&bed, request).await == Turn::Ours);
    keep(&bed, request, "kept").await;
    bed.store.give_turn_back(request).await.unwrap();
    assert!(is_kept(&bed, request, "kept").await, "an answer stays");
}

async fn a_turn_ends_with_its_time_and_an_answer_stays(bed: Bed) {
    let request = keyed("a", "k");
    assert!(turn(&bed, request).await == Turn::Ours);
    bed.clock.advance(UNDER_WAY - Duration::from_secs(1));
    assert!(matches!(turn(&bed, request).await, Turn::Theirs(_)));
    bed.clock.advance(Duration::from_secs(1));
    assert!(turn(&bed, request).await == Turn::Ours);
    keep(&bed, request, "kept").await;
    bed.clock.advance(KEPT - Duration::from_secs(1));
    assert!(is_kept(&bed, request, "kept").await);
}

/// In a fleet nobody knows that a process is gone: its turns end with their time.
#[tokio::test]
async fn the_turns_of_the_process_that_serves_alone_end_with_it() {
    let bed = Bed::embedded().await;
    assert!(turn(&bed, keyed("a", "k")).await == Turn::Ours);
    let bed = bed.reopen().await;
    assert!(turn(&bed, keyed("a", "k")).await == Turn::Ours);
}

async fn answers_are_forgotten_after_their_time(bed: Bed) {
    let request = keyed("a", "k");
    turn(&bed, request).await;
    keep(&bed, request, "kept").await;
    bed.store.trim_answers().await.unwrap();
    assert!(is_kept(&bed, request, "kept").await);
    bed.clock.advance(KEPT);
    assert!(turn(&bed, request).await == Turn::Ours, "also before it is tidied away");
    bed.clock.advance(UNDER_WAY);
    bed.store.trim_answers().await.unwrap();
    assert_eq!(bed.rows("answers").await, 0);
}

async fn of_one_caller_the_newest_are_kept(bed: Bed) {
    turn(&bed, keyed("a", "old")).await;
    keep(&bed, keyed("a", "old"), "old").await;
    turn(&bed, keyed("b", "old")).await;
    keep(&bed, keyed("b", "old"), "of b").await;
    bed.change(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PER_CALLER} - 1)
         INSERT INTO answers (id, caller, fingerprint, sealed_answer, until)
         SELECT 'n' || i, 'a', x'00', x'00', {} FROM n",
        bed.clock.now().plus(KEPT).0 + 1,
    ))
    .await;
    assert!(is_kept(&bed, keyed("a", "old"), "old").await);
    bed.clock.advance(Duration::from_secs(1));
    turn(&bed, keyed("a", "new")).await;
    keep(&bed, keyed("a", "new"), "new").await;
    assert!(is_kept(&bed, keyed("a", "new"), "new").await);
    assert_eq!(bed.rows("answers WHERE caller = 'a'").await, i64::from(PER_CALLER));
    assert!(turn(&bed, keyed("a", "old")).await == Turn::Ours);
    assert!(is_kept(&bed, keyed("b", "old"), "of b").await);
}

async fn an_answer_is_sealed_and_is_sealed_anew(bed: Bed) {
    let (ours, next) = ("AQEB".repeat(10) + "AQE=", "AgIC".repeat(10) + "AgI=");
    let key = |text: &str| SealingKey::parse(text).unwrap();
    bed.key.replace_by(&key(&ours));
    for key in ["k1", "k2", "k3"] {
        turn(&bed, keyed("a", key)).await;
        keep(&bed, keyed("a", key), "np_secret").await;
    }
    let sealed = match bed.database {
        Some(_) => "position('np_secret'::bytea IN sealed_answer) = 0",
        None => "instr(sealed_answer, CAST('np_secret' AS BLOB)) = 0",
    };
    assert_eq!(bed.rows(&format!("answers WHERE {sealed}")).await, 3);
    bed.key.replace_by(&key(&format!("{next} {ours}")));
    let outcome = bed.store.reseal("", 2).await.unwrap();
    assert_eq!((outcome.resealed, outcome.unusable), (3, 0));
    bed.key.replace_by(&key(&next));
    assert!(is_kept(&bed, keyed("a", "k2"), "np_secret").await);
}
