//! What happened, as rows.
//!
//! An event is noted in `fresh_events`, in the transaction of what it tells of, and numbered into `events`
//! by whoever reads them next.

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::event::{Event, EventKind};
use crate::domain::label::Label;
use crate::store::Error;
use crate::store::read::event as read;
use crate::store::read::row::covered;
use crate::store::records::{Actor, EVENTS_KEPT, EventFilter, Events, HourCount};
use crate::store::told::New;

/// Rows deleted at a time.
const BATCH: i64 = 5_000;

macro_rules! event {
    ($rest:literal) => {
        concat!("SELECT id, at, organization, site, hostname, kind, actor, detail FROM events ", $rest)
    };
}

/// Own certificates that end soon, of whoever holds the name.
const ENDING: &str = "
    SELECT o.id, o.name, o.not_after FROM own_certificates o
    WHERE o.organization = coalesce(
            (SELECT h.organization FROM hostnames h WHERE h.name = o.name AND h.holder), o.organization)
        AND NOT o.told AND o.tell_at <= $1 ORDER BY o.tell_at LIMIT $2";

/// Notes of each certificate that it is late; one that was saved meanwhile is not.
const NOTE_LATE: &str = "
    WITH late AS (
        SELECT * FROM unnest($2::text[], $3::bigint[], $4::text[]) AS late (name, not_after, detail)
    ), told AS (
        UPDATE certificates SET told = true FROM late
        WHERE certificates.name = late.name AND NOT told AND late_at <= $1
        RETURNING late.name, late.detail
    ), noted AS (
        INSERT INTO fresh_events (at, organization, site, hostname, kind, detail)
        SELECT $1, organization, site, name, $5, detail FROM told JOIN hostnames USING (name) WHERE holder
    ), looked AS (
        UPDATE hostnames SET look_at = $1, asked = asked + 1
        WHERE name IN (SELECT name FROM told) AND holder AND look_at > $1
    )
    SELECT count(*) FROM told";

const NOTE_ENDING: &str = "
    WITH ending AS (
        SELECT * FROM unnest($2::text[], $3::bigint[], $4::text[]) AS ending (id, not_after, detail)
    ), told AS (
        UPDATE own_certificates o SET told = true FROM ending
        WHERE o.id = ending.id AND NOT o.told AND o.not_after = ending.not_after
        RETURNING o.name, ending.detail
    ), noted AS (
        INSERT INTO fresh_events (at, organization, site, hostname, kind, detail)
        SELECT $1, organization, site, name, $5, detail FROM told JOIN hostnames USING (name) WHERE holder
    ), looked AS (
        UPDATE hostnames SET look_at = $1, asked = asked + 1
        WHERE name IN (SELECT name FROM told) AND holder AND look_at > $1
    )
    SELECT count(*) FROM told";

/// Notes an event.
pub(super) async fn insert(event: New, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO fresh_events (at, organization, site, hostname, kind, actor, detail)
         VALUES (unix_now(), $1, $2, $3, $4, $5, $6)",
    )
    .bind(event.organization)
    .bind(event.site)
    .bind(event.hostname)
    .bind(event.kind.word())
    .bind(event.actor)
    .bind(event.detail.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives what was committed until now its numbers.
pub(super) async fn number(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT number_events()").execute(connection).await?;
    Ok(())
}

async fn events(database: &Database, filter: &EventFilter) -> Result<Vec<Event>, Fault> {
    let mut connection = database.pool.acquire().await?;
    number(&mut connection).await?;
    let (hostname, reach) = (filter.hostname.as_ref(), covered(&filter.reach));
    let query = match (hostname, filter.audit, &reach) {
        (Some(_), false, _) => event!(
            "WHERE hostname = $2 AND ($1::text IS NULL OR organization = $1) AND id < $3
             ORDER BY id DESC LIMIT $4"
        ),
        (Some(_), true, _) => event!(
            "WHERE hostname = $2 AND ($1::text IS NULL OR organization = $1) AND actor IS NOT NULL AND id < $3
             ORDER BY id DESC LIMIT $4"
        ),
        (None, true, Some(_)) => event!(
            "WHERE organization = $1 AND $2::text IS NULL AND actor IS NOT NULL AND id < $3
             ORDER BY id DESC LIMIT $4"
        ),
        (None, true, None) => event!(
            "WHERE $1::text IS NULL AND $2::text IS NULL AND actor IS NOT NULL AND id < $3
             ORDER BY id DESC LIMIT $4"
        ),
        (None, false, Some(_)) => {
            event!("WHERE organization = $1 AND $2::text IS NULL AND id < $3 ORDER BY id DESC LIMIT $4")
        }
        (None, false, None) => {
            event!("WHERE $1::text IS NULL AND $2::text IS NULL AND id < $3 ORDER BY id DESC LIMIT $4")
        }
    };
    let rows = sqlx::query(query)
        .bind(reach)
        .bind(hostname.map(|name| name.as_str()))
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(i64::from(filter.limit))
        .fetch_all(&mut *connection)
        .await?;
    rows.iter().map(read::event).collect()
}

/// Up to `limit` rows behind this number, for [`read::event`].
pub(super) async fn rows_after(
    connection: &mut PgConnection,
    id: i64,
    limit: u32,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let query = sqlx::query(event!("WHERE id > $1 ORDER BY id LIMIT $2"));
    query.bind(id).bind(i64::from(limit)).fetch_all(connection).await
}

async fn events_after(database: &Database, id: i64, limit: u32) -> Result<Vec<Event>, Fault> {
    let mut connection = database.pool.acquire().await?;
    number(&mut connection).await?;
    rows_after(&mut connection, id, limit).await?.iter().map(read::event).collect()
}

async fn orders_by_hour(
    database: &Database,
    reach: &Reach,
    since: UnixTime,
) -> Result<Vec<HourCount>, Fault> {
    let mut connection = database.pool.acquire().await?;
    number(&mut connection).await?;
    // The kinds stand here as they do in the indexes, which are not used otherwise.
    let query = match reach {
        Reach::All => {
            "SELECT at / 3600 * 3600 AS hour, kind, count(*) FROM events
             WHERE kind IN ('certificate.issued', 'certificate.renewed', 'certificate.failed',
                 'certificate.renewal_failed') AND at >= $1 AND $2::text IS NULL GROUP BY hour, kind
             ORDER BY hour, kind"
        }
        Reach::Organization(_) => {
            "SELECT at / 3600 * 3600 AS hour, kind, count(*) FROM events
             WHERE kind IN ('certificate.issued', 'certificate.renewed', 'certificate.failed',
                 'certificate.renewal_failed') AND at >= $1 AND organization = $2 GROUP BY hour, kind
             ORDER BY hour, kind"
        }
    };
    let query = sqlx::query_as(query).bind(since.0).bind(covered(reach));
    let rows: Vec<(i64, String, i64)> = query.fetch_all(&mut *connection).await?;
    rows.into_iter().map(read::hour_count).collect()
}

async fn note_event(database: &Database, event: New) -> Result<(), Fault> {
    Ok(insert(event, &mut *database.pool.acquire().await?).await?)
}

async fn note_expiring(database: &Database, now: UnixTime, limit: u32) -> Result<u64, Fault> {
    let late: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT name, name, not_after FROM certificates
         WHERE NOT told AND late_at IS NOT NULL AND parked IS NULL AND late_at <= $1 ORDER BY late_at LIMIT $2",
    )
    .bind(now.0)
    .bind(i64::from(limit))
    .fetch_all(&database.pool)
    .await?;
    let ending: Vec<(String, String, i64)> =
        sqlx::query_as(ENDING).bind(now.0).bind(i64::from(limit)).fetch_all(&database.pool).await?;
    let of_late = |end: UnixTime| json!({ "not_after": end.to_string() });
    let of_ending = |end: UnixTime| json!({ "not_after": end.to_string(), "source": "own" });
    let noted = note_all(database, NOTE_LATE, late, now, of_late).await?;
    Ok(noted + note_all(database, NOTE_ENDING, ending, now, of_ending).await?)
}

