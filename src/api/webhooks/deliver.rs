//! The work of delivering: events are made deliveries, deliveries are tried, and what came of them
//! is kept. All of it is in the store, so that another process goes on where this one ends.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::back_off::pause;
use super::client::Client;
use crate::domain::clock::Clock;
use crate::store::Error;
use crate::store::records::SharedRecords;
use crate::store::webhooks::{Due, Outcome};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// How often to look for what is due, beside [`Deliveries::wake`].
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two times that old deliveries are forgotten.
const LOOKS_BETWEEN_TRIMS: u32 = 60;
/// Events made deliveries at a time.
const PAGE: u32 = 200;
/// Deliveries of this process under way at once.
const AT_ONCE: u32 = 32;
/// Tries to keep what came of a delivery while the store is away, and the pause between them; a
/// delivery that cannot be noted is tried again once it is no longer taken.
const NOTES: (u32, Duration) = (60, Duration::from_secs(1));
/// While the store is away, every look meets the same fault.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Delivers to webhooks.
pub struct Deliveries {
    store: SharedRecords,
    client: ArcSwap<Client>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    wake: Notify,
    complaints: Seldom,
}

impl Deliveries {
    /// Of what is in `store`, by `client`.
    pub fn new(store: SharedRecords, client: Client, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            store,
            client: ArcSwap::from_pointee(client),
            clock,
            metrics,
            wake: Notify::new(),
            complaints: Seldom::new(COMPLAIN_EVERY),
        }
    }

    /// The client in use, whose addresses new webhooks are held against.
    pub fn client(&self) -> Arc<Client> {
        self.client.load_full()
    }

    /// Takes another client for all that begins from now on.
    pub fn set_client(&self, client: Client) {
        self.client.store(Arc::new(client));
    }

    /// Looks at once for what is to be done.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Delivers. Never ends; what is under way ends with it, and is tried again by whoever delivers
    /// next.
    pub async fn run(self: &Arc<Self>) {
        let mut under_way = JoinSet::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                _ = look.tick() => {
                    self.complain_of(self.keep_house(looks).await);
                    looks = looks.wrapping_add(1);
                }
                () = self.wake.notified() => {}
                Some(_ended) = under_way.join_next() => {}
            }
            while under_way.try_join_next().is_some() {}
            self.complain_of(self.go_on(&mut under_way).await);
        }
    }

    fn complain_of(&self, result: Result<(), Error>) {
        if let Err(error) = result
            && let Some(unsaid) = self.complaints.permit()
        {
            tracing::warn!(%error, unsaid, "webhooks wait for the store");
        }
    }

    async fn keep_house(&self, looks: u32) -> Result<(), Error> {
        let pending = self.store.deliveries_pending().await?;
        self.metrics.webhook_deliveries_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        if looks.is_multiple_of(LOOKS_BETWEEN_TRIMS) {
            self.store.trim_deliveries(self.clock.now()).await?;
        }
        Ok(())
    }

    /// Makes deliveries of what happened, and begins with those that are due.
    async fn go_on(self: &Arc<Self>, under_way: &mut JoinSet<()>) -> Result<(), Error> {
        if self.store.hand_out(PAGE).await?.events == PAGE {
            // There is more; but first comes what is due.
            self.wake();
        }
        let room = AT_ONCE.saturating_sub(u32::try_from(under_way.len()).unwrap_or(u32::MAX));
        if room == 0 {
            return Ok(());
        }
        for due in self.store.due_deliveries(self.clock.now(), room).await? {
            let this = self.clone();
            under_way.spawn(async move { this.deliver(due).await });
        }
        Ok(())
    }

    async fn deliver(&self, due: Due) {
        let outcome = self.attempt(&due).await;
        let disabled = self.note(due.delivery.id, &outcome).await;
        let (webhook, message) = (&due.webhook.id, &due.delivery.message);
        let result = match &outcome {
            Outcome::Delivered { .. } => "delivered",
            Outcome::Gone { .. } if disabled => {
                tracing::warn!(webhook, "a webhook was disabled, as its receiver wants nothing more");
                "disabled"
            }
            Outcome::Failed { next: Some(_), report, .. } | Outcome::Gone { next: Some(_), report, .. } => {
                tracing::debug!(webhook, message, report, "a delivery to a webhook failed");
                "failed"
            }
            Outcome::Failed { next: None, report, .. } | Outcome::Gone { next: None, report, .. } => {
                tracing::warn!(webhook, message, report, "a delivery to a webhook was given up");
                "given_up"
            }
        };
        self.metrics.webhook_deliveries.with_label_values(&[result]).inc();
    }

    /// Keeps what came of a try; whether that disabled the webhook.
    async fn note(&self, id: i64, outcome: &Outcome) -> bool {
        let (tries, pause) = NOTES;
        for _ in 0..tries {
            match self.store.note_delivery(id, outcome).await {
                Ok(disabled) => return disabled,
                Err(error) => self.complain_of(Err(error)),
            }
            sleep(pause).await;
        }
        false
    }

    /// Sends it once.
    async fn attempt(&self, due: &Due) -> Outcome {
        let Due { delivery, webhook } = due;
        let sent = self.client.load_full().send(webhook, delivery, self.clock.now()).await;
        let asked = sent.as_ref().ok().and_then(|(_, asked)| *asked);
        let pause = pause(delivery.failures, asked, rand::random());
        let next = pause.map(|pause| self.clock.now().plus(pause));
        let (status, report) = match sent {
            Ok((status @ 200..=299, _)) => return Outcome::Delivered { status },
            Ok((status @ 410, _)) => {
                let report = "the receiver answered 410: it wants nothing more".to_owned();
                return Outcome::Gone { status, report, version: webhook.version, next };
            }
            Ok((status @ 300..=399, _)) => {
                (Some(status), format!("the receiver answered {status}; redirects are not followed"))
            }
            Ok((status, _)) => (Some(status), format!("the receiver answered {status}")),
            Err(why) => (None, why),
        };
        Outcome::Failed { status, report, next }
    }
}
