//! What is on its way to webhooks, as rows.
//!
//! `open` rows are neither delivered nor given up; the oldest of them of a webhook and hostname is
//! the `head`, which triggers keep so. Only heads are ever due.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, SqliteConnection};

use super::database::{Database, Durability, Fault};
use super::registry::covered;
use super::webhooks;
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::store::read::webhook as read;
use crate::store::webhooks::{AT_ONCE, DELIVERIES_KEPT, Delivery, DeliveryFilter, Due, KEPT, Outcome, TAKEN};

/// Rows changed or deleted at a time, so that nobody waits long for the turn to write.
const BATCH: u32 = 5_000;

/// The columns of a [`Delivery`].
macro_rules! columns {
    () => {
        "id, webhook, organization, event, kind, message, hostname, body, created_at, failures, next_at,
             delivered_at, status, report"
    };
}

macro_rules! delivery {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM deliveries ", $rest)
    };
}

/// Webhooks for which something is due, the longest due first, each with how much is under way to
/// it. The list of webhooks is made by as many look-ups in an index as it is long.
const WAITING: &str = "
    WITH RECURSIVE waiting (webhook) AS (
        SELECT min(webhook) FROM deliveries WHERE head = 1
        UNION ALL
        SELECT (SELECT min(webhook) FROM deliveries WHERE head = 1 AND webhook > waiting.webhook)
        FROM waiting WHERE waiting.webhook IS NOT NULL
    ), counted AS (
        SELECT webhook,
            (SELECT min(next_at) FROM deliveries WHERE head = 1 AND webhook = waiting.webhook) AS earliest,
            (SELECT count(*) FROM deliveries
             WHERE taken = 1 AND webhook = waiting.webhook AND next_at > ?1) AS under_way
        FROM waiting WHERE webhook IS NOT NULL
    )
    SELECT webhook, under_way FROM counted WHERE earliest <= ?1 AND under_way < ?2
    ORDER BY earliest LIMIT ?3";

/// Takes what is due.
pub async fn due(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<Due>, Fault> {
    let waiting = async |connection: &mut SqliteConnection| -> Result<Vec<(String, u32)>, sqlx::Error> {
        let query = sqlx::query_as(WAITING).bind(now.0).bind(AT_ONCE).bind(limit);
        query.fetch_all(connection).await
    };
    if waiting(&mut *database.readers.acquire().await?).await?.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let (mut taken, mut left, mut nobodys) = (Vec::new(), limit, Vec::new());
    for (id, under_way) in waiting(&mut transaction).await? {
        let rows = take(&mut transaction, &id, now, left.min(AT_ONCE - under_way)).await?;
        left -= u32::try_from(rows.len()).unwrap_or(left);
        match webhooks::find(database, &mut transaction, &id).await {
            Ok(Some(webhook)) if webhook.disabled.is_none() => {
                for row in &rows {
                    match read::delivery(row) {
                        Ok(delivery) => taken.push(Due { delivery, webhook: webhook.clone() }),
                        Err(Fault::Store(error)) => tracing::error!(%error, "a delivery cannot be read"),
                        Err(fault) => return Err(fault),
                    }
                }
            }
            // A process ended while it gave them up, or forgot them.
            Ok(_) => nobodys.push(id),
            // Taken all the same, so that they stand in nobody's way until they are tried again.
            Err(Fault::Store(error)) => {
                tracing::error!(webhook = id, %error, "nothing is sent to a webhook, as it cannot be read");
            }
            Err(fault) => return Err(fault),
        }
        if left == 0 {
            break;
        }
    }
    transaction.commit().await?;
    drop(writer);
    for id in nobodys {
        give_all_up(database, &id).await?;
        forget_all(database, &id).await?;
    }
    Ok(taken)
}

async fn take(
    connection: &mut SqliteConnection,
    webhook: &str,
    now: UnixTime,
    limit: u32,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    sqlx::query(concat!(
        "UPDATE deliveries SET taken = 1, next_at = ?3 WHERE id IN (
             SELECT id FROM deliveries WHERE head = 1 AND webhook = ?1 AND next_at <= ?2
             ORDER BY next_at LIMIT ?4)
         RETURNING ",
        columns!()
    ))
    .bind(webhook)
    .bind(now.0)
    .bind(now.plus(TAKEN).0)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Makes what was taken by a process that is gone due.
pub async fn let_go(connection: &mut SqliteConnection, now: UnixTime) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE deliveries SET taken = 0, next_at = ?1 WHERE taken = 1")
        .bind(now.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Keeps what came of a try. What was given up meanwhile stays so, unless it arrived. Whether the webhook
/// was disabled.
pub async fn note(database: &Database, id: i64, outcome: &Outcome) -> Result<bool, Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    let disabled = match outcome {
        Outcome::Gone { report, version, .. } => {
            disable(database, &mut transaction, (id, *version), report).await?
        }
        _ => None,
    };
    let query = match outcome {
        Outcome::Delivered { status } => sqlx::query(
            "UPDATE deliveries SET open = 0, taken = 0, next_at = NULL, delivered_at = ?2, status = ?3,
                 report = 'it was delivered' WHERE id = ?1",
        )
        .bind(id)
        .bind(now.0)
        .bind(*status),
        Outcome::Failed { status, report, next } => failed(id, *status, report, *next),
        Outcome::Gone { status, report, next, .. } => {
            failed(id, Some(*status), report, next.filter(|_| disabled.is_none()))
        }
    };
    query.execute(&mut *transaction).await?;
    transaction.commit().await?;
    drop(writer);
    if let Some(webhook) = &disabled {
        give_all_up(database, webhook).await?;
    }
    Ok(disabled.is_some())
}

type Query<'a> = sqlx::query::Query<'a, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// After a try that failed: without a next one the delivery is given up.
fn failed(id: i64, status: Option<u16>, report: &str, next: Option<UnixTime>) -> Query<'_> {
    sqlx::query(
        "UPDATE deliveries SET failures = failures + 1, taken = 0, status = ?3, report = ?4,
             open = open AND ?2 IS NOT NULL, next_at = CASE open WHEN 1 THEN ?2 END WHERE id = ?1",
    )
    .bind(id)
    .bind(next.map(|next| next.0))
    .bind(status)
    .bind(report)
}

