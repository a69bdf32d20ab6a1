//! Certificates that organizations bring, as rows.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row, SqliteConnection};

use super::database::{Database, Durability, Fault, Operation};
use super::{SqliteStore, events, hostnames, revocations};
use crate::domain::certificate::{Certificate, KeyFamily};
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::Registration;
use crate::store::Error;
use crate::store::own::{Brought, OwnCertificates, Stamp};
use crate::store::read::names::valid;
use crate::store::read::own::{self, Values, read};
use crate::store::records::{Actor, CertificateFacts};

/// How many changes a machine may be behind before it reads all names again.
const CHANGES_KEPT: i64 = 10_000;

/// Those of a name that no other organization holds.
macro_rules! own {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM own_certificates o WHERE NOT EXISTS (SELECT 1 FROM hostnames h
                 WHERE h.name = o.name AND h.holder = 1 AND h.organization <> o.organization) ",
            $rest
        )
    };
}

async fn rows(database: &Database, name: &CertificateName) -> Result<Vec<SqliteRow>, Fault> {
    let query = sqlx::query(own!("*", "AND o.name = ?1 ORDER BY o.family, o.organization"));
    Ok(query.bind(name.as_str()).fetch_all(&database.readers).await?)
}

async fn find(database: &Database, name: &CertificateName) -> Result<Vec<Certificate>, Fault> {
    rows(database, name).await?.iter().map(|row| read(&database.key, row)).collect()
}

async fn shown(database: &Database, name: &CertificateName) -> Result<Vec<CertificateFacts>, Fault> {
    rows(database, name).await?.iter().map(own::facts).collect()
}

/// - `over`: whether it takes the place of one that is there
async fn insert(
    connection: &mut SqliteConnection,
    values: Values,
    over: bool,
    now: UnixTime,
) -> Result<u64, sqlx::Error> {
    let statement = match over {
        true => {
            "INSERT INTO own_certificates (id, name, organization, family, fingerprint, chain, sealed_key,
                     key_type, not_before, not_after, saved_at, fall_back_at, tell_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12)
                 ON CONFLICT (id) DO UPDATE SET
                     fingerprint = excluded.fingerprint, chain = excluded.chain,
                     sealed_key = excluded.sealed_key, key_type = excluded.key_type,
                     not_before = excluded.not_before, not_after = excluded.not_after,
                     saved_at = excluded.saved_at, fall_back_at = excluded.fall_back_at,
                     tell_at = excluded.tell_at, told = 0"
        }
        false => {
            "INSERT INTO own_certificates (id, name, organization, family, fingerprint, chain, sealed_key,
                     key_type, not_before, not_after, saved_at, fall_back_at, tell_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12) ON CONFLICT (id) DO NOTHING"
        }
    };
    let inserted = sqlx::query(statement)
        .bind(values.id)
        .bind(values.name)
        .bind(values.organization)
        .bind(values.family)
        .bind(values.fingerprint.0.to_vec())
        .bind(values.chain)
        .bind(values.sealed_key)
        .bind(values.key_type)
        .bind(values.validity.not_before.0)
        .bind(values.validity.not_after.0)
        .bind(now.0)
        .bind(values.fall_back_at.0)
        .execute(connection)
        .await?;
    Ok(inserted.rows_affected())
}

