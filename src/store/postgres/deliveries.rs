//! What is on its way to webhooks, as rows.
//!
//! `open` rows are neither delivered nor given up; the oldest of them of a webhook and hostname is
//! the `head`, which triggers keep so. Only heads are ever due.

use sqlx::PgConnection;

use super::database::{Database, Fault};
use super::text::plain;
use super::tries::Tries;
use super::webhooks;
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::store::read::row::covered;
use crate::store::read::webhook as read;
use crate::store::webhooks::{DELIVERIES_KEPT, Delivery, DeliveryFilter, KEPT, Outcome};

/// Rows changed or deleted at a time, so that nobody waits long for their locks.
const BATCH: i64 = 5_000;

/// The columns of a [`Delivery`].
macro_rules! columns {
    () => {
        "id, webhook, organization, event, kind, message, hostname, body, created_at, failures, next_at,
             delivered_at, status, report"
    };
}
pub(super) use columns;

macro_rules! delivery {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM deliveries ", $rest)
    };
}

/// Keeps what came of a try. What was given up meanwhile stays so, unless it arrived. Whether the webhook
/// was disabled.
pub async fn note(database: &Database, id: i64, outcome: &Outcome) -> Result<bool, Fault> {
    let mut gone = false;
    let (status, report, next) = match outcome {
        Outcome::Delivered { status } => {
            sqlx::query(
                "UPDATE deliveries SET open = false, taken = false, next_at = NULL, delivered_at = unix_now(),
                     status = $2, report = 'it was delivered' WHERE id = $1",
            )
            .bind(id)
            .bind(i64::from(*status))
            .execute(&database.pool)
            .await?;
            return Ok(gone);
        }
        Outcome::Failed { status, report, next } => (*status, report, *next),
        Outcome::Gone { status, report, version, next } => {
            gone = disable(database, id, *version, report).await?;
            (Some(*status), report, next.filter(|_| !gone))
        }
    };
    // Without a next try it is given up.
    sqlx::query(
        "UPDATE deliveries SET failures = failures + 1, taken = false, status = $2, report = $3,
             open = open AND $4::bigint IS NOT NULL, next_at = CASE WHEN open THEN $4 END WHERE id = $1",
    )
    .bind(id)
    .bind(status.map(i64::from))
    .bind(plain(report))
    .bind(next.map(|next| next.0))
    .execute(&database.pool)
    .await?;
    Ok(gone)
}

/// Disables the webhook that the delivery `id` goes to, and gives up all that goes there; whether it is
/// still of this version.
async fn disable(database: &Database, id: i64, version: i64, reason: &str) -> Result<bool, Fault> {
    let mut transaction = database.pool.begin().await?;
    let row = sqlx::query(concat!(
        "UPDATE webhooks SET disabled = $2, version = version + 1, updated_at = unix_now()
         WHERE id = (SELECT webhook FROM deliveries WHERE id = $1) AND disabled IS NULL AND version = $3
         RETURNING ",
        webhooks::columns!()
    ))
    .bind(id)
    .bind(plain(reason))
    .bind(version)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let webhook = read::webhook(&database.key, &row)?;
    webhooks::note(&mut transaction, &webhook, EventKind::WebhookUpdated, None).await?;
    transaction.commit().await?;
    give_all_up(database, &webhook.id).await?;
    Ok(true)
}

/// Gives up everything that is to be delivered to `webhook`, where it is disabled.
pub async fn give_all_up(database: &Database, webhook: &str) -> Result<(), Fault> {
    in_batches(
        database,
        "UPDATE deliveries SET open = false, taken = false, next_at = NULL, report = 'the webhook was disabled'
         WHERE id = ANY (ARRAY (SELECT id FROM deliveries
             WHERE webhook = $1 AND open ORDER BY hostname, id LIMIT $2 FOR UPDATE))
             AND EXISTS (SELECT 1 FROM webhooks WHERE id = $1 AND disabled IS NOT NULL)",
        webhook,
    )
    .await
}

/// Forgets all deliveries to `webhook`, where it is gone.
pub async fn forget_all(database: &Database, webhook: &str) -> Result<(), Fault> {
    in_batches(
        database,
        "DELETE FROM deliveries
         WHERE id = ANY (ARRAY (SELECT id FROM deliveries WHERE webhook = $1 ORDER BY id LIMIT $2 FOR UPDATE))
             AND NOT EXISTS (SELECT 1 FROM webhooks WHERE id = $1)",
        webhook,
    )
    .await
}

/// Does it until nothing is left.
async fn in_batches(database: &Database, statement: &'static str, webhook: &str) -> Result<(), Fault> {
    let mut tries = Tries::new();
    loop {
        let done = sqlx::query(statement).bind(webhook).bind(BATCH).execute(&database.pool).await;
        match done.map_err(Fault::from) {
            Ok(done) if done.rows_affected() < BATCH.unsigned_abs() => return Ok(()),
            Ok(_) => {}
            Err(fault) if tries.again(&fault) => {}
            Err(fault) => return Err(fault),
        }
    }
}

