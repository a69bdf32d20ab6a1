//! Leases as rows. A token is a row's number, which SQLite never gives twice.

use std::time::Duration;

use super::database::{Database, Durability, Fault};
use super::{answers, deliveries};
use crate::store::{Error, LEASE_TTL, Lease, SKEW};

/// Takes the lease on `what` and gives its token, unless one lives.
pub async fn take(database: &Database, what: &str, ttl: Duration) -> Result<Option<i64>, Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    // One that ends later than any does was taken before the clock was set back.
    // By the clock after the wait for the turn: before it, time may have passed unseen.
    let now = database.now();
    // Not by RETURNING: its row comes before the commit, whose failure, as on a full disk, would go
    // unseen.
    let taken = sqlx::query(
        "INSERT OR REPLACE INTO leases (name, expires) SELECT ?1, ?2
         WHERE NOT EXISTS (SELECT 1 FROM leases WHERE name = ?1 AND expires > ?3 AND expires <= ?4)",
    )
    .bind(what)
    .bind(now.plus(ttl).0)
    .bind(now.0)
    .bind(now.plus(LEASE_TTL.max(ttl)).plus(SKEW).0)
    .execute(&mut *writer.connection)
    .await?;
    Ok((taken.rows_affected() > 0).then(|| taken.last_insert_rowid()))
}

/// Prolongs it to `ttl` from now; one that expired and that nobody else took lives again.
pub async fn renew(database: &Database, lease: &Lease, ttl: Duration) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    let renewed = sqlx::query("UPDATE leases SET expires = ?1 WHERE name = ?2 AND token = ?3")
        .bind(database.now().plus(ttl).0)
        .bind(lease.name.as_str())
        .bind(lease.token)
        .execute(&mut *writer.connection)
        .await?;
    if renewed.rows_affected() == 0 {
        return Err(Error::StaleLease { name: lease.name.clone() }.into());
    }
    Ok(())
}

/// Gives the lease on `what` back, where `token` is the newest.
pub async fn release(database: &Database, what: &str, token: i64) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM leases WHERE name = ?1 AND token = ?2")
        .bind(what)
        .bind(token)
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// Takes all of them away, and lets go of the deliveries and requests that were taken: their holders
/// lived in a process that is gone.
pub async fn void_all(database: &Database) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM leases").execute(&mut *writer.connection).await?;
    deliveries::let_go(&mut writer.connection, database.now()).await?;
    answers::void_turns(&mut writer.connection).await?;
    Ok(())
}
