//! Revoked certificates as rows.

use std::collections::HashSet;

use sqlx::{Executor, Sqlite};

use super::database::{Database, Durability, Fault};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::revocation::{Fingerprint, Reason};
use crate::store::{Error, Revocation};

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
    type Row = (String, Vec<u8>, Option<String>, u8, i64, i64, Option<i64>, u32, String);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT name, leaf, authority, reason, asked_at, not_after, next_at, failures, report
         FROM revocations WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2",
    )
    .bind(now.0)
    .bind(limit)
    .fetch_all(&database.readers)
    .await?;
    let read = |(name, leaf, authority, reason, asked_at, not_after, next, failures, report): Row| {
        Ok(Revocation {
            name: read_name(&name)?,
            leaf,
            authority,
            reason: read_reason(&name, reason)?,
            asked_at: UnixTime(asked_at),
            not_after: UnixTime(not_after),
            next: next.map(UnixTime),
            failures,
            report,
        })
    };
    rows.into_iter().map(read).collect()
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
    let rows: Vec<(Vec<u8>, String, i64)> = sqlx::query_as(
        "SELECT fingerprint, name, asked_at FROM revocations WHERE not_after >= ?1 AND asked_at >= ?2",
    )
    .bind(now.0)
    .bind(since.0)
    .fetch_all(&database.readers)
    .await?;
    rows.into_iter()
        .map(|(octets, name, at)| Ok((read_fingerprint(&name, octets)?, read_name(&name)?, UnixTime(at))))
        .collect()
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

fn read_name(name: &str) -> Result<CertificateName, Fault> {
    name.parse().map_err(|error| unusable(name, format!("its name is none: {error}")))
}

fn read_reason(name: &str, number: u8) -> Result<Reason, Fault> {
    let reason = Reason::ALL.into_iter().find(|reason| reason.number() == number);
    reason.ok_or_else(|| unusable(name, format!("there is no reason {number}")))
}

fn read_fingerprint(name: &str, octets: Vec<u8>) -> Result<Fingerprint, Fault> {
    let octets = <[u8; 32]>::try_from(octets);
    octets.map(Fingerprint).map_err(|_| unusable(name, "its fingerprint has not 32 octets".to_owned()))
}

fn unusable(name: &str, why: String) -> Fault {
    Error::Record { what: "revocation", of: name.into(), why }.into()
}