/// Deliveries, the newest first.
pub async fn list(database: &Database, filter: &DeliveryFilter) -> Result<Vec<Delivery>, Fault> {
    let query = match (&filter.webhook, filter.reach.organization()) {
        (Some(_), _) => delivery!(
            "WHERE webhook = $1 AND ($2::text IS NULL OR organization = $2) AND id < $3 ORDER BY id DESC LIMIT $4"
        ),
        (None, Some(_)) => {
            delivery!("WHERE $1::text IS NULL AND organization = $2 AND id < $3 ORDER BY id DESC LIMIT $4")
        }
        (None, None) => {
            delivery!("WHERE $1::text IS NULL AND $2::text IS NULL AND id < $3 ORDER BY id DESC LIMIT $4")
        }
    };
    let rows = sqlx::query(query)
        .bind(filter.webhook.as_deref().map(plain))
        .bind(covered(&filter.reach))
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(i64::from(filter.limit))
        .fetch_all(&database.pool)
        .await?;
    rows.iter().map(read::delivery).collect()
}

/// The delivery of this number.
pub async fn find(database: &Database, reach: &Reach, id: i64) -> Result<Option<Delivery>, Fault> {
    let row = sqlx::query(delivery!("WHERE id = $1 AND ($2::text IS NULL OR organization = $2)"))
        .bind(id)
        .bind(covered(reach))
        .fetch_optional(&database.pool)
        .await?;
    row.map(|row| read::delivery(&row)).transpose()
}

/// Makes a delivery due as if it were new; one that is under way goes on.
pub async fn again(database: &Database, reach: &Reach, id: i64) -> Result<bool, Fault> {
    let mut tries = Tries::new();
    loop {
        let mut connection = database.pool.acquire().await?;
        match try_again(&mut connection, reach, id).await {
            Err(fault) if tries.again(&fault) => {}
            other => return other,
        }
    }
}

async fn try_again(connection: &mut PgConnection, reach: &Reach, id: i64) -> Result<bool, Fault> {
    let mut transaction = sqlx::Connection::begin(connection).await?;
    let found: Option<(String, String)> = sqlx::query_as(
        "SELECT webhook, hostname FROM deliveries WHERE id = $1 AND ($2::text IS NULL OR organization = $2)
             AND EXISTS (SELECT 1 FROM webhooks WHERE webhooks.id = webhook AND disabled IS NULL)",
    )
    .bind(id)
    .bind(covered(reach))
    .fetch_optional(&mut *transaction)
    .await?;
    let Some((webhook, hostname)) = found else { return Ok(false) };
    sqlx::query(
        "UPDATE deliveries SET open = true, next_at = unix_now(), failures = 0, delivered_at = NULL
         WHERE id = $1 AND NOT taken",
    )
    .bind(id)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "UPDATE deliveries SET next_at = unix_now()
         WHERE webhook = $1 AND hostname = $2 AND head AND NOT taken AND next_at > unix_now()",
    )
    .bind(webhook)
    .bind(hostname)
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
    let (mut opened, mut tries) = (0, Tries::new());
    loop {
        let more = sqlx::query(
            "UPDATE deliveries SET open = true, next_at = unix_now(), failures = 0 WHERE id = ANY (ARRAY (
                 SELECT id FROM deliveries
                 WHERE webhook = $1 AND created_at >= $2 AND NOT open AND delivered_at IS NULL
                     AND ($3::text IS NULL OR organization = $3)
                     AND EXISTS (SELECT 1 FROM webhooks WHERE id = $1 AND disabled IS NULL)
                 ORDER BY created_at LIMIT $4 FOR UPDATE))",
        )
        .bind(plain(webhook))
        .bind(since.0)
        .bind(covered(reach))
        .bind(BATCH)
        .execute(&database.pool)
        .await;
        match more.map_err(Fault::from) {
            Ok(more) => {
                opened += more.rows_affected();
                if more.rows_affected() < BATCH.unsigned_abs() {
                    return Ok(opened);
                }
            }
            Err(fault) if tries.again(&fault) => {}
            Err(fault) => return Err(fault),
        }
    }
}

/// How many are open.
pub async fn pending(database: &Database) -> Result<u64, Fault> {
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM deliveries WHERE open").fetch_one(&database.pool).await?;
    Ok(open.unsigned_abs())
}

/// Forgets the oldest.
pub async fn trim(database: &Database, now: UnixTime) -> Result<u64, Fault> {
    let old = sqlx::query(
        "DELETE FROM deliveries WHERE id = ANY (ARRAY (
             SELECT id FROM deliveries WHERE created_at < $1 ORDER BY created_at LIMIT $2
             FOR UPDATE SKIP LOCKED))",
    )
    .bind(now.minus(KEPT).0)
    .bind(BATCH)
    .execute(&database.pool)
    .await?;
    let beyond = sqlx::query(
        "DELETE FROM deliveries WHERE id = ANY (ARRAY (
             SELECT id FROM deliveries WHERE NOT open AND id <= (SELECT max(id) FROM deliveries) - $1
             ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED))",
    )
    .bind(i64::from(DELIVERIES_KEPT))
    .bind(BATCH)
    .execute(&database.pool)
    .await?;
    Ok(old.rows_affected() + beyond.rows_affected())
}
