//! The part of a store that holds webhooks, and what is to be delivered to them.
//!
//! Deliveries are made of the event log: a cursor says of which events they are made, and both move
//! in one step, so that none is lost or made twice, wherever a process ends.

use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::Error;
use super::records::{Actor, Changed};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::webhook::WebhookSecret;

/// Webhooks that an organization may have.
pub const PER_ORGANIZATION: u32 = 20;
/// How long a delivery is kept, delivered or not.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How many deliveries are kept of those that are delivered or given up.
pub const DELIVERIES_KEPT: u32 = 100_000;
/// Deliveries to one webhook that may be under way at once, in the whole fleet.
pub const AT_ONCE: u32 = 4;
/// How long a delivery that was taken is nobody else's. Longer than a try takes.
pub const TAKEN: Duration = Duration::from_secs(120);

/// Where an organization wants to be told what happened. There is no `Debug`: its URL may hold a
/// token too.
#[derive(Clone)]
pub struct Webhook {
    /// What it is called by: `wh_` and random digits.
    pub id: String,
    /// Whose events it gets.
    pub organization: Label,
    /// Where messages are sent by POST.
    pub url: Url,
    /// What they are signed with.
    pub secret: WebhookSecret,
    /// What it asks for; empty: all that may be asked for.
    pub events: Vec<EventKind>,
    /// Why nothing is sent to it, where that is so.
    pub disabled: Option<String>,
    /// Grows with each change.
    pub version: i64,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it was changed.
    pub updated_at: UnixTime,
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivery {
    /// Grows; unique in the store.
    pub id: i64,
    /// [`Webhook::id`].
    pub webhook: String,
    /// Whose it is.
    pub organization: Label,
    /// The event's number in the event log.
    pub event: i64,
    /// What happened.
    pub kind: EventKind,
    /// What the receiver knows it by, the same at each try: `msg_` and random digits.
    pub message: String,
    /// The hostname that is concerned.
    pub hostname: CertificateName,
    /// What is sent, as JSON; the same at each try.
    pub body: String,
    /// When it was made.
    pub created_at: UnixTime,
    /// Failed tries since it was made or asked for again.
    pub failures: u32,
    /// The next try; `None`: it is delivered or given up.
    pub next_at: Option<UnixTime>,
    /// When the receiver took it.
    pub delivered_at: Option<UnixTime>,
    /// The status of the receiver's last answer.
    pub status: Option<u16>,
    /// What came of the last try; empty: there was none.
    pub report: String,
}

/// A delivery to be tried, and where it goes.
#[derive(Clone)]
pub struct Due {
    /// What.
    pub delivery: Delivery,
    /// Where.
    pub webhook: Webhook,
}

/// What a step of making deliveries came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct HandedOut {
    /// Events that were looked at; as many as the limit: there may be more.
    pub events: u32,
    /// Deliveries that were made of them.
    pub deliveries: u32,
}

/// What came of a try.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The receiver has it.
    Delivered {
        /// Of its answer.
        status: u16,
    },
    /// It does not.
    Failed {
        /// Of its answer, where it gave one.
        status: Option<u16>,
        /// Why, in a sentence without secrets.
        report: String,
        /// The next try; `None`: it is given up.
        next: Option<UnixTime>,
    },
    /// The receiver wants nothing more: the webhook is disabled, and all its deliveries are given up. Where
    /// the webhook was changed meanwhile, as to lead elsewhere, this is a try that failed.
    Gone {
        /// Of its answer.
        status: u16,
        /// Why, in a sentence.
        report: String,
        /// The webhook's, as it was asked.
        version: i64,
        /// The next try, where the webhook was changed; `None`: it is given up.
        next: Option<UnixTime>,
    },
}

/// Which deliveries are asked for, the newest first.
#[derive(Clone, Debug)]
pub struct DeliveryFilter {
    /// Whose.
    pub reach: Reach,
    /// To this webhook alone.
    pub webhook: Option<String>,
    /// Those before this one alone.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// Webhooks and deliveries.
///
/// Laws, kept by every implementation:
/// - of each event a webhook that asks for it gets one delivery;
/// - of the deliveries to one webhook about one hostname only the oldest that is neither delivered
///   nor given up is ever due, so a receiver learns in order what happened to a hostname.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Keeps a new webhook; `false` where the organization has [`PER_ORGANIZATION`] already. It gets
    /// what happens from now on.
    async fn add_webhook(&self, webhook: &Webhook, actor: Actor<'_>) -> Result<bool, Error>;

    /// The webhook of this identifier.
    async fn webhook(&self, reach: &Reach, id: &str) -> Result<Option<Webhook>, Error>;

    /// Up to `limit` webhooks behind the identifier `after`.
    async fn webhooks(&self, reach: &Reach, after: &str, limit: u32) -> Result<Vec<Webhook>, Error>;

    /// Changes the webhook of this identifier and organization to what `webhook` says, where its
    /// version is `based_on` or that is `None`. What happens while it is disabled is not for it.
    async fn change_webhook(
        &self,
        webhook: &Webhook,
        based_on: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Changed<Webhook>, Error>;

    /// Takes a webhook away, and all its deliveries; whether it was there.
    async fn remove_webhook(&self, reach: &Reach, id: &str, actor: Actor<'_>) -> Result<bool, Error>;

    /// Makes deliveries of up to `limit` events behind the last one of which they were made.
    async fn hand_out(&self, limit: u32) -> Result<HandedOut, Error>;

    /// Takes up to `limit` deliveries that are due at `now`, the longest due webhook first, at most
    /// [`AT_ONCE`] of a webhook under way. They are due again after [`TAKEN`] unless
    /// [`Webhooks::note_delivery`] says otherwise.
    async fn due_deliveries(&self, now: UnixTime, limit: u32) -> Result<Vec<Due>, Error>;

    /// Keeps what came of a try; whether that disabled the webhook. Nothing happens where the delivery is gone.
    async fn note_delivery(&self, id: i64, outcome: &Outcome) -> Result<bool, Error>;

    /// Deliveries, the newest first.
    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, Error>;

    /// The delivery of this number.
    async fn delivery(&self, reach: &Reach, id: i64) -> Result<Option<Delivery>, Error>;

    /// Makes a delivery due now as if it were new, with the same message identifier, and with it
    /// the older one that it waits for; whether it is there.
    async fn redeliver(&self, reach: &Reach, id: i64) -> Result<bool, Error>;

    /// The same for all deliveries to a webhook that were made at `since` or later and given up;
    /// how many those are.
    async fn redeliver_given_up(&self, reach: &Reach, webhook: &str, since: UnixTime) -> Result<u64, Error>;

    /// How many deliveries are neither delivered nor given up.
    async fn deliveries_pending(&self) -> Result<u64, Error>;

    /// Forgets deliveries older than [`KEPT`], and of those that are delivered or given up the
    /// oldest beyond [`DELIVERIES_KEPT`], so many at a time; how many.
    async fn trim_deliveries(&self, now: UnixTime) -> Result<u64, Error>;
}