/// Notes what somebody did, and has the hostname looked at.
async fn note(
    connection: &mut SqliteConnection,
    hostname: &Registration,
    (kind, detail): (EventKind, Value),
    actor: Actor<'_>,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    let event = events::New::of(kind, &hostname.organization, actor, detail);
    event.at_site(&hostname.site).about(&hostname.name).insert(&mut *connection, now).await?;
    sqlx::query("UPDATE hostnames SET look_at = ?2, asked = asked + 1, looks = 0 WHERE id = ?1")
        .bind(hostname.id)
        .bind(now.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM own_changes WHERE id <= (SELECT max(id) FROM own_changes) - ?1")
        .bind(CHANGES_KEPT)
        .execute(connection)
        .await?;
    Ok(())
}

async fn bring(
    database: &Database,
    organization: &Label,
    certificate: &Certificate,
    actor: Actor<'_>,
) -> Result<Brought, Fault> {
    // Sealed before the turn to write is taken.
    let values = Values::of(&database.key, organization.as_str(), certificate)?;
    let detail = own::told(certificate)?;
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    let hostname = match hostnames::find(&mut transaction, organization, &certificate.name).await? {
        Some(hostname) if hostname.holder => hostname,
        Some(_) => return Ok(Brought::NotHeld),
        None => return Ok(Brought::Absent),
    };
    let revoked = revocations::standing(&mut *transaction, now).await?;
    if revoked.contains(values.fingerprint.0.as_slice()) {
        return Ok(Brought::Revoked);
    }
    insert(&mut transaction, values, true, now).await?;
    note(&mut transaction, &hostname, (EventKind::CertificateSet, detail), actor, now).await?;
    transaction.commit().await?;
    Ok(Brought::Kept)
}

/// Files what a machine kept of its own while the store was lost; one that is there stays.
pub(super) async fn restore(
    database: &Database,
    connection: &mut SqliteConnection,
    (organization, certificate): (&str, &Certificate),
) -> Result<u64, Fault> {
    let values = Values::of(&database.key, organization, certificate)?;
    Ok(insert(connection, values, false, database.now()).await?)
}

async fn remove(
    database: &Database,
    organization: &Label,
    name: &CertificateName,
    family: Option<KeyFamily>,
    actor: Actor<'_>,
) -> Result<u64, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let Some(hostname) = hostnames::find(&mut transaction, organization, name).await? else { return Ok(0) };
    let removed = sqlx::query(
        "DELETE FROM own_certificates
         WHERE name = ?1 AND organization = ?2 AND (?3 IS NULL OR family = ?3)",
    )
    .bind(name.as_str())
    .bind(organization.as_str())
    .bind(family.map(KeyFamily::word))
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if removed > 0 {
        let detail = json!({ "family": family.map(KeyFamily::word) });
        let now = database.now();
        note(&mut transaction, &hostname, (EventKind::CertificateRemoved, detail), actor, now).await?;
        transaction.commit().await?;
    }
    Ok(removed)
}

async fn quarantine(database: &Database, name: &CertificateName, why: &str) -> Result<u64, Fault> {
    let mut moved = 0;
    for row in rows(database, name).await? {
        if !own::is_damaged(&database.key, &row)? {
            continue;
        }
        let id: String = row.try_get("id")?;
        moved += move_aside(database, &id, why).await?;
    }
    Ok(moved)
}

async fn move_aside(database: &Database, id: &str, why: &str) -> Result<u64, Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT INTO own_quarantine (id, chain, sealed_key, key_type, moved_at, why)
         SELECT id, chain, sealed_key, key_type, ?2, ?3 FROM own_certificates WHERE id = ?1",
    )
    .bind(id)
    .bind(database.now().0)
    .bind(why)
    .execute(&mut *transaction)
    .await?;
    let removed =
        sqlx::query("DELETE FROM own_certificates WHERE id = ?1").bind(id).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(removed.rows_affected())
}

async fn names(database: &Database) -> Result<HashMap<CertificateName, Stamp>, Fault> {
    let rows = sqlx::query_as(own!("o.name, o.fingerprint, length(o.chain)", ""));
    Ok(own::stamps(rows.fetch_all(&database.readers).await?))
}

async fn last_change(database: &Database) -> Result<i64, Fault> {
    let last = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM own_changes");
    Ok(last.fetch_one(&database.readers).await?)
}

async fn changes(
    database: &Database,
    after: i64,
    limit: u32,
) -> Result<Option<Vec<(i64, CertificateName)>>, Fault> {
    let (first, last): (i64, i64) =
        sqlx::query_as("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM own_changes")
            .fetch_one(&database.readers)
            .await?;
    if last < after || first > after + 1 {
        return Ok(None);
    }
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, name FROM own_changes WHERE id > ?1 ORDER BY id LIMIT ?2")
            .bind(after)
            .bind(limit)
            .fetch_all(&database.readers)
            .await?;
    rows.into_iter().map(own::change).collect::<Result<_, _>>().map(Some)
}

