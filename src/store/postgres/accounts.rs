//! ACME accounts as rows, sealed.

use super::database::{Database, Fault};
use crate::store::AccountCredentials;
use crate::store::read::accounts::{open, seal};

/// The account kept for `key`.
pub async fn find(database: &Database, key: &str) -> Result<Option<AccountCredentials>, Fault> {
    let sealed: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT sealed_credentials FROM accounts WHERE key = $1")
            .bind(key)
            .fetch_optional(&database.pool)
            .await?;
    sealed.map(|sealed| open(&database.key, key, &sealed)).transpose()
}

/// Keeps `credentials` unless there are some; those that are kept now.
pub async fn save(
    database: &Database,
    key: &str,
    credentials: &AccountCredentials,
) -> Result<AccountCredentials, Fault> {
    // An update that changes nothing finds one of another machine too that came a moment ago.
    let kept: Vec<u8> = sqlx::query_scalar(
        "INSERT INTO accounts (key, sealed_credentials) VALUES ($1, $2)
         ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING sealed_credentials",
    )
    .bind(key)
    .bind(seal(&database.key, key, credentials))
    .fetch_one(&database.pool)
    .await?;
    open(&database.key, key, &kept)
}