/// Notes of each of `rows` (key, name, end) that it ends soon.
async fn note_all(
    database: &Database,
    statement: &'static str,
    rows: Vec<(String, String, i64)>,
    now: UnixTime,
    detail: impl Fn(UnixTime) -> Value,
) -> Result<u64, Fault> {
    if rows.is_empty() {
        return Ok(0);
    }
    let details: Vec<String> = rows.iter().map(|row| detail(UnixTime(row.2)).to_string()).collect();
    let (keys, ends): (Vec<String>, Vec<i64>) = rows.into_iter().map(|(key, _, end)| (key, end)).unzip();
    let noted: i64 = sqlx::query_scalar(statement)
        .bind(now.0)
        .bind(keys)
        .bind(ends)
        .bind(details)
        .bind(EventKind::CertificateExpiring.word())
        .fetch_one(&database.pool)
        .await?;
    Ok(noted.unsigned_abs())
}

async fn trim_events(database: &Database) -> Result<(), Fault> {
    sqlx::query(
        "DELETE FROM events WHERE id = ANY (ARRAY (
             SELECT id FROM events WHERE id <= (SELECT max(id) FROM events) - $1 AND actor IS NULL
             ORDER BY id LIMIT $2))",
    )
    .bind(i64::from(EVENTS_KEPT))
    .bind(BATCH)
    .execute(&database.pool)
    .await?;
    Ok(())
}

#[async_trait]
impl Events for PostgresStore {
    async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, Error> {
        let operation = Operation { label: "events", doing: "list events" };
        self.database.timed(operation, events(&self.database, filter)).await
    }

    async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, Error> {
        let operation = Operation { label: "events_after", doing: "list new events" };
        self.database.timed(operation, events_after(&self.database, id, limit)).await
    }

    async fn orders_by_hour(&self, reach: &Reach, since: UnixTime) -> Result<Vec<HourCount>, Error> {
        let operation = Operation { label: "orders_by_hour", doing: "count orders by the hour" };
        self.database.timed(operation, orders_by_hour(&self.database, reach, since)).await
    }

    async fn note_event(
        &self,
        organization: &Label,
        kind: EventKind,
        actor: Actor<'_>,
        detail: &Value,
    ) -> Result<(), Error> {
        let operation = Operation { label: "note_event", doing: "note an event" };
        let event = New::of(kind, organization, actor, detail.clone());
        self.database.timed(operation, note_event(&self.database, event)).await
    }

    async fn note_expiring(&self, now: UnixTime, limit: u32) -> Result<u64, Error> {
        let operation = Operation { label: "note_expiring", doing: "note certificates near their end" };
        self.database.timed(operation, note_expiring(&self.database, now, limit)).await
    }

    async fn trim_events(&self) -> Result<(), Error> {
        let operation = Operation { label: "trim_events", doing: "forget old events" };
        self.database.timed(operation, trim_events(&self.database)).await
    }
}
