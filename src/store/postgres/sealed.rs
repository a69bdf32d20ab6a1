//! The keys that the store is sealed with.

use super::database::{Database, Fault};
use crate::store::{Error, SealError};

/// The first key that opens an empty store becomes its key. Of a store that has keys, one must be
/// among those at hand; then the one that seals now is its key too.
pub async fn adopt(database: &Database) -> Result<(), Fault> {
    let ours = database.key.ids();
    let mut transaction = database.pool.begin().await?;
    // One machine at a time: of two that begin an empty store with different keys, one is refused.
    sqlx::query("LOCK TABLE sealing_keys IN EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT id FROM sealing_keys").fetch_all(&mut *transaction).await?;
    if let Some(other) = kept.first()
        && !kept.iter().any(|id| ours.contains(id))
    {
        let what = format!("the store at {}", database.place()).into();
        let (sealed_with, configured) = (other.clone(), ours.into_iter().next().unwrap_or_default());
        return Err(Error::from(SealError::OtherKey { what, sealed_with, configured }).into());
    }
    sqlx::query("INSERT INTO sealing_keys (id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(database.key.id())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// Only the key that seals now is the store's.
pub async fn retire(database: &Database) -> Result<(), Fault> {
    sqlx::query("DELETE FROM sealing_keys WHERE id <> $1")
        .bind(database.key.id())
        .execute(&database.pool)
        .await?;
    Ok(())
}
