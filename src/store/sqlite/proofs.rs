//! What authorities are answered, as rows.

use sqlx::Connection;

use super::database::{Database, Durability, Fault};
use crate::domain::clock::UnixTime;
use crate::store::{Challenge, ChallengeKind, Error, LEASE_TTL, SKEW, WrittenRecord};

/// Publishes `challenge`; expired ones go at this opportunity.
pub async fn publish(database: &Database, challenge: &Challenge) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM challenges WHERE expires <= ?1")
        .bind(database.now().0)
        .execute(&mut *transaction)
        .await?;
    if challenge.kind != ChallengeKind::Dns01 {
        sqlx::query("DELETE FROM challenges WHERE kind = ?1 AND key = ?2")
            .bind(challenge.kind.word())
            .bind(&challenge.key)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("INSERT OR REPLACE INTO challenges (kind, key, answer, expires) VALUES (?1, ?2, ?3, ?4)")
        .bind(challenge.kind.word())
        .bind(&challenge.key)
        .bind(&challenge.answer)
        .bind(challenge.expires.0)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// The published answer, unless it expired.
pub async fn find(database: &Database, kind: ChallengeKind, key: &str) -> Result<Option<Challenge>, Fault> {
    let found: Option<(String, i64)> = sqlx::query_as(
        "SELECT answer, expires FROM challenges WHERE kind = ?1 AND key = ?2 AND expires > ?3 LIMIT 1",
    )
    .bind(kind.word())
    .bind(key)
    .bind(database.now().0)
    .fetch_optional(&database.readers)
    .await?;
    Ok(found.map(|(answer, expires)| Challenge {
        kind,
        key: key.to_owned(),
        answer,
        expires: UnixTime(expires),
    }))
}

/// The published values of TXT records under `owner`.
pub async fn dns_answers(database: &Database, owner: &str) -> Result<Vec<String>, Fault> {
    let found =
        sqlx::query_scalar("SELECT answer FROM challenges WHERE kind = ?1 AND key = ?2 AND expires > ?3")
            .bind(ChallengeKind::Dns01.word())
            .bind(owner)
            .bind(database.now().0)
            .fetch_all(&database.readers)
            .await?;
    Ok(found)
}

/// Takes it back.
pub async fn withdraw(database: &Database, challenge: &Challenge) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM challenges WHERE kind = ?1 AND key = ?2 AND answer = ?3")
        .bind(challenge.kind.word())
        .bind(&challenge.key)
        .bind(&challenge.answer)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// Keeps that `record` is about to be written; it is on the disk when this returns.
pub async fn keep(database: &Database, record: &WrittenRecord) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    sqlx::query("INSERT OR REPLACE INTO written_records (name, zone, owner, value) VALUES (?1, ?2, ?3, ?4)")
        .bind(record.name.as_str())
        .bind(&record.zone)
        .bind(&record.owner)
        .bind(&record.value)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// Forgets `record`.
pub async fn forget(database: &Database, record: &WrittenRecord) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM written_records WHERE owner = ?1 AND value = ?2")
        .bind(&record.owner)
        .bind(&record.value)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// Up to `limit` records whose name is not leased.
pub async fn abandoned(database: &Database, limit: u32) -> Result<Vec<WrittenRecord>, Fault> {
    let now = database.now();
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT name, zone, owner, value FROM written_records AS record
         WHERE NOT EXISTS (SELECT 1 FROM leases WHERE leases.name = record.name
                           AND expires > ?1 AND expires <= ?2)
         ORDER BY id LIMIT ?3",
    )
    .bind(now.0)
    .bind(now.plus(LEASE_TTL).plus(SKEW).0)
    .bind(limit)
    .fetch_all(&database.readers)
    .await?;
    let read = |(name, zone, owner, value): (String, String, String, String)| {
        let parsed = name.parse().map_err(|why| Error::Record {
            what: "TXT record",
            of: owner.as_str().into(),
            why: format!("it is for {name:?}, which is no name: {why}"),
        });
        Ok(WrittenRecord { name: parsed?, zone, owner, value })
    };
    rows.into_iter().map(read).collect()
}
