//! Nothing is lost, doubled or told out of order.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use nameplate::config::Engine;
use nameplate::domain::access::Reach;
use nameplate::domain::clock::Clock;
use nameplate::domain::registration::State;
use nameplate::store::local::LocalTier;
use nameplate::store::steady::SteadyStore;
use nameplate::store::webhooks::{AT_ONCE, KEPT, Webhooks};

use crate::bed::{Bed, eventually, worker};
use crate::receiver::{Behaviour, Message, Receiver};

fn told_of(messages: &[Message], hostname: &str) -> Vec<String> {
    messages.iter().map(Message::told).filter(|told| told.0 == hostname).map(|told| told.1).collect()
}

#[tokio::test]
async fn a_receiver_that_was_down_gets_everything_once_it_is_back_in_order_for_each_hostname() {
    let (bed, mut receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(503)).await);
    bed.webhook(&receiver.url(), &[]).await;
    let (a, b) = (bed.hostname("a.test").await, bed.hostname("b.test").await);
    bed.stands(&a, State::Serving, "one").await;
    bed.stands(&a, State::Stuck, "two").await;
    bed.stands(&b, State::Serving, "three").await;
    bed.stands(&a, State::Serving, "four").await;
    bed.deletes("a.test").await;

    let worker = bed.worker();
    let failures = async || bed.deliveries().await.iter().map(|one| one.failures).collect::<Vec<_>>();
    eventually("the oldest ones were tried", async || failures().await == [1, 0, 1, 0, 0]).await;
    bed.advance(6, &worker).await;
    eventually("they were tried again", async || failures().await == [2, 0, 2, 0, 0]).await;
    receiver.stop().await;
    bed.advance(331, &worker).await;
    eventually("nobody is there", async || failures().await == [3, 0, 3, 0, 0]).await;
    let report = bed.deliveries().await.remove(0).report;
    assert!(report.starts_with("no connection: "), "{report}");
    assert_eq!((bed.counted("failed"), receiver.messages().len()), (6, 4));

    receiver.behave(Behaviour::Status(200));
    receiver.resume().await;
    bed.advance(3600, &worker).await;
    eventually("all have arrived", async || bed.store.deliveries_pending().await.unwrap() == 0).await;

    let messages = receiver.messages();
    let arrived = &messages[4..];
    assert_eq!(
        told_of(arrived, "a.test"),
        ["hostname.serving", "hostname.stuck", "hostname.serving", "hostname.deleted"]
    );
    assert_eq!(told_of(arrived, "b.test"), ["hostname.serving"]);
    assert_eq!(arrived.len(), 5);
    let ids = |messages: &[Message]| messages.iter().map(|one| one.id().to_owned()).collect::<HashSet<_>>();
    assert_eq!((ids(&messages).len(), ids(&messages[..4]).len(), ids(&messages[2..4]).len()), (5, 2, 2));
    let late =
        messages[4..].iter().all(|one| one.header("webhook-timestamp") == bed.clock.now().0.to_string());
    assert!(late, "the timestamp is that of the try");
}

#[tokio::test]
async fn a_crash_between_hand_out_and_delivery_loses_and_doubles_nothing() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Silent).await);
    bed.webhook(&receiver.url(), &[]).await;
    for number in 0..20 {
        let hostname = bed.hostname(&format!("h{number}.test")).await;
        bed.stands(&hostname, State::Serving, "one").await;
        bed.stands(&hostname, State::Stuck, "two").await;
    }
    let first = bed.worker();
    eventually("some are under way", async || receiver.messages().len() == 4).await;
    first.crash().await;
    let before = receiver.messages();
    assert_eq!(bed.deliveries().await.len(), 40);

    let bed = bed.reopen().await;
    receiver.behave(Behaviour::Status(200));
    let second = bed.worker();
    eventually("all have arrived", async || bed.store.deliveries_pending().await.unwrap() == 0).await;
    second.crash().await;

    let ids: Vec<String> = receiver.messages()[4..].iter().map(|one| one.id().to_owned()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (40, 40));
    assert!(before.iter().all(|one| ids.contains(&one.id().to_owned())), "the same ones again");
    let bed = bed.reopen().await;
    assert_eq!((bed.store.hand_out(100).await.unwrap().deliveries, bed.deliveries().await.len()), (0, 40));
}

#[tokio::test]
async fn a_webhook_has_few_deliveries_under_way_at_once_and_holds_up_no_other() {
    let (bed, slow) = (Bed::new().await, Receiver::start(Behaviour::Silent).await);
    let quick = Receiver::start(Behaviour::Status(200)).await;
    bed.webhook(&slow.url(), &[]).await;
    bed.webhook(&quick.url(), &[]).await;
    for number in 0..30 {
        let hostname = bed.hostname(&format!("h{number}.test")).await;
        bed.stands(&hostname, State::Serving, "one").await;
    }
    let worker = bed.worker();
    eventually("the other one has all", async || bed.counted("delivered") == 30).await;
    assert_eq!(slow.messages().len(), AT_ONCE as usize);
    worker.crash().await;
}

#[tokio::test]
async fn a_busy_receiver_is_left_alone_for_as_long_as_it_asks() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Busy(4000)).await);
    bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    let began = bed.clock.now().0;
    let _worker = bed.worker();
    eventually("it was tried", async || bed.deliveries().await.first().is_some_and(|one| one.failures == 1))
        .await;
    let one = bed.deliveries().await.remove(0);
    let pause = one.next_at.unwrap().0 - began;
    assert!((4000..4401).contains(&pause), "{pause} s in place of 5");
    assert_eq!((one.status, one.report.as_str()), (Some(503), "the receiver answered 503"));
}

