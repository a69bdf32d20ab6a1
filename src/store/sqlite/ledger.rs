//! What the authorities were asked, as rows.

use sqlx::Connection;

use super::database::{Database, Durability, Fault};
use crate::domain::budget::{LONGEST_LIMIT, PATIENCE};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::read::ledger::{self as read, KEPT};
use crate::store::{Bound, Health, Placed, Scope, UnfinishedOrder};

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
    // A pause beside few failures is of the authority's own limit: who did not know of it does not end it.
    sqlx::query(
        "INSERT INTO authorities (name, failures, closed_until, reason) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (name) DO UPDATE SET failures = excluded.failures,
             (closed_until, reason) = (SELECT iif(stands, closed_until, excluded.closed_until),
                                              iif(stands, reason, excluded.reason)
                 FROM (SELECT failures < ?6 AND closed_until > excluded.closed_until
                           AND closed_until <= ?5 AS stands))",
    )
    .bind(authority)
    .bind(health.failures)
    .bind(health.closed_until.0)
    .bind(&health.reason)
    .bind(database.now().plus(LONGEST_LIMIT).0)
    .bind(PATIENCE)
    .execute(&mut *writer.connection)
    .await?;
    Ok(())
}

/// How many orders since a moment count for a bound, up to as many as fill it, and the first of those.
const fn counted(scope: Scope) -> &'static str {
    match scope {
        Scope::Authority => {
            "SELECT count(*), min(placed_at) FROM (
                 SELECT placed_at FROM orders
                 WHERE authority = ?1 AND account = ?2 AND ?3 = ?3 AND placed_at > ?4
                 ORDER BY placed_at DESC LIMIT ?5)"
        }
        Scope::Domain => {
            "SELECT count(*), min(placed_at) FROM (
                 SELECT placed_at FROM orders
                 WHERE authority = ?1 AND ?2 = ?2 AND domain = ?3 AND placed_at > ?4
                 ORDER BY placed_at DESC LIMIT ?5)"
        }
        Scope::Hostname => {
            "SELECT count(*), min(placed_at) FROM (
                 SELECT placed_at FROM orders
                 WHERE authority = ?1 AND ?2 = ?2 AND hostname = ?3 AND placed_at > ?4
                 ORDER BY placed_at DESC LIMIT ?5)"
        }
    }
}

/// Notes an order where `bounds` allow it, else says when they will.
pub async fn place(
    database: &Database,
    (authority, account): (&str, u32),
    name: &CertificateName,
    bounds: &[Bound],
) -> Result<Placed, Fault> {
    let domain = name.registrable_domain();
    let mut writer = database.writer(Durability::Process).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = database.now();
    let (mut left, mut allowed, mut for_any) = (None, None, None);
    for bound in bounds {
        let what = if bound.scope == Scope::Hostname { name.as_str() } else { domain };
        let count = bound.count.max(1);
        let (there, first): (u32, Option<i64>) = sqlx::query_as(counted(bound.scope))
            .bind(authority)
            .bind(account)
            .bind(what)
            .bind(now.minus(bound.per).0)
            .bind(count)
            .fetch_one(&mut *transaction)
            .await?;
        let room = count.saturating_sub(there);
        // Once the first of those that fill the bound is old enough, there is room again.
        let until = first.filter(|_| room == 0).map(|at| UnixTime(at).plus(bound.per));
        allowed = allowed.max(until);
        if bound.scope == Scope::Authority {
            for_any = for_any.max(until);
            left = Some(left.map_or(room, |least: u32| least.min(room)));
        }
    }
    if let Some(until) = allowed {
        return Ok(Placed::Full { until, for_any });
    }
    sqlx::query(
        "INSERT INTO orders (authority, account, hostname, domain, placed_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(authority)
    .bind(account)
    .bind(name.as_str())
    .bind(domain)
    .bind(now.0)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("DELETE FROM orders WHERE authority = ?1 AND placed_at <= ?2")
        .bind(authority)
        .bind(now.minus(KEPT).0)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Placed::Noted { left: left.map(|room| room - 1) })
}

/// Keeps an order that is about to be finalized.
pub async fn keep(database: &Database, name: &CertificateName, order: &UnfinishedOrder) -> Result<(), Fault> {
    let (sealed, key_type) = read::seal(&database.key, name, order)?;
    let mut writer = database.writer(Durability::Process).await?;
    sqlx::query(
        "INSERT OR REPLACE INTO unfinished_orders (name, authority, account, url, sealed_key, key_type, placed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(name.as_str())
    .bind(&order.authority)
    .bind(order.account)
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
        "SELECT authority, account, url, sealed_key, key_type, placed_at FROM unfinished_orders WHERE name = ?1",
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
