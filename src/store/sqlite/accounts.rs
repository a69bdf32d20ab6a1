//! ACME accounts as rows, sealed.

use super::database::{Database, Durability, Fault};
use crate::store::AccountCredentials;
use crate::store::read::accounts::{open, seal};

/// The account kept for `key`.
pub async fn find(database: &Database, key: &str) -> Result<Option<AccountCredentials>, Fault> {
    let sealed: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT sealed_credentials FROM accounts WHERE key = ?1")
            .bind(key)
            .fetch_optional(&database.readers)
            .await?;
    sealed.map(|sealed| open(&database.key, key, &sealed)).transpose()
}

/// Keeps `credentials` unless there are some; those that are kept now.
pub async fn save(
    database: &Database,
    key: &str,
    credentials: &AccountCredentials,
) -> Result<AccountCredentials, Fault> {
    let sealed = seal(&database.key, key, credentials);
    let mut writer = database.writer(Durability::PowerCut).await?;
    sqlx::query("INSERT INTO accounts (key, sealed_credentials) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
        .bind(key)
        .bind(sealed)
        .execute(&mut *writer.connection)
        .await?;
    let kept: Vec<u8> = sqlx::query_scalar("SELECT sealed_credentials FROM accounts WHERE key = ?1")
        .bind(key)
        .fetch_one(&mut *writer.connection)
        .await?;
    open(&database.key, key, &kept)
}