/// Disables the webhook that the delivery `id` goes to; its identifier, unless it was before, or is not of
/// this version any more.
async fn disable(
    database: &Database,
    connection: &mut SqliteConnection,
    (id, version): (i64, i64),
    reason: &str,
) -> Result<Option<String>, Fault> {
    let now = database.now();
    let disabled: Option<String> = sqlx::query_scalar(
        "UPDATE webhooks SET disabled = ?2, version = version + 1, updated_at = ?3
         WHERE id = (SELECT webhook FROM deliveries WHERE id = ?1) AND disabled IS NULL AND version = ?4
         RETURNING id",
    )
    .bind(id)
    .bind(reason)
    .bind(now.0)
    .bind(version)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(disabled) = disabled else { return Ok(None) };
    if let Some(webhook) = webhooks::find(database, connection, &disabled).await? {
        webhooks::note(connection, now, &webhook, EventKind::WebhookUpdated, None).await?;
    }
    Ok(Some(disabled))
}

/// Gives up everything that is to be delivered to `webhook`, where it is disabled.
pub async fn give_all_up(database: &Database, webhook: &str) -> Result<(), Fault> {
    in_batches(
        database,
        "UPDATE deliveries SET open = 0, taken = 0, next_at = NULL, report = 'the webhook was disabled'
         WHERE id IN (SELECT id FROM deliveries WHERE webhook = ?1 AND open = 1 LIMIT ?2)
             AND EXISTS (SELECT 1 FROM webhooks WHERE id = ?1 AND disabled IS NOT NULL)",
        webhook,
    )
    .await
}

/// Forgets all deliveries to `webhook`, where it is gone.
pub async fn forget_all(database: &Database, webhook: &str) -> Result<(), Fault> {
    in_batches(
        database,
        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE webhook = ?1 LIMIT ?2)
             AND NOT EXISTS (SELECT 1 FROM webhooks WHERE id = ?1)",
        webhook,
    )
    .await
}

/// Does it until nothing is left, with a turn of its own for each [`BATCH`].
async fn in_batches(database: &Database, statement: &'static str, webhook: &str) -> Result<(), Fault> {
    loop {
        let mut writer = database.writer(Durability::Process).await?;
        let query = sqlx::query(statement).bind(webhook).bind(BATCH);
        if query.execute(&mut *writer.connection).await?.rows_affected() < u64::from(BATCH) {
            return Ok(());
        }
    }
}

