//! What is due for renewal, handed out so that two callers are not at the same name.

use std::time::Duration;

use sqlx::Connection;

use super::database::{Database, Durability, Fault};
use crate::domain::budget::Due;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::read::names::valid;

/// Longer than any renewal is put off or held: one that is was so before the clock was set back.
const FUTURE: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// Those that are late. One that was put off before the clock was set back is late nevertheless.
const CLAIM_LATE: &str = "
    UPDATE certificates SET claimed_until = ?1 WHERE rowid IN (
        SELECT rowid FROM certificates
        WHERE late_at <= ?2 AND parked IS NULL AND (renew_at <= ?2 OR renew_at > ?3)
            AND (claimed_until IS NULL OR claimed_until <= ?4 OR claimed_until > ?5)
        ORDER BY late_at LIMIT ?6)
    RETURNING name, renew_at, late_at";

/// The others, with those that are parked.
const CLAIM_OTHERS: &str = "
    UPDATE certificates SET claimed_until = ?1 WHERE rowid IN (
        SELECT rowid FROM certificates
        WHERE renew_at <= ?2 AND ?3 = ?3 AND (late_at IS NULL OR late_at > ?2 OR parked IS NOT NULL)
            AND (claimed_until IS NULL OR claimed_until <= ?4 OR claimed_until > ?5)
        ORDER BY renew_at LIMIT ?6)
    RETURNING name, renew_at, CASE WHEN parked IS NULL THEN late_at END";

/// A name, when it is due, and when it is late, unless it never is.
type Row = (String, i64, Option<i64>);

/// Hands up to `limit` names out.
pub async fn claim(
    database: &Database,
    now: UnixTime,
    limit: u32,
    hold: Duration,
) -> Result<Vec<CertificateName>, Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let present = database.now();
    let mut rows: Vec<Row> = Vec::new();
    for statement in [CLAIM_LATE, CLAIM_OTHERS] {
        let wanted = i64::from(limit) - rows.len() as i64;
        if wanted > 0 {
            let some = sqlx::query_as(statement)
                .bind(present.plus(hold).0)
                .bind(now.0)
                .bind(now.plus(FUTURE).0)
                .bind(present.0)
                .bind(present.plus(FUTURE).0)
                .bind(wanted);
            rows.extend(some.fetch_all(&mut *transaction).await?);
        }
    }
    transaction.commit().await?;
    // They come back in no order.
    rows.sort_by_key(|(_, at, late_at)| {
        Due { at: UnixTime(*at), late_at: UnixTime(late_at.unwrap_or(i64::MAX)) }.place(now)
    });
    Ok(valid(rows.into_iter().map(|(name, ..)| name).collect()))
}

/// Lets them be anybody's.
pub async fn give_up(database: &Database, names: &[CertificateName]) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    for name in names {
        sqlx::query("UPDATE certificates SET claimed_until = NULL WHERE name = ?1")
            .bind(name.as_str())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Lets all be anybody's, as the process that they were handed to is gone.
pub async fn give_up_all(database: &Database) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("UPDATE certificates SET claimed_until = NULL WHERE claimed_until IS NOT NULL")
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// How many are due and nobody's, up to `most`.
pub async fn count(database: &Database, now: UnixTime, most: u32) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM certificates
             WHERE renew_at <= ?1 AND (claimed_until IS NULL OR claimed_until <= ?2) LIMIT ?3)",
    )
    .bind(now.0)
    .bind(database.now().0)
    .bind(most)
    .fetch_one(&database.readers)
    .await?;
    Ok(count.unsigned_abs())
}