#[tokio::test]
async fn what_was_given_up_after_days_is_delivered_when_somebody_asks_for_it() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(500)).await);
    let webhook = bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    bed.stands(&hostname, State::Stuck, "two").await;
    let began = bed.clock.now();
    let worker = bed.worker();
    // Ten tries of the first one, and the second one's only once the first is given up.
    for tries in 1..=10_usize {
        eventually("another try", async || {
            worker.deliveries.wake();
            bed.deliveries().await.first().is_some_and(|one| one.failures == tries as u32)
        })
        .await;
        let days = bed.clock.now().0 - began.0;
        assert!(tries < 10 || days > 3 * 24 * 3600, "given up after {days} s");
        if tries < 10 {
            assert_eq!(bed.deliveries().await[1].failures, 0);
            let next = bed.deliveries().await[0].next_at.unwrap();
            bed.advance(u64::try_from(next.0 - bed.clock.now().0).unwrap(), &worker).await;
        }
    }
    eventually("the next one's turn", async || bed.deliveries().await[1].failures == 1).await;
    assert_eq!((bed.counted("given_up"), bed.deliveries().await[0].next_at), (1, None));

    receiver.behave(Behaviour::Status(200));
    let again = bed.store.redeliver_given_up(&Reach::All, &webhook.id, began).await.unwrap();
    assert_eq!(again, 1);
    bed.advance(6, &worker).await;
    eventually("both have arrived", async || bed.counted("delivered") == 2).await;
    let messages = receiver.messages();
    assert_eq!(told_of(&messages[messages.len() - 2..], "a.test"), ["hostname.serving", "hostname.stuck"]);

    eventually("they are noted", async || bed.store.deliveries_pending().await.unwrap() == 0).await;
    let first = bed.deliveries().await.remove(0);
    assert!(bed.store.redeliver(&Reach::Organization("cats".parse().unwrap()), first.id).await.unwrap());
    assert!(!bed.store.redeliver(&Reach::Organization("dogs".parse().unwrap()), first.id).await.unwrap());
    worker.deliveries.wake();
    eventually("it comes once more", async || bed.counted("delivered") == 3).await;
    assert_eq!(receiver.messages().last().unwrap().id(), first.message);
}

#[tokio::test]
async fn somebody_who_asks_for_a_later_one_gets_the_one_before_it_too() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(500)).await);
    bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    bed.stands(&hostname, State::Stuck, "two").await;
    let worker = bed.worker();
    eventually("a try", async || bed.deliveries().await.iter().any(|one| one.failures == 1)).await;

    receiver.behave(Behaviour::Status(200));
    let second = bed.deliveries().await.remove(1);
    assert!(bed.store.redeliver(&Reach::All, second.id).await.unwrap());
    worker.deliveries.wake();
    eventually("both have arrived", async || bed.counted("delivered") == 2).await;
}

#[tokio::test]
async fn events_wait_for_a_store_that_is_away() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(200)).await);
    bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    let Bed { store, clock, metrics, key, folder } = bed;
    store.close().await;
    drop(store);
    let data = folder.path().join("data");
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&data, &elsewhere).unwrap();
    // Where its folder should be there is a file.
    fs::write(&data, "").unwrap();

    let local = LocalTier::open(&folder.path().join("local"), key.clone()).unwrap();
    let steady =
        SteadyStore::open((&Engine::Embedded, &data), key, local, clock.clone(), metrics.clone(), None).await;
    let steady = Arc::new(steady.unwrap());
    let _worker = worker(steady.clone(), clock, metrics.clone(), &["127.0.0.0/8"]);
    assert_eq!(metrics.store_open.get(), 0);
    fs::remove_file(&data).unwrap();
    fs::rename(&elsewhere, &data).unwrap();
    let opening = tokio::spawn(async move { steady.keep_open().await });

    eventually("a message", async || receiver.messages().len() == 1).await;
    opening.abort();
}

#[tokio::test]
async fn old_deliveries_are_forgotten_and_the_next_one_takes_its_place() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(200)).await);
    bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    assert_eq!(bed.store.hand_out(100).await.unwrap().deliveries, 1);
    bed.clock.advance(KEPT);
    assert_eq!(bed.store.trim_deliveries(bed.clock.now()).await.unwrap(), 0);
    bed.clock.advance(std::time::Duration::from_secs(1));
    bed.stands(&hostname, State::Stuck, "two").await;
    assert_eq!(bed.store.hand_out(100).await.unwrap().deliveries, 1);
    assert_eq!(bed.store.trim_deliveries(bed.clock.now()).await.unwrap(), 1);
    assert_eq!(bed.store.deliveries_pending().await.unwrap(), 1);

    let due = bed.store.due_deliveries(bed.clock.now(), 9).await.unwrap();
    assert_eq!(due[0].delivery.body.matches("two").count(), 1);
    assert!(bed.store.due_deliveries(bed.clock.now(), 9).await.unwrap().is_empty(), "it is taken");
}

#[tokio::test]
async fn what_a_crash_left_of_a_disabled_or_removed_webhook_is_never_sent() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(200)).await);
    let disabled = bed.webhook(&receiver.url(), &[]).await;
    let removed = bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    assert_eq!(bed.store.hand_out(100).await.unwrap().deliveries, 2);
    bed.change(&format!("UPDATE webhooks SET disabled = 'x' WHERE id = '{}'", disabled.id)).await;
    bed.change(&format!("DELETE FROM webhooks WHERE id = '{}'", removed.id)).await;

    assert!(bed.store.due_deliveries(bed.clock.now(), 9).await.unwrap().is_empty());
    let left = bed.deliveries().await;
    assert_eq!((left.len(), &left[0].webhook, left[0].next_at), (1, &disabled.id, None));
}
