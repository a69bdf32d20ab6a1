//! What is due, by the indexes of the certificates' rows.

use super::database::{Database, Durability, Fault};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;

/// Up to `limit` names that are due; one that is no name is left out and logged.
pub async fn due(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<CertificateName>, Fault> {
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT name FROM certificates WHERE renew_at <= ?1 ORDER BY renew_at LIMIT ?2")
            .bind(now.0)
            .bind(limit)
            .fetch_all(&database.readers)
            .await?;
    let mut names = Vec::with_capacity(rows.len());
    for row in rows {
        match row.parse() {
            Ok(name) => names.push(name),
            Err(error) => tracing::error!(name = ?row, %error, "a stored certificate has no valid name"),
        }
    }
    Ok(names)
}

/// Makes it due at `until`.
pub async fn postpone(database: &Database, name: &CertificateName, until: UnixTime) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("UPDATE certificates SET renew_at = ?1 WHERE name = ?2 AND renew_at IS NOT NULL")
        .bind(until.0)
        .bind(name.as_str())
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// How many end after `begin` and not after `end`.
pub async fn ending_between(database: &Database, begin: UnixTime, end: UnixTime) -> Result<u64, Fault> {
    let count: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM certificates WHERE not_after > ?1 AND not_after <= ?2")
            .bind(begin.0)
            .bind(end.0)
            .fetch_one(&database.readers)
            .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
