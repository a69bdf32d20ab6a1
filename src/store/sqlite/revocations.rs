//! Revoked certificates as rows.

use std::collections::HashSet;

use sqlx::{Executor, Sqlite};

use super::database::{Database, Durability, Fault};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::revocation::Fingerprint;
use crate::store::Revocation;
use crate::store::read::revocations::{brief, read};

/// Keeps it.
pub async fn save(database: &Database, revocation: &Revocation) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::PowerCut).await?;
    sqlx::query(
        "INSERT OR REPLACE INTO revocations
            (fingerprint, name, leaf, authority, reason, asked_at, not_after, next_at, failures, report)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )
    .bind(Fingerprint::of(&revocation.leaf).0.to_vec())
    .bind(revocation.name.as_str())
    .bind(&revocation.leaf)
    .bind(&revocation.authority)
    .bind(revocation.reason.number())
    .bind(revocation.asked_at.0)
    .bind(revocation.not_after.0)
    .bind(revocation.next.map(|next| next.0))
    .bind(revocation.failures)
    .bind(&revocation.report)
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

/// Those whose authority is to be told.
pub async fn to_tell(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<Revocation>, Fault> {
    let rows = sqlx::query(
        "SELECT name, leaf, authority, reason, asked_at, not_after, next_at, failures, report
         FROM revocations WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2",
    )
    .bind(now.0)
    .bind(limit)
    .fetch_all(&database.readers)
    .await?;
    rows.iter().map(read).collect()
}

/// How many are to be told of.
pub async fn pending(database: &Database) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM revocations WHERE next_at IS NOT NULL")
        .fetch_one(&database.readers)
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Those that have not ended, from `since` on.
pub async fn since(
    database: &Database,
    since: UnixTime,
    now: UnixTime,
) -> Result<Vec<(Fingerprint, CertificateName, UnixTime)>, Fault> {
    let rows = sqlx::query(
        "SELECT fingerprint, name, asked_at FROM revocations WHERE not_after >= ?1 AND asked_at >= ?2",
    )
    .bind(now.0)
    .bind(since.0)
    .fetch_all(&database.readers)
    .await?;
    rows.iter().map(brief).collect()
}

/// All that have not ended, as an import must not bring them back.
pub async fn standing<'c>(
    connection: impl Executor<'c, Database = Sqlite>,
    now: UnixTime,
) -> Result<HashSet<Vec<u8>>, Fault> {
    let fingerprints: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT fingerprint FROM revocations WHERE not_after >= ?1")
            .bind(now.0)
            .fetch_all(connection)
            .await?;
    Ok(fingerprints.into_iter().collect())
}
