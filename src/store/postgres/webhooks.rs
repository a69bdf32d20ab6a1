//! Webhooks as rows, their secrets sealed.

use async_trait::async_trait;
use serde_json::json;
use sqlx::PgConnection;

use super::database::{Database, Fault, Operation};
use super::registry::found;
use super::text::plain;
use super::{PostgresStore, deliveries, due, events, outbox};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::store::Error;
use crate::store::read::row::{covered, unusable};
use crate::store::read::webhook as read;
use crate::store::records::{Actor, Changed};
use crate::store::told::New;
use crate::store::webhooks::{
    Delivery, DeliveryFilter, Due, HandedOut, Outcome, PER_ORGANIZATION, Webhook, Webhooks,
};

macro_rules! columns {
    () => {
        "id, organization, url, sealed_secret, events, disabled, version, created_at, updated_at"
    };
}
pub(super) use columns;

macro_rules! webhook {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM webhooks ", $rest)
    };
}

/// The last event's number is seen under the organization's lock; events that were committed before have
/// theirs.
const ADD: &str = "
    INSERT INTO webhooks (id, organization, url, sealed_secret, events, disabled, since, version, created_at,
        updated_at)
    SELECT $1, $2, $3, $4, $5, $6, (SELECT coalesce(max(id), 0) FROM events), 1, moment, moment
    FROM unix_now() AS moment WHERE (SELECT count(*) FROM webhooks WHERE organization = $2) < $7";

const CHANGE: &str = concat!(
    "UPDATE webhooks SET url = $3, sealed_secret = $4, events = $5,
         since = CASE WHEN disabled IS NULL THEN since ELSE (SELECT coalesce(max(id), 0) FROM events) END,
         disabled = $6, version = version + 1, updated_at = unix_now()
     WHERE id = $1 AND organization = $2 AND ($7::bigint IS NULL OR version = $7) RETURNING ",
    columns!()
);

async fn webhook(database: &Database, reach: &Reach, id: &str) -> Result<Option<Webhook>, Fault> {
    let row = sqlx::query(webhook!("WHERE id = $1 AND ($2::text IS NULL OR organization = $2)"))
        .bind(plain(id))
        .bind(covered(reach))
        .fetch_optional(&database.pool)
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
        Reach::All => webhook!("WHERE id > $1 AND $3::text IS NULL ORDER BY id LIMIT $2"),
        Reach::Organization(_) => webhook!("WHERE organization = $3 AND id > $1 ORDER BY id LIMIT $2"),
    };
    let query = sqlx::query(query).bind(plain(after)).bind(i64::from(limit)).bind(covered(reach));
    query.fetch_all(&database.pool).await?.iter().map(|row| read::webhook(&database.key, row)).collect()
}

/// Notes a change of `webhook`.
pub(super) async fn note(
    connection: &mut PgConnection,
    webhook: &Webhook,
    kind: EventKind,
    actor: Actor<'_>,
) -> Result<(), sqlx::Error> {
    events::insert(New::of_webhook(webhook, kind, actor), connection).await
}

async fn add(database: &Database, webhook: &Webhook, actor: Actor<'_>) -> Result<bool, Fault> {
    let mut connection = database.pool.acquire().await?;
    events::number(&mut connection).await?;
    let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
    found(&mut transaction, webhook.organization.as_str()).await?;
    // One at a time of an organization.
    sqlx::query("SELECT 1 FROM organizations WHERE name = $1 FOR UPDATE")
        .bind(webhook.organization.as_str())
        .execute(&mut *transaction)
        .await?;
    let added = sqlx::query(ADD)
        .bind(&webhook.id)
        .bind(webhook.organization.as_str())
        .bind(webhook.url.as_str())
        .bind(read::sealed(&database.key, webhook))
        .bind(read::kinds_text(webhook))
        .bind(&webhook.disabled)
        .bind(i64::from(PER_ORGANIZATION))
        .execute(&mut *transaction)
        .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    note(&mut transaction, webhook, EventKind::WebhookCreated, actor).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn change(
    database: &Database,
    webhook: &Webhook,
    based_on: Option<i64>,
    actor: Actor<'_>,
) -> Result<Changed<Webhook>, Fault> {
    let mut connection = database.pool.acquire().await?;
    events::number(&mut connection).await?;
    let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
    let row = sqlx::query(CHANGE)
        .bind(&webhook.id)
        .bind(webhook.organization.as_str())
        .bind(webhook.url.as_str())
        .bind(read::sealed(&database.key, webhook))
        .bind(read::kinds_text(webhook))
        .bind(&webhook.disabled)
        .bind(based_on)
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(row) = row else {
        let version: Option<i64> =
            sqlx::query_scalar("SELECT version FROM webhooks WHERE id = $1 AND organization = $2")
                .bind(&webhook.id)
                .bind(webhook.organization.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        return Ok(version.map_or(Changed::Absent, Changed::Newer));
    };
    let changed = read::webhook(&database.key, &row)?;
    note(&mut transaction, &changed, EventKind::WebhookUpdated, actor).await?;
    transaction.commit().await?;
    drop(connection);
    if changed.disabled.is_some() {
        deliveries::give_all_up(database, &changed.id).await?;
    }
    Ok(Changed::Done(changed))
}

async fn remove(database: &Database, reach: &Reach, id: &str, actor: Actor<'_>) -> Result<bool, Fault> {
    let id = plain(id);
    let mut transaction = database.pool.begin().await?;
    // Whatever its secret is sealed with, it can be taken away.
    let gone: Option<String> = sqlx::query_scalar(
        "DELETE FROM webhooks WHERE id = $1 AND ($2::text IS NULL OR organization = $2) RETURNING organization",
    )
    .bind(&*id)
    .bind(covered(reach))
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(organization) = gone else { return Ok(false) };
    let organization = organization.parse().map_err(|why| unusable("webhook", &id, why))?;
    let event = New::of(EventKind::WebhookDeleted, &organization, actor, json!({ "webhook": id }));
    events::insert(event, &mut transaction).await?;
    transaction.commit().await?;
    deliveries::forget_all(database, &id).await?;
    Ok(true)
}

#[async_trait]
impl Webhooks for PostgresStore {
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
        self.database.timed(operation, due::due(&self.database, now, limit)).await
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
