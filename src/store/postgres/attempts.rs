//! Last attempts as rows.

use super::database::{Database, Fault};
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::store::Attempt;
use crate::store::read::attempts::{moments_text, read, told};

/// Keeps `attempt`, over the one before it, and notes a failure for whoever holds the name.
pub async fn record(database: &Database, name: &CertificateName, attempt: &Attempt) -> Result<(), Fault> {
    sqlx::query(
        "WITH holder AS MATERIALIZED (
             SELECT id, organization, site FROM hostnames WHERE name = $1 AND holder AND $3 > 0 FOR UPDATE
         ), noted AS (
             INSERT INTO fresh_events (at, organization, site, hostname, kind, detail)
             SELECT $7, organization, site, $1,
                 CASE WHEN EXISTS (SELECT 1 FROM certificates WHERE name = $1 AND NOT withheld)
                     THEN $9 ELSE $8 END, $10
             FROM holder
         ), looked AS (
             UPDATE hostnames SET look_at = $7, asked = asked + 1
             WHERE id = (SELECT id FROM holder) AND look_at > $7
         )
         INSERT INTO attempts (hostname, ended_at, failures, next_at, report, failed_validations)
         SELECT $1, $2, $3, $4, $5, $6 FROM (SELECT count(*) FROM holder) AS first
         ON CONFLICT (hostname) DO UPDATE SET
             ended_at = excluded.ended_at, failures = excluded.failures, next_at = excluded.next_at,
             report = excluded.report, failed_validations = excluded.failed_validations",
    )
    .bind(name.as_str())
    .bind(attempt.at.0)
    .bind(i64::from(attempt.failures))
    .bind(attempt.next.map(|next| next.0))
    .bind(&attempt.report)
    .bind(moments_text(&attempt.failed_validations))
    .bind(database.now().0)
    .bind(EventKind::CertificateFailed.word())
    .bind(EventKind::CertificateRenewalFailed.word())
    .bind(told(attempt).to_string())
    .execute(&database.pool)
    .await?;
    Ok(())
}

/// The last attempt for `name`.
pub async fn find(database: &Database, name: &CertificateName) -> Result<Option<Attempt>, Fault> {
    let found = sqlx::query(
        "SELECT ended_at, failures, next_at, report, failed_validations FROM attempts WHERE hostname = $1",
    )
    .bind(name.as_str())
    .fetch_optional(&database.pool)
    .await?;
    Ok(found.map(|row| read(&row)).transpose()?)
}

/// Lets the next one be at `next`.
pub async fn allow(database: &Database, name: &CertificateName, next: UnixTime) -> Result<(), Fault> {
    sqlx::query("UPDATE attempts SET next_at = $2 WHERE hostname = $1")
        .bind(name.as_str())
        .bind(next.0)
        .execute(&database.pool)
        .await?;
    Ok(())
}
