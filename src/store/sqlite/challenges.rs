//! Published challenge answers as rows.

use super::database::{Database, Durability, Fault};
use crate::domain::clock::UnixTime;
use crate::store::{Challenge, ChallengeKind};

/// Publishes `challenge`, over an older one of its key; expired ones go at this opportunity.
pub async fn publish(database: &Database, challenge: &Challenge) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM challenges WHERE expires <= ?1")
        .bind(database.now().0)
        .execute(&mut *writer.connection)
        .await?;
    sqlx::query("INSERT OR REPLACE INTO challenges (kind, key, answer, expires) VALUES (?1, ?2, ?3, ?4)")
        .bind(word(challenge.kind))
        .bind(&challenge.key)
        .bind(&challenge.answer)
        .bind(challenge.expires.0)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// The published answer, unless it expired.
pub async fn find(database: &Database, kind: ChallengeKind, key: &str) -> Result<Option<Challenge>, Fault> {
    let found: Option<(String, i64)> = sqlx::query_as(
        "SELECT answer, expires FROM challenges WHERE kind = ?1 AND key = ?2 AND expires > ?3",
    )
    .bind(word(kind))
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

/// Takes it back.
pub async fn withdraw(database: &Database, kind: ChallengeKind, key: &str) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM challenges WHERE kind = ?1 AND key = ?2")
        .bind(word(kind))
        .bind(key)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// The registered name of the challenge type (RFC 8555 §9.7.8, RFC 8737 §6.3).
fn word(kind: ChallengeKind) -> &'static str {
    match kind {
        ChallengeKind::Http01 => "http-01",
        ChallengeKind::TlsAlpn01 => "tls-alpn-01",
    }
}
