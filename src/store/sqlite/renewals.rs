//! What is due, by the indexes of the certificates' rows.

use super::database::{Database, Durability, Fault};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::renewal::Window;
use crate::store::RenewalState;
use crate::store::read::certificates;
use crate::store::read::names::valid;

/// What is known about its renewal.
pub async fn state(database: &Database, name: &CertificateName) -> Result<Option<RenewalState>, Fault> {
    let row = sqlx::query(
        "SELECT saved_at, renew_at, coalesce(late_at, not_after) AS late_at, window_start, window_end, early, parked
         FROM certificates WHERE name = ?1 AND renew_at IS NOT NULL",
    )
    .bind(name.as_str())
    .fetch_optional(&database.readers)
    .await?;
    Ok(row.map(|row| certificates::renewal_state(&row)).transpose()?)
}

/// Parks it until `again`.
pub async fn park(
    database: &Database,
    name: &CertificateName,
    reason: &str,
    again: UnixTime,
) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query(
        "UPDATE certificates SET parked = ?1, renew_at = ?2, ask_at = NULL, claimed_until = NULL
         WHERE name = ?3 AND renew_at IS NOT NULL",
    )
    .bind(reason)
    .bind(again.0)
    .bind(name.as_str())
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

/// Up to `limit` names about which the authority is to be asked.
pub async fn due_for_asking(
    database: &Database,
    now: UnixTime,
    limit: u32,
) -> Result<Vec<CertificateName>, Fault> {
    let rows: Vec<String> =
        sqlx::query_scalar("SELECT name FROM certificates WHERE ask_at <= ?1 ORDER BY ask_at LIMIT ?2")
            .bind(now.0)
            .bind(limit)
            .fetch_all(&database.readers)
            .await?;
    Ok(valid(rows))
}

/// Keeps what was suggested.
pub async fn note_window(
    database: &Database,
    name: &CertificateName,
    window: Option<Window>,
    ask: UnixTime,
    due: Option<UnixTime>,
) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query(
        "UPDATE certificates SET window_start = ?1, window_end = ?2, ask_at = ?3,
            renew_at = coalesce(?4, renew_at)
         WHERE name = ?5 AND renew_at IS NOT NULL AND parked IS NULL",
    )
    .bind(window.map(|window| window.start.0))
    .bind(window.map(|window| window.end.0))
    .bind(ask.0)
    .bind(due.map(|due| due.0))
    .bind(name.as_str())
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

/// How many are late, and the first of them.
pub async fn late(database: &Database, now: UnixTime) -> Result<(u64, Option<CertificateName>), Fault> {
    let count: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM certificates WHERE late_at <= ?1 AND parked IS NULL")
            .bind(now.0)
            .fetch_one(&database.readers)
            .await?;
    let first: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM certificates WHERE late_at <= ?1 AND parked IS NULL ORDER BY late_at LIMIT 1",
    )
    .bind(now.0)
    .fetch_all(&database.readers)
    .await?;
    Ok((u64::try_from(count).unwrap_or(0), valid(first).pop()))
}

/// How many are parked.
pub async fn parked(database: &Database) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM certificates WHERE parked IS NOT NULL")
        .fetch_one(&database.readers)
        .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Makes it due at `until`.
pub async fn postpone(database: &Database, name: &CertificateName, until: UnixTime) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query(
        "UPDATE certificates SET renew_at = ?1, claimed_until = NULL WHERE name = ?2 AND renew_at IS NOT NULL",
    )
    .bind(until.0)
    .bind(name.as_str())
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

/// How many end after `begin` and not after `end`.
pub async fn ending_between(database: &Database, begin: UnixTime, end: UnixTime) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM certificates WHERE not_after > ?1 AND not_after <= ?2 AND withheld = 0)
             + (SELECT COUNT(*) FROM own_certificates WHERE not_after > ?1 AND not_after <= ?2)",
    )
    .bind(begin.0)
    .bind(end.0)
    .fetch_one(&database.readers)
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
