//! Webhooks end to end: what the store's own calls note reaches a receiver, whatever happens between.

mod bed;
mod order;
mod receiver;
mod safety;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bed::{Bed, eventually, label};
use nameplate::domain::access::Reach;
use nameplate::domain::clock::Clock;
use nameplate::domain::event::EventKind;
use nameplate::domain::registration::State;
use nameplate::store::records::{Changed, EventFilter, Events};
use nameplate::store::webhooks::{PER_ORGANIZATION, Webhook, Webhooks};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use receiver::{Behaviour, Message, Receiver};

/// The signature by another implementation of HMAC than ours.
fn signature(secret: &str, message: &Message) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = PKey::hmac(&key).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let signed = format!("{}.{}.{}", message.id(), message.header("webhook-timestamp"), message.body);
    signer.update(signed.as_bytes()).unwrap();
    format!("v1,{}", STANDARD.encode(signer.sign_to_vec().unwrap()))
}

#[tokio::test]
async fn a_message_says_what_happened_and_is_signed_as_the_convention_says() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(204)).await);
    let webhook = bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "It is served.").await;

    let _worker = bed.worker();
    eventually("a message", async || bed.counted("delivered") == 1).await;

    let [message] = <[Message; 1]>::try_from(receiver.messages()).unwrap();
    assert_eq!((message.path.as_str(), message.header("content-type")), ("/hook", "application/json"));
    assert_eq!(message.header("webhook-timestamp"), bed.clock.now().0.to_string());
    assert_eq!(message.header("webhook-signature"), signature(&webhook.secret.written(), &message));
    let wanted = serde_json::json!({
        "type": "hostname.serving",
        "timestamp": bed.clock.now().to_string(),
        "data": {
            "hostname": "a.test", "site": "shop", "organization": "cats", "state": "serving",
            "reason": "It is served.", "metadata": { "customer": 7 },
        },
    });
    assert_eq!(message.json(), wanted);
    eventually("it is noted", async || bed.deliveries().await[0].delivered_at.is_some()).await;
    let delivery = bed.deliveries().await.remove(0);
    assert_eq!((delivery.message.as_str(), delivery.status), (message.id(), Some(204)));
}

#[tokio::test]
async fn a_webhook_gets_what_it_asks_for_of_its_own_organization_since_it_is_there() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(200)).await);
    let (mine, theirs) = (bed.hostname("a.test").await, bed.hostname_of("dogs", "d.test").await);
    bed.stands(&mine, State::Serving, "before").await;
    bed.webhook(&receiver.url(), &["hostname.stuck", "hostname.deleted"]).await;
    bed.stands(&theirs, State::Stuck, "theirs").await;
    bed.stands(&mine, State::Stuck, "mine").await;
    bed.stands(&mine, State::Serving, "not asked for").await;
    bed.deletes("a.test").await;

    let _worker = bed.worker();
    eventually("two messages", async || bed.counted("delivered") == 2).await;

    let told: Vec<_> = receiver.messages().iter().map(Message::told).collect();
    let wanted = [("a.test", "hostname.stuck"), ("a.test", "hostname.deleted")];
    assert_eq!(told, wanted.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
}

#[tokio::test]
async fn a_receiver_that_answers_410_is_told_nothing_more_until_its_webhook_is_enabled_again() {
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(410)).await);
    let webhook = bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    bed.stands(&hostname, State::Stuck, "two").await;
    let worker = bed.worker();
    let found = async || bed.store.webhook(&Reach::All, &webhook.id).await.unwrap().unwrap();
    eventually("it is disabled", async || found().await.disabled.is_some()).await;
    eventually("all is given up", async || bed.store.deliveries_pending().await.unwrap() == 0).await;
    assert_eq!(bed.counted("disabled"), 1);

    bed.stands(&hostname, State::Serving, "three").await;
    bed.store.hand_out(100).await.unwrap();
    assert_eq!((bed.deliveries().await.len(), receiver.messages().len()), (2, 1));
    assert!(!bed.store.redeliver(&Reach::All, bed.deliveries().await[0].id).await.unwrap());

    receiver.behave(Behaviour::Status(200));
    let enabled = Webhook { disabled: None, ..found().await };
    let changed = bed.store.change_webhook(&enabled, Some(enabled.version), Some("token")).await.unwrap();
    assert!(matches!(changed, Changed::Done(_)));
    bed.stands(&hostname, State::Stuck, "four").await;
    worker.deliveries.wake();
    eventually("it is told again", async || bed.counted("delivered") == 1).await;
    assert_eq!(receiver.messages().last().unwrap().json()["data"]["reason"], "four");
}

#[tokio::test]
async fn changes_are_noted_with_who_asked_for_them_and_only_an_organizations_own_are_its_business() {
    let bed = Bed::new().await;
    let webhook = bed.webhook("https://hooks.test/?token=hidden", &["hostname.serving"]).await;
    let (cats, dogs) = (Reach::Organization(label("cats")), Reach::Organization(label("dogs")));
    assert!(bed.store.webhook(&dogs, &webhook.id).await.unwrap().is_none());
    assert!(bed.store.webhooks(&dogs, "", 9).await.unwrap().is_empty());
    assert!(!bed.store.remove_webhook(&dogs, &webhook.id, Some("theirs")).await.unwrap());
    assert_eq!(bed.store.webhooks(&cats, "", 9).await.unwrap().len(), 1);

    let other = Webhook { events: vec![], ..webhook.clone() };
    let stale = bed.store.change_webhook(&other, Some(7), Some("second")).await.unwrap();
    assert!(matches!(stale, Changed::Newer(1)));
    let Changed::Done(changed) = bed.store.change_webhook(&other, Some(1), Some("second")).await.unwrap()
    else {
        panic!("it is there, and its version is 1");
    };
    assert_eq!((changed.version, changed.events.len()), (2, 0));
    assert!(bed.store.remove_webhook(&cats, &webhook.id, Some("third")).await.unwrap());
    assert!(!bed.store.remove_webhook(&cats, &webhook.id, Some("third")).await.unwrap());

    let audit = EventFilter { reach: cats, hostname: None, audit: true, before: None, limit: 9 };
    let events = bed.store.events(&audit).await.unwrap();
    let noted: Vec<_> = events.iter().rev().map(|event| (event.kind, event.actor.as_deref())).collect();
    let wanted = [
        (EventKind::WebhookCreated, Some("token")),
        (EventKind::WebhookUpdated, Some("second")),
        (EventKind::WebhookDeleted, Some("third")),
    ];
    assert_eq!(noted, wanted);
    let shown = format!("{events:?}");
    assert!(!shown.contains("hidden") && !shown.contains("whsec_"), "{shown}");
}

#[tokio::test]
async fn an_organization_has_so_many_webhooks_and_no_more() {
    let bed = Bed::new().await;
    let mut last = None;
    for _ in 0..PER_ORGANIZATION {
        last = Some(bed.webhook("https://hooks.test/", &[]).await);
    }
    let one_more = Webhook { id: "wh_more".to_owned(), ..last.unwrap() };
    assert!(!bed.store.add_webhook(&one_more, None).await.unwrap());
    bed.webhook_of("dogs", "https://hooks.test/", &[]).await;
}
