//! Webhooks as rows, their secrets sealed.

use async_trait::async_trait;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use super::database::{Database, Durability, Fault, Operation};
use super::registry::{covered, found, unusable};
use super::{SqliteStore, deliveries, events, outbox};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::store::Error;
use crate::store::read::webhook as read;
use crate::store::records::{Actor, Changed};
use crate::store::webhooks::{
    Delivery, DeliveryFilter, Due, HandedOut, Outcome, PER_ORGANIZATION, Webhook, Webhooks,
};

macro_rules! webhook {
    ($rest:literal) => {
        concat!(
            "SELECT id, organization, url, sealed_secret, events, disabled, version, created_at, updated_at
             FROM webhooks ",
            $rest
        )
    };
}

/// The webhook of this identifier.
pub(super) async fn find(
    database: &Database,
    connection: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Webhook>, Fault> {
    let row = sqlx::query(webhook!("WHERE id = ?1")).bind(id).fetch_optional(connection).await?;
    row.map(|row| read::webhook(&database.key, &row)).transpose()
}

async fn webhook(database: &Database, reach: &Reach, id: &str) -> Result<Option<Webhook>, Fault> {
    let row = sqlx::query(webhook!("WHERE id = ?1 AND (?2 IS NULL OR organization = ?2)"))
        .bind(id)
        .bind(covered(reach))
        .fetch_optional(&database.readers)
        .await?;
    row.map(|row| read::webhook(&database.key, &row)).transpose()
}

async fn webhooks(
    database: &Database,
    reach: &Reach,
    after: &str,
    limit: u32,
) -> Result<Vec<Webhook>, Fault> {
    let query = match reach {
        Reach::All => sqlx::query(webhook!("WHERE id > ?1 AND ?3 IS NULL ORDER BY id LIMIT ?2")),
        Reach::Organization(_) => {
            sqlx::query(webhook!("WHERE organization = ?3 AND id > ?1 ORDER BY id LIMIT ?2"))
        }
    };
    let rows = query.bind(after).bind(limit).bind(covered(reach)).fetch_all(&database.readers).await?;
    rows.iter().map(|row| read::webhook(&database.key, row)).collect()
}

/// Notes a change of `webhook`.
pub(super) async fn note(
    connection: &mut SqliteConnection,
    now: UnixTime,
    webhook: &Webhook,
    kind: EventKind,
    actor: Actor<'_>,
) -> Result<(), sqlx::Error> {
    events::New::of_webhook(webhook, kind, actor).insert(connection, now).await
}

async fn add(database: &Database, webhook: &Webhook, actor: Actor<'_>) -> Result<bool, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    found(&mut transaction, &webhook.organization, now).await?;
    let added = sqlx::query(
        "INSERT INTO webhooks (id, organization, url, sealed_secret, events, disabled, since, version,
             created_at, updated_at)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, (SELECT coalesce(max(id), 0) FROM events), 1, ?7, ?7
         WHERE (SELECT count(*) FROM webhooks WHERE organization = ?2) < ?8",
    )
    .bind(&webhook.id)
    .bind(webhook.organization.as_str())
    .bind(webhook.url.as_str())
    .bind(read::sealed(&database.key, webhook))
    .bind(read::kinds_text(webhook))
    .bind(&webhook.disabled)
    .bind(now.0)
    .bind(PER_ORGANIZATION)
    .execute(&mut *transaction)
    .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    note(&mut transaction, now, webhook, EventKind::WebhookCreated, actor).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn change(
    database: &Database,
    webhook: &Webhook,
    based_on: Option<i64>,
    actor: Actor<'_>,
) -> Result<Changed<Webhook>, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let before: Option<(i64, i64)> =
        sqlx::query_as("SELECT version, created_at FROM webhooks WHERE id = ?1 AND organization = ?2")
            .bind(&webhook.id)
            .bind(webhook.organization.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
    let Some((version, created_at)) = before else { return Ok(Changed::Absent) };
    if based_on.is_some_and(|based_on| based_on != version) {
        return Ok(Changed::Newer(version));
    }
    let updated_at = database.now();
    let changed =
        Webhook { version: version + 1, created_at: UnixTime(created_at), updated_at, ..webhook.clone() };
    sqlx::query(
        "UPDATE webhooks SET url = ?2, sealed_secret = ?3, events = ?4,
             since = CASE WHEN disabled IS NULL THEN since ELSE (SELECT coalesce(max(id), 0) FROM events) END,
             disabled = ?5, version = ?6, updated_at = ?7 WHERE id = ?1",
    )
    .bind(&changed.id)
    .bind(changed.url.as_str())
    .bind(read::sealed(&database.key, &changed))
    .bind(read::kinds_text(&changed))
    .bind(&changed.disabled)
    .bind(changed.version)
    .bind(updated_at.0)
    .execute(&mut *transaction)
    .await?;
    note(&mut transaction, updated_at, &changed, EventKind::WebhookUpdated, actor).await?;
    transaction.commit().await?;
    drop(writer);
    if changed.disabled.is_some() {
        deliveries::give_all_up(database, &changed.id).await?;
    }
    Ok(Changed::Done(changed))
}

async fn remove(database: &Database, reach: &Reach, id: &str, actor: Actor<'_>) -> Result<bool, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    // Whatever its secret is sealed with, it can be taken away.
    let gone: Option<String> = sqlx::query_scalar(
        "DELETE FROM webhooks WHERE id = ?1 AND (?2 IS NULL OR organization = ?2) RETURNING organization",
    )
    .bind(id)
    .bind(covered(reach))
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(organization) = gone else { return Ok(false) };
    let organization = organization.parse().map_err(|why| unusable("webhook", id, why))?;
    let event = events::New::of(EventKind::WebhookDeleted, &organization, actor, json!({ "webhook": id }));
    event.insert(&mut transaction, database.now()).await?;
    transaction.commit().await?;
    drop(writer);
    deliveries::forget_all(database, id).await?;
    Ok(true)
}

#[async_trait]
impl Webhooks for SqliteStore {
    async fn add_webhook(&self, webhook: &Webhook, actor: Actor<'_>) -> Result<bool, Error> {
        let operation = Operation { label: "add_webhook", doing: "keep a webhook" };
        self.database.timed(operation, add(&self.database, webhook, actor)).await
    }

    async fn webhook(&self, reach: &Reach, id: &str) -> Result<Option<Webhook>, Error> {
        let operation = Operation { label: "webhook", doing: "look a webhook up" };
        self.database.timed(operation, webhook(&self.database, reach, id)).await
    }

    async fn webhooks(&self, reach: &Reach, after: &str, limit: u32) -> Result<Vec<Webhook>, Error> {
        let operation = Operation { label: "webhooks", doing: "list webhooks" };
        self.database.timed(operation, webhooks(&self.database, reach, after, limit)).await
    }

    async fn change_webhook(
        &self,
        webhook: &Webhook,
        based_on: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Changed<Webhook>, Error> {
        let operation = Operation { label: "change_webhook", doing: "change a webhook" };
        self.database.timed(operation, change(&self.database, webhook, based_on, actor)).await
    }

    async fn remove_webhook(&self, reach: &Reach, id: &str, actor: Actor<'_>) -> Result<bool, Error> {
        let operation = Operation { label: "remove_webhook", doing: "take a webhook away" };
        self.database.timed(operation, remove(&self.database, reach, id, actor)).await
    }

    async fn hand_out(&self, limit: u32) -> Result<HandedOut, Error> {
        let operation = Operation { label: "hand_out", doing: "make deliveries of events" };
        self.database.timed(operation, outbox::hand_out(&self.database, limit)).await
    }

    async fn due_deliveries(&self, now: UnixTime, limit: u32) -> Result<Vec<Due>, Error> {
        let operation = Operation { label: "due_deliveries", doing: "take what is to be delivered" };
        self.database.timed(operation, deliveries::due(&self.database, now, limit)).await
    }

    async fn note_delivery(&self, id: i64, outcome: &Outcome) -> Result<bool, Error> {
        let operation = Operation { label: "note_delivery", doing: "keep what came of a delivery" };
        self.database.timed(operation, deliveries::note(&self.database, id, outcome)).await
    }

    async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<Delivery>, Error> {
        let operation = Operation { label: "deliveries", doing: "list deliveries" };
        self.database.timed(operation, deliveries::list(&self.database, filter)).await
    }

    async fn delivery(&self, reach: &Reach, id: i64) -> Result<Option<Delivery>, Error> {
        let operation = Operation { label: "delivery", doing: "look a delivery up" };
        self.database.timed(operation, deliveries::find(&self.database, reach, id)).await
    }

    async fn redeliver(&self, reach: &Reach, id: i64) -> Result<bool, Error> {
        let operation = Operation { label: "redeliver", doing: "have something delivered again" };
        self.database.timed(operation, deliveries::again(&self.database, reach, id)).await
    }

    async fn redeliver_given_up(&self, reach: &Reach, webhook: &str, since: UnixTime) -> Result<u64, Error> {
        let operation =
            Operation { label: "redeliver_given_up", doing: "have what was given up delivered again" };
        let again = deliveries::all_given_up_again(&self.database, reach, webhook, since);
        self.database.timed(operation, again).await
    }

    async fn deliveries_pending(&self) -> Result<u64, Error> {
        let operation = Operation { label: "deliveries_pending", doing: "count what is to be delivered" };
        self.database.timed(operation, deliveries::pending(&self.database)).await
    }

    async fn trim_deliveries(&self, now: UnixTime) -> Result<u64, Error> {
        let operation = Operation { label: "trim_deliveries", doing: "forget old deliveries" };
        self.database.timed(operation, deliveries::trim(&self.database, now)).await
    }
}
