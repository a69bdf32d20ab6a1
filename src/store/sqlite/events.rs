//! What happened, as rows.

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, SqliteConnection};

use super::database::{Database, Durability, Fault, Operation};
use super::registry::covered;
use super::{SqliteStore, own};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::event::{Event, EventKind};
use crate::domain::label::Label;
use crate::store::Error;
use crate::store::read::event as read;
use crate::store::records::{Actor, EVENTS_KEPT, EventFilter, Events, HourCount};
pub(super) use crate::store::told::New;

macro_rules! event {
    ($rest:literal) => {
        concat!("SELECT id, at, organization, site, hostname, kind, actor, detail FROM events ", $rest)
    };
}

impl New {
    /// Notes it.
    pub(super) async fn insert(
        self,
        connection: &mut SqliteConnection,
        now: UnixTime,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO events (at, organization, site, hostname, kind, actor, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(now.0)
        .bind(self.organization)
        .bind(self.site)
        .bind(self.hostname)
        .bind(self.kind.word())
        .bind(self.actor)
        .bind(self.detail.to_string())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Notes what happened to the certificate of `name`, for whoever holds the name; nobody: nothing.
pub(super) async fn note_certificate(
    connection: &mut SqliteConnection,
    now: UnixTime,
    name: &str,
    kind: EventKind,
    detail: Value,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO events (at, organization, site, hostname, kind, detail)
         SELECT ?1, organization, site, name, ?3, ?4 FROM hostnames WHERE name = ?2 AND holder = 1",
    )
    .bind(now.0)
    .bind(name)
    .bind(kind.word())
    .bind(detail.to_string())
    .execute(&mut *connection)
    .await?;
    // Whoever looks at the name sees at once how it stands now.
    sqlx::query(
        "UPDATE hostnames SET look_at = ?2, asked = asked + 1
         WHERE name = ?1 AND holder = 1 AND look_at > ?2",
    )
    .bind(name)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}

async fn events(database: &Database, filter: &EventFilter) -> Result<Vec<Event>, Fault> {
    let query = match (&filter.hostname, filter.audit, &filter.reach.organization()) {
        (Some(_), false, _) => sqlx::query(event!(
            "WHERE hostname = ?2 AND (?1 IS NULL OR organization = ?1) AND id < ?3 ORDER BY id DESC LIMIT ?4"
        )),
        (Some(_), true, _) => sqlx::query(event!(
            "WHERE hostname = ?2 AND (?1 IS NULL OR organization = ?1) AND actor IS NOT NULL AND id < ?3
             ORDER BY id DESC LIMIT ?4"
        )),
        (None, true, Some(_)) => sqlx::query(event!(
            "INDEXED BY events_asked_for WHERE organization = ?1 AND ?2 IS NULL AND actor IS NOT NULL AND id < ?3
             ORDER BY id DESC LIMIT ?4"
        )),
        (None, true, None) => sqlx::query(event!(
            "INDEXED BY events_asked_for_by_anybody WHERE ?1 IS NULL AND ?2 IS NULL AND actor IS NOT NULL
             AND id < ?3 ORDER BY id DESC LIMIT ?4"
        )),
        (None, false, Some(_)) => sqlx::query(event!(
            "WHERE organization = ?1 AND ?2 IS NULL AND id < ?3 ORDER BY id DESC LIMIT ?4"
        )),
        (None, false, None) => {
            sqlx::query(event!("WHERE ?1 IS NULL AND ?2 IS NULL AND id < ?3 ORDER BY id DESC LIMIT ?4"))
        }
    };
    let rows = query
        .bind(covered(&filter.reach))
        .bind(filter.hostname.as_ref().map(|name| name.as_str().to_owned()))
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(filter.limit)
        .fetch_all(&database.readers)
        .await?;
    rows.iter().map(read::event).collect()
}

async fn events_after(database: &Database, id: i64, limit: u32) -> Result<Vec<Event>, Fault> {
    let rows = sqlx::query(event!("WHERE id > ?1 ORDER BY id LIMIT ?2"))
        .bind(id)
        .bind(limit)
        .fetch_all(&database.readers)
        .await?;
    rows.iter().map(read::event).collect()
}

async fn orders_by_hour(
    database: &Database,
    reach: &Reach,
    since: UnixTime,
) -> Result<Vec<HourCount>, Fault> {
    // The kinds stand here as they do in the indexes, which are not used otherwise.
    let query = match reach {
        Reach::All => sqlx::query_as(
            "SELECT at / 3600 * 3600 AS hour, kind, count(*) FROM events INDEXED BY events_of_orders
             WHERE kind IN ('certificate.issued', 'certificate.renewed', 'certificate.failed',
                 'certificate.renewal_failed') AND at >= ?1 AND ?2 IS NULL GROUP BY hour, kind",
        ),
        Reach::Organization(_) => sqlx::query_as(
            "SELECT at / 3600 * 3600 AS hour, kind, count(*) FROM events
             INDEXED BY events_of_orders_by_organization
             WHERE kind IN ('certificate.issued', 'certificate.renewed', 'certificate.failed',
                 'certificate.renewal_failed') AND at >= ?1 AND organization = ?2 GROUP BY hour, kind",
        ),
    };
    let query = query.bind(since.0).bind(covered(reach));
    let rows: Vec<(i64, String, i64)> = query.fetch_all(&database.readers).await?;
    rows.into_iter().map(read::hour_count).collect()
}

/// Up to `limit` rows behind this number, for [`read::event`].
pub(super) async fn rows_after(
    connection: &mut SqliteConnection,
    id: i64,
    limit: u32,
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let query = sqlx::query(event!("WHERE id > ?1 ORDER BY id LIMIT ?2"));
    query.bind(id).bind(limit).fetch_all(connection).await
}

async fn note_event(
    database: &Database,
    organization: &Label,
    kind: EventKind,
    actor: Actor<'_>,
    detail: &Value,
) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let event = New::of(kind, organization, actor, detail.clone());
    event.insert(&mut writer.connection, database.now()).await?;
    Ok(())
}

async fn note_expiring(database: &Database, now: UnixTime, limit: u32) -> Result<u64, Fault> {
    Ok(note_late(database, now, limit).await? + own::note_expiring(database, now, limit).await?)
}

async fn note_late(database: &Database, now: UnixTime, limit: u32) -> Result<u64, Fault> {
    let late: Vec<(String, i64)> = sqlx::query_as(
        "SELECT name, not_after FROM certificates
         WHERE told = 0 AND late_at IS NOT NULL AND parked IS NULL AND late_at <= ?1 ORDER BY late_at LIMIT ?2",
    )
    .bind(now.0)
    .bind(limit)
    .fetch_all(&database.readers)
    .await?;
    if late.is_empty() {
        return Ok(0);
    }
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut noted = 0;
    for (name, not_after) in late {
        // One that was saved meanwhile is not late.
        let told =
            sqlx::query("UPDATE certificates SET told = 1 WHERE name = ?1 AND told = 0 AND late_at <= ?2")
                .bind(&name)
                .bind(now.0)
                .execute(&mut *transaction)
                .await?;
        if told.rows_affected() == 0 {
            continue;
        }
        noted += 1;
        let detail = json!({ "not_after": UnixTime(not_after).to_string() });
        note_certificate(&mut transaction, now, &name, EventKind::CertificateExpiring, detail).await?;
    }
    transaction.commit().await?;
    Ok(noted)
}

async fn trim_events(database: &Database) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    // A number of rows at a time, so that nobody waits long for the turn to write.
    sqlx::query(
        "DELETE FROM events WHERE id IN (
             SELECT id FROM events INDEXED BY events_by_themselves WHERE id <= (SELECT max(id) FROM events) - ?1 AND actor IS NULL
             ORDER BY id LIMIT 5000)",
    )
    .bind(EVENTS_KEPT)
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

#[async_trait]
impl Events for SqliteStore {
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
        let noted = note_event(&self.database, organization, kind, actor, detail);
        self.database.timed(operation, noted).await
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
