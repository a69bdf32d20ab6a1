//! Deliveries that are due, taken by one machine at a time.

use sqlx::postgres::PgRow;

use super::database::{Database, Fault};
use super::{deliveries, webhooks};
use crate::domain::clock::UnixTime;
use crate::store::columns::Columns;
use crate::store::read::webhook as read;
use crate::store::webhooks::{AT_ONCE, Due, TAKEN, Webhook};

/// Webhooks for which something is due, the longest due first, unless as much as may be is under way. The
/// list of webhooks is made by as many look-ups in an index as it is long. A machine's clock that is ahead
/// takes nothing from another one.
const WAITING: &str = "
    WITH RECURSIVE moment AS MATERIALIZED (
        SELECT least($1, unix_now()) AS now
    ), waiting (webhook) AS (
        (SELECT webhook FROM deliveries WHERE head ORDER BY webhook LIMIT 1)
        UNION ALL
        SELECT (SELECT webhook FROM deliveries WHERE head AND webhook > waiting.webhook ORDER BY webhook LIMIT 1)
        FROM waiting WHERE waiting.webhook IS NOT NULL
    ), counted AS (
        SELECT webhook,
            (SELECT next_at FROM deliveries WHERE head AND webhook = waiting.webhook
             ORDER BY next_at LIMIT 1) AS earliest,
            (SELECT count(*) FROM deliveries
             WHERE taken AND webhook = waiting.webhook AND next_at > (SELECT now FROM moment)) AS under_way
        FROM waiting WHERE webhook IS NOT NULL
    )
    SELECT webhook FROM counted WHERE earliest <= (SELECT now FROM moment) AND under_way < $2
    ORDER BY earliest LIMIT $3";

/// Of webhooks that are locked, what is due and room for.
const TAKE: &str = concat!(
    "WITH moment AS MATERIALIZED (
        SELECT least($2, unix_now()) AS now
    ), due AS MATERIALIZED (
        SELECT found.id FROM unnest($1::text[]) WITH ORDINALITY AS wanted (webhook, place) CROSS JOIN LATERAL (
            SELECT id, next_at FROM deliveries
            WHERE head AND deliveries.webhook = wanted.webhook AND next_at <= (SELECT now FROM moment)
            ORDER BY next_at LIMIT greatest(0, $3 - (SELECT count(*) FROM deliveries under_way
                WHERE taken AND under_way.webhook = wanted.webhook AND next_at > (SELECT now FROM moment)))
            FOR UPDATE SKIP LOCKED) AS found
        ORDER BY place, found.next_at LIMIT $4
    )
    UPDATE deliveries SET taken = true, next_at = (SELECT now FROM moment) + $5
    WHERE id = ANY (ARRAY (SELECT id FROM due)) RETURNING ",
    deliveries::columns!()
);

/// Takes what is due.
pub async fn due(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<Due>, Fault> {
    let at_once = i64::from(AT_ONCE);
    let waiting: Vec<String> = sqlx::query_scalar(WAITING)
        .bind(now.0)
        .bind(at_once)
        .bind(i64::from(limit))
        .fetch_all(&database.pool)
        .await?;
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = database.pool.begin().await?;
    // What another machine takes from at the moment is left to it.
    let rows = sqlx::query(concat!(
        "SELECT ",
        webhooks::columns!(),
        " FROM webhooks WHERE id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED"
    ))
    .bind(&waiting)
    .fetch_all(&mut *transaction)
    .await?;
    let mut receivers = Vec::with_capacity(rows.len());
    for row in &rows {
        receivers.push((row.text("id")?, read::webhook(&database.key, row)));
    }
    let ours = |id: &&String| receivers.iter().any(|(receiver, _)| receiver == *id);
    let ours: Vec<&String> = waiting.iter().filter(ours).collect();
    let taken = sqlx::query(TAKE)
        .bind(ours)
        .bind(now.0)
        .bind(at_once)
        .bind(i64::from(limit))
        .bind(i64::try_from(TAKEN.as_secs()).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    let abandoned = abandoned(database, &waiting).await?;
    let due = matched(&receivers, &taken)?;
    // A process ended while it gave them up, or forgot them.
    for id in abandoned {
        deliveries::give_all_up(database, &id).await?;
        deliveries::forget_all(database, &id).await?;
    }
    Ok(due)
}

/// Those of `waiting` that are gone or disabled.
async fn abandoned(database: &Database, waiting: &[String]) -> Result<Vec<String>, Fault> {
    let query = sqlx::query_scalar(
        "SELECT id FROM unnest($1::text[]) AS waiting (id)
         WHERE NOT EXISTS (SELECT 1 FROM webhooks WHERE webhooks.id = waiting.id AND disabled IS NULL)",
    );
    Ok(query.bind(waiting).fetch_all(&database.pool).await?)
}

/// Each of `taken` with where it goes.
fn matched(receivers: &[(String, Result<Webhook, Fault>)], taken: &[PgRow]) -> Result<Vec<Due>, Fault> {
    let mut due = Vec::with_capacity(taken.len());
    for row in taken {
        let id = row.text("webhook")?;
        let receiver = receivers.iter().find(|(receiver, _)| *receiver == id);
        let webhook = match receiver {
            Some((_, Ok(webhook))) if webhook.disabled.is_none() => webhook,
            // Taken all the same, so that they stand in nobody's way until they are tried again.
            Some((_, Err(Fault::Store(error)))) => {
                tracing::error!(webhook = id, %error, "nothing is sent to a webhook, as it cannot be read");
                continue;
            }
            _ => continue,
        };
        match read::delivery(row) {
            Ok(delivery) => due.push(Due { delivery, webhook: webhook.clone() }),
            Err(Fault::Store(error)) => tracing::error!(%error, "a delivery cannot be read"),
            Err(fault) => return Err(fault),
        }
    }
    Ok(due)
}
