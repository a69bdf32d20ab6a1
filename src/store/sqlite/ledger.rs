//! What the authorities were asked, as rows.

use sqlx::Connection;

use super::database::{Database, Durability, Fault};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::read::ledger::{self as read, KEPT};
use crate::store::{Bound, Health, Scope, UnfinishedOrder};

/// How it does.
pub async fn health(database: &Database, authority: &str) -> Result<Option<Health>, Fault> {
    let row = sqlx::query("SELECT failures, closed_until, reason FROM authorities WHERE name = ?1")
        .bind(authority)
        .fetch_optional(&database.readers)
        .await?;
    Ok(row.map(|row| read::health(&row)).transpose()?)
}

/// Keeps how it does.
pub async fn save_health(database: &Database, authority: &str, health: &Health) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query(
        "INSERT OR REPLACE INTO authorities (name, failures, closed_until, reason) VALUES (?1, ?2, ?3, ?4)",
    )
    .bind(authority)
    .bind(health.failures)
    .bind(health.closed_until.0)
    .bind(&health.reason)
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

/// Notes an order where `bounds` allow it, else says when they will.
pub async fn place(
    database: &Database,
    authority: &str,
    name: &CertificateName,
    bounds: &[Bound],
) -> Result<Option<UnixTime>, Fault> {
    let domain = name.registrable_domain();
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    let mut allowed = None;
    for bound in bounds {
        // The last of those that fill the bound: once it is old enough, there is room again.
        let statement = match bound.scope {
            Scope::Authority => {
                "SELECT placed_at FROM orders WHERE authority = ?1 AND ?2 = ?2 AND placed_at > ?3
                 ORDER BY placed_at DESC LIMIT 1 OFFSET ?4"
            }
            Scope::Domain => {
                "SELECT placed_at FROM orders WHERE authority = ?1 AND domain = ?2 AND placed_at > ?3
                 ORDER BY placed_at DESC LIMIT 1 OFFSET ?4"
            }
            Scope::Hostname => {
                "SELECT placed_at FROM orders WHERE authority = ?1 AND hostname = ?2 AND placed_at > ?3
                 ORDER BY placed_at DESC LIMIT 1 OFFSET ?4"
            }
        };
        let what = if bound.scope == Scope::Hostname { name.as_str() } else { domain };
        let since = now.0.saturating_sub(i64::try_from(bound.per.as_secs()).unwrap_or(i64::MAX));
        let filling: Option<i64> = sqlx::query_scalar(statement)
            .bind(authority)
            .bind(what)
            .bind(since)
            .bind(bound.count.saturating_sub(1))
            .fetch_optional(&mut *transaction)
            .await?;
        allowed = allowed.max(filling.map(|placed| UnixTime(placed).plus(bound.per)));
    }
    if allowed.is_none() {
        sqlx::query("INSERT INTO orders (authority, hostname, domain, placed_at) VALUES (?1, ?2, ?3, ?4)")
            .bind(authority)
            .bind(name.as_str())
            .bind(domain)
            .bind(now.0)
            .execute(&mut *transaction)
            .await?;
        let old = now.0.saturating_sub(i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX));
        sqlx::query("DELETE FROM orders WHERE authority = ?1 AND placed_at <= ?2")
            .bind(authority)
            .bind(old)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(allowed)
}

/// Keeps an order that is about to be finalized.
pub async fn keep(database: &Database, name: &CertificateName, order: &UnfinishedOrder) -> Result<(), Fault> {
    let (sealed, key_type) = read::seal(&database.key, name, order)?;
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query(
        "INSERT OR REPLACE INTO unfinished_orders (name, authority, url, sealed_key, key_type, placed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(name.as_str())
    .bind(&order.authority)
    .bind(&order.url)
    .bind(sealed)
    .bind(key_type)
    .bind(order.placed_at.0)
    .execute(&mut *writer.connection)
    .await?;
    // Authorities forget orders after a time too (RFC 8555 §7.1.3, `expires`).
    sqlx::query("DELETE FROM unfinished_orders WHERE placed_at <= ?1")
        .bind(database.now().0.saturating_sub(i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX)))
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}

/// The order kept for `name`.
pub async fn kept(database: &Database, name: &CertificateName) -> Result<Option<UnfinishedOrder>, Fault> {
    let row = sqlx::query(
        "SELECT authority, url, sealed_key, key_type, placed_at FROM unfinished_orders WHERE name = ?1",
    )
    .bind(name.as_str())
    .fetch_optional(&database.readers)
    .await?;
    row.map(|row| read::order(&database.key, name, &row)).transpose()
}

/// Forgets it.
pub async fn forget(database: &Database, name: &CertificateName) -> Result<(), Fault> {
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query("DELETE FROM unfinished_orders WHERE name = ?1")
        .bind(name.as_str())
        .execute(&mut *writer.connection)
        .await?;
    Ok(())
}
