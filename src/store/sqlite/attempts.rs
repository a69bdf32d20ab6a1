//! Last attempts as rows.

use sqlx::Connection;

use super::database::{Database, Durability, Fault};
use super::events;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::store::Attempt;
use crate::store::read::attempts::{moments_text, read, told};

/// Keeps `attempt`, over the one before it.
pub async fn record(database: &Database, name: &CertificateName, attempt: &Attempt) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "INSERT OR REPLACE INTO attempts (hostname, ended_at, failures, next_at, report, failed_validations)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(name.as_str())
    .bind(attempt.at.0)
    .bind(attempt.failures)
    .bind(attempt.next.map(|next| next.0))
    .bind(&attempt.report)
    .bind(moments_text(&attempt.failed_validations))
    .execute(&mut *transaction)
    .await?;
    if attempt.failures > 0 {
        let served: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM certificates WHERE name = ?1 AND withheld = 0")
                .bind(name.as_str())
                .fetch_optional(&mut *transaction)
                .await?;
        let kind = served.map_or(EventKind::CertificateFailed, |_| EventKind::CertificateRenewalFailed);
        let now = database.now();
        events::note_certificate(&mut transaction, now, name.as_str(), kind, told(attempt)).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// The last attempt for `name`.
pub async fn find(database: &Database, name: &CertificateName) -> Result<Option<Attempt>, Fault> {
    let found = sqlx::query(
        "SELECT ended_at, failures, next_at, report, failed_validations FROM attempts WHERE hostname = ?1",
    )
    .bind(name.as_str())
    .fetch_optional(&database.readers)
    .await?;
    Ok(found.map(|row| read(&row)).transpose()?)
}

/// Lets the next one be at `next`.
pub async fn allow(database: &Database, name: &CertificateName, next: UnixTime) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("UPDATE attempts SET next_at = ?2 WHERE hostname = ?1")
        .bind(name.as_str())
        .bind(next.0)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}
