//! What is due for renewal, handed out so that two machines are not at the same name.

use std::time::Duration;

use super::database::{Database, Fault};
use super::leases::seconds;
use crate::domain::budget::Due;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::read::names::valid;

/// Longer than any renewal is put off: one that is was put off by a machine whose clock was ahead.
const FUTURE: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// Those that are late first, then the others with those that are parked. Rows that another machine takes at
/// this moment are passed over.
const CLAIM: &str = "
    WITH clock AS MATERIALIZED (
        SELECT unix_now() AS now
    ), late AS MATERIALIZED (
        SELECT name FROM certificates
        WHERE late_at <= $1 AND parked IS NULL AND (renew_at <= $1 OR renew_at > $1 + $2)
            AND (claimed_until IS NULL OR claimed_until <= (SELECT now FROM clock)
                 OR claimed_until > (SELECT now FROM clock) + $2)
        ORDER BY late_at LIMIT $3 FOR UPDATE SKIP LOCKED
    ), others AS MATERIALIZED (
        SELECT name FROM certificates
        WHERE renew_at <= $1 AND (late_at IS NULL OR late_at > $1 OR parked IS NOT NULL)
            AND (claimed_until IS NULL OR claimed_until <= (SELECT now FROM clock)
                 OR claimed_until > (SELECT now FROM clock) + $2)
        ORDER BY renew_at LIMIT $3 - (SELECT count(*) FROM late) FOR UPDATE SKIP LOCKED
    )
    UPDATE certificates SET claimed_until = (SELECT now FROM clock) + $4
    WHERE name IN (SELECT name FROM late UNION ALL SELECT name FROM others)
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
    let mut rows: Vec<Row> = sqlx::query_as(CLAIM)
        .bind(now.0)
        .bind(seconds(FUTURE))
        .bind(i64::from(limit))
        .bind(seconds(hold))
        .fetch_all(&database.pool)
        .await?;
    // They come back in no order.
    rows.sort_by_key(|(_, at, late_at)| {
        Due { at: UnixTime(*at), late_at: UnixTime(late_at.unwrap_or(i64::MAX)) }.place(now)
    });
    Ok(valid(rows.into_iter().map(|(name, ..)| name).collect()))
}

/// Lets them be anybody's.
pub async fn give_up(database: &Database, names: &[CertificateName]) -> Result<(), Fault> {
    sqlx::query("UPDATE certificates SET claimed_until = NULL WHERE name = ANY($1)")
        .bind(names.iter().map(CertificateName::as_str).collect::<Vec<_>>())
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// How many are due and nobody's, up to `most`.
pub async fn count(database: &Database, now: UnixTime, most: u32) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM certificates
             WHERE renew_at <= $1 AND (claimed_until IS NULL OR claimed_until <= (SELECT unix_now()))
             ORDER BY renew_at LIMIT $2) AS due",
    )
    .bind(now.0)
    .bind(i64::from(most))
    .fetch_one(&database.pool)
    .await?;
    Ok(count.unsigned_abs())
}
