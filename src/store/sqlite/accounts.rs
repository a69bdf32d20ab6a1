//! ACME accounts as rows, sealed.

use super::database::{Database, Durability, Fault};
use crate::store::{AccountCredentials, seal};

/// The account kept for `key`.
pub async fn find(database: &Database, key: &str) -> Result<Option<AccountCredentials>, Fault> {
    let sealed: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT sealed_credentials FROM accounts WHERE key = ?1")
            .bind(key)
            .fetch_optional(&database.readers)
            .await?;
    sealed.map(|sealed| open(database, key, &sealed)).transpose()
}

/// Keeps `credentials` unless there are some; those that are kept now.
pub async fn save(
    database: &Database,
    key: &str,
    credentials: &AccountCredentials,
) -> Result<AccountCredentials, Fault> {
    let sealed = database.key.seal(sealed_as(key), credentials);
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
    open(database, key, &kept)
}

fn open(database: &Database, key: &str, sealed: &[u8]) -> Result<AccountCredentials, Fault> {
    Ok(database.key.open(sealed_as(key), sealed).map_err(crate::store::Error::from)?)
}

/// The record its credentials are sealed for.
pub fn sealed_as(key: &str) -> seal::Record<'_> {
    seal::Record { kind: "account", of: key, beside: b"" }
}