async fn due(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<CertificateName>, Fault> {
    let rows: Vec<String> = sqlx::query_scalar(own!(
        "DISTINCT o.name",
        "AND o.fall_back_at <= ?1
             AND NOT EXISTS (SELECT 1 FROM own_certificates later WHERE later.name = o.name
                 AND later.organization = o.organization AND later.fall_back_at > ?1)
             AND NOT EXISTS (SELECT 1 FROM certificates c
                 WHERE c.name = o.name AND c.withheld = 0 AND c.not_after > ?1)
             ORDER BY o.fall_back_at LIMIT ?2"
    ))
    .bind(now.0)
    .bind(limit)
    .fetch_all(&database.readers)
    .await?;
    Ok(valid(rows))
}

async fn postpone(database: &Database, name: &CertificateName, until: UnixTime) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("UPDATE own_certificates SET fall_back_at = max(fall_back_at, ?2) WHERE name = ?1")
        .bind(name.as_str())
        .bind(until.0)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// Notes of each that ends soon, once, that it does; how many.
pub(super) async fn note_expiring(database: &Database, now: UnixTime, limit: u32) -> Result<u64, Fault> {
    let ending: Vec<(String, String, i64)> = sqlx::query_as(own!(
        "o.id, o.name, o.not_after",
        "AND o.told = 0 AND o.tell_at <= ?1 ORDER BY o.tell_at LIMIT ?2"
    ))
    .bind(now.0)
    .bind(limit)
    .fetch_all(&database.readers)
    .await?;
    if ending.is_empty() {
        return Ok(0);
    }
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut noted = 0;
    for (id, name, not_after) in ending {
        let told =
            sqlx::query("UPDATE own_certificates SET told = 1 WHERE id = ?1 AND told = 0 AND not_after = ?2");
        if told.bind(id).bind(not_after).execute(&mut *transaction).await?.rows_affected() == 0 {
            continue;
        }
        noted += 1;
        let detail = json!({ "not_after": UnixTime(not_after).to_string(), "source": "own" });
        let kind = EventKind::CertificateExpiring;
        events::note_certificate(&mut transaction, now, &name, kind, detail).await?;
    }
    transaction.commit().await?;
    Ok(noted)
}

#[async_trait]
impl OwnCertificates for SqliteStore {
    async fn own_certificates(&self, name: &CertificateName) -> Result<Vec<Certificate>, Error> {
        let operation = Operation { label: "own_certificates", doing: "look own certificates up" };
        self.database.timed(operation, find(&self.database, name)).await
    }

    async fn own_facts(&self, name: &CertificateName) -> Result<Vec<CertificateFacts>, Error> {
        let operation = Operation { label: "own_facts", doing: "look own certificates' facts up" };
        self.database.timed(operation, shown(&self.database, name)).await
    }

    async fn bring_own(
        &self,
        organization: &Label,
        certificate: &Certificate,
        actor: Actor<'_>,
    ) -> Result<Brought, Error> {
        let operation = Operation { label: "bring_own", doing: "keep an own certificate" };
        self.database.timed(operation, bring(&self.database, organization, certificate, actor)).await
    }

    async fn remove_own(
        &self,
        organization: &Label,
        name: &CertificateName,
        family: Option<KeyFamily>,
        actor: Actor<'_>,
    ) -> Result<u64, Error> {
        let operation = Operation { label: "remove_own", doing: "take own certificates away" };
        self.database.timed(operation, remove(&self.database, organization, name, family, actor)).await
    }

    async fn quarantine_own(&self, name: &CertificateName, why: &str) -> Result<u64, Error> {
        let operation = Operation { label: "quarantine_own", doing: "keep a damaged own certificate aside" };
        self.database.timed(operation, quarantine(&self.database, name, why)).await
    }

    async fn own_names(&self) -> Result<HashMap<CertificateName, Stamp>, Error> {
        let operation = Operation { label: "own_names", doing: "list the names with own certificates" };
        self.database.timed(operation, names(&self.database)).await
    }

    async fn last_own_change(&self) -> Result<i64, Error> {
        let operation = Operation { label: "last_own_change", doing: "look for changes of own certificates" };
        self.database.timed(operation, last_change(&self.database)).await
    }

    async fn own_changes(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<(i64, CertificateName)>>, Error> {
        let operation = Operation { label: "own_changes", doing: "list changes of own certificates" };
        self.database.timed(operation, changes(&self.database, after, limit)).await
    }

    async fn due_for_fall_back(&self, now: UnixTime, limit: u32) -> Result<Vec<CertificateName>, Error> {
        let operation =
            Operation { label: "due_for_fall_back", doing: "list whose own certificates end soon" };
        self.database.timed(operation, due(&self.database, now, limit)).await
    }

    async fn postpone_fall_back(&self, name: &CertificateName, until: UnixTime) -> Result<(), Error> {
        let operation = Operation { label: "postpone_fall_back", doing: "put a fallback off" };
        self.database.timed(operation, postpone(&self.database, name, until)).await
    }
}