/// Deliveries, the newest first.
pub async fn list(database: &Database, filter: &DeliveryFilter) -> Result<Vec<Delivery>, Fault> {
    let query = match (&filter.webhook, filter.reach.organization()) {
        (Some(_), _) => sqlx::query(delivery!(
            "WHERE webhook = ?1 AND (?2 IS NULL OR organization = ?2) AND id < ?3 ORDER BY id DESC LIMIT ?4"
        )),
        (None, Some(_)) => sqlx::query(delivery!(
            "WHERE ?1 IS NULL AND organization = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
        )),
        (None, None) => {
            sqlx::query(delivery!("WHERE ?1 IS NULL AND ?2 IS NULL AND id < ?3 ORDER BY id DESC LIMIT ?4"))
        }
    };
    let rows = query
        .bind(&filter.webhook)
        .bind(covered(&filter.reach))
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(filter.limit)
        .fetch_all(&database.readers)
        .await?;
    rows.iter().map(read::delivery).collect()
}

/// The delivery of this number.
pub async fn find(database: &Database, reach: &Reach, id: i64) -> Result<Option<Delivery>, Fault> {
    let row = sqlx::query(delivery!("WHERE id = ?1 AND (?2 IS NULL OR organization = ?2)"))
        .bind(id)
        .bind(covered(reach))
        .fetch_optional(&database.readers)
        .await?;
    row.map(|row| read::delivery(&row)).transpose()
}

/// Makes a delivery due as if it were new; one that is under way goes on.
pub async fn again(database: &Database, reach: &Reach, id: i64) -> Result<bool, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    let found: Option<(String, String)> = sqlx::query_as(
        "SELECT webhook, hostname FROM deliveries WHERE id = ?1 AND (?2 IS NULL OR organization = ?2)
             AND EXISTS (SELECT 1 FROM webhooks WHERE id = webhook AND disabled IS NULL)",
    )
    .bind(id)
    .bind(covered(reach))
    .fetch_optional(&mut *transaction)
    .await?;
    let Some((webhook, hostname)) = found else { return Ok(false) };
    sqlx::query(
        "UPDATE deliveries SET open = 1, next_at = ?2, failures = 0, delivered_at = NULL
         WHERE id = ?1 AND taken = 0",
    )
    .bind(id)
    .bind(now.0)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "UPDATE deliveries SET next_at = ?3
         WHERE webhook = ?1 AND hostname = ?2 AND head = 1 AND taken = 0 AND next_at > ?3",
    )
    .bind(webhook)
    .bind(hostname)
    .bind(now.0)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(true)
}

/// Makes due what was given up.
pub async fn all_given_up_again(
    database: &Database,
    reach: &Reach,
    webhook: &str,
    since: UnixTime,
) -> Result<u64, Fault> {
    let mut opened = 0;
    loop {
        let mut writer = database.writer(Durability::PowerCut).await?;
        let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
        let more = sqlx::query(
            "UPDATE deliveries SET open = 1, next_at = ?4, failures = 0 WHERE id IN (
                 SELECT id FROM deliveries
                 WHERE webhook = ?1 AND created_at >= ?2 AND open = 0 AND delivered_at IS NULL
                     AND (?3 IS NULL OR organization = ?3)
                     AND EXISTS (SELECT 1 FROM webhooks WHERE id = ?1 AND disabled IS NULL)
                 ORDER BY created_at LIMIT ?5)",
        )
        .bind(webhook)
        .bind(since.0)
        .bind(covered(reach))
        .bind(database.now().0)
        .bind(BATCH)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        opened += more.rows_affected();
        if more.rows_affected() < u64::from(BATCH) {
            return Ok(opened);
        }
    }
}

/// How many are open.
pub async fn pending(database: &Database) -> Result<u64, Fault> {
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM deliveries WHERE open = 1")
        .fetch_one(&database.readers)
        .await?;
    Ok(u64::try_from(open).unwrap_or(0))
}

/// Forgets the oldest.
pub async fn trim(database: &Database, now: UnixTime) -> Result<u64, Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let old = sqlx::query(
        "DELETE FROM deliveries WHERE id IN (
             SELECT id FROM deliveries WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)",
    )
    .bind(now.minus(KEPT).0)
    .bind(BATCH)
    .execute(&mut *writer.connection)
    .await?;
    let beyond = sqlx::query(
        "DELETE FROM deliveries WHERE id IN (
             SELECT id FROM deliveries WHERE open = 0 AND id <= (SELECT max(id) FROM deliveries) - ?1
             ORDER BY id LIMIT ?2)",
    )
    .bind(DELIVERIES_KEPT)
    .bind(BATCH)
    .execute(&mut *writer.connection)
    .await?;
    Ok(old.rows_affected() + beyond.rows_affected())
}
