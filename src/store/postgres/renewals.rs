//! What is due, by the indexes of the certificates' rows.

use std::time::Duration;

use super::database::{Database, Fault};
use super::leases::seconds;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::renewal::Window;
use crate::store::RenewalState;
use crate::store::read::certificates::renewal_state;
use crate::store::read::names::valid;

/// For how long a question is one machine's to ask: longer than all of a batch take.
const HOLD: Duration = Duration::from_secs(10 * 60);
/// Up to how many are counted: each machine counts once a minute.
const COUNTED: i64 = 100_000;

/// What is known about its renewal.
pub async fn state(database: &Database, name: &CertificateName) -> Result<Option<RenewalState>, Fault> {
    let row = sqlx::query(
        "SELECT saved_at, renew_at, coalesce(late_at, not_after) AS late_at, window_start, window_end, early, parked
         FROM certificates WHERE name = $1 AND renew_at IS NOT NULL",
    )
    .bind(name.as_str())
    .fetch_optional(&database.pool)
    .await?;
    Ok(row.map(|row| renewal_state(&row)).transpose()?)
}

/// Parks it until `again`.
pub async fn park(
    database: &Database,
    name: &CertificateName,
    reason: &str,
    again: UnixTime,
) -> Result<(), Fault> {
    sqlx::query(
        "UPDATE certificates SET parked = $1, renew_at = $2, ask_at = NULL, claimed_until = NULL
         WHERE name = $3 AND renew_at IS NOT NULL",
    )
    .bind(reason)
    .bind(again.0)
    .bind(name.as_str())
    .execute(&database.pool)
    .await?;
    Ok(())
}

/// Up to `limit` names about which the authority is to be asked; by this machine alone for [`HOLD`].
pub async fn due_for_asking(
    database: &Database,
    now: UnixTime,
    limit: u32,
) -> Result<Vec<CertificateName>, Fault> {
    let rows: Vec<String> = sqlx::query_scalar(
        "UPDATE certificates SET ask_at = $1 + $3 WHERE name IN (
             SELECT name FROM certificates WHERE ask_at <= $1 ORDER BY ask_at LIMIT $2 FOR UPDATE SKIP LOCKED)
         RETURNING name",
    )
    .bind(now.0)
    .bind(i64::from(limit))
    .bind(seconds(HOLD))
    .fetch_all(&database.pool)
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
    sqlx::query(
        "UPDATE certificates SET window_start = $1, window_end = $2, ask_at = $3,
            renew_at = coalesce($4, renew_at)
         WHERE name = $5 AND renew_at IS NOT NULL AND parked IS NULL",
    )
    .bind(window.map(|window| window.start.0))
    .bind(window.map(|window| window.end.0))
    .bind(ask.0)
    .bind(due.map(|due| due.0))
    .bind(name.as_str())
    .execute(&database.pool)
    .await?;
    Ok(())
}

/// How many are late, and the first of them.
pub async fn late(database: &Database, now: UnixTime) -> Result<(u64, Option<CertificateName>), Fault> {
    let (count, first): (i64, Option<String>) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM (
                 SELECT 1 FROM certificates WHERE late_at <= $1 AND parked IS NULL
                 ORDER BY late_at LIMIT $2) AS late),
             (SELECT name FROM certificates WHERE late_at <= $1 AND parked IS NULL ORDER BY late_at LIMIT 1)",
    )
    .bind(now.0)
    .bind(COUNTED)
    .fetch_one(&database.pool)
    .await?;
    Ok((count.unsigned_abs(), valid(Vec::from_iter(first)).pop()))
}

/// How many are parked.
pub async fn parked(database: &Database) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM certificates WHERE parked IS NOT NULL ORDER BY name LIMIT $1) AS parked",
    )
    .bind(COUNTED)
    .fetch_one(&database.pool)
    .await?;
    Ok(count.unsigned_abs())
}

/// Makes it due at `until`.
pub async fn postpone(database: &Database, name: &CertificateName, until: UnixTime) -> Result<(), Fault> {
    sqlx::query("UPDATE certificates SET renew_at = $1, claimed_until = NULL WHERE name = $2 AND renew_at IS NOT NULL")
        .bind(until.0)
        .bind(name.as_str())
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// How many end after `begin` and not after `end`.
pub async fn ending_between(database: &Database, begin: UnixTime, end: UnixTime) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM (
                 SELECT 1 FROM certificates WHERE not_after > $1 AND not_after <= $2 AND NOT withheld
                 ORDER BY not_after LIMIT $3) AS ending)
             + (SELECT count(*) FROM (
                 SELECT 1 FROM own_certificates WHERE not_after > $1 AND not_after <= $2
                 ORDER BY not_after LIMIT $3) AS own)",
    )
    .bind(begin.0)
    .bind(end.0)
    .bind(COUNTED)
    .fetch_one(&database.pool)
    .await?;
    Ok(count.unsigned_abs())
}
