//! What the authorities were asked, as rows.

use async_trait::async_trait;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use super::leases::seconds;
use crate::domain::budget::{LONGEST_LIMIT, PATIENCE};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::read::ledger::{self as read, KEPT};
use crate::store::{Bound, Error, Health, Ledger, Placed, Scope, UnfinishedOrder};

async fn health(database: &Database, authority: &str) -> Result<Option<Health>, Fault> {
    let row = sqlx::query("SELECT failures, closed_until, reason FROM authorities WHERE name = $1")
        .bind(authority)
        .fetch_optional(&database.pool)
        .await?;
    Ok(row.map(|row| read::health(&row)).transpose()?)
}

/// A pause beside few failures is of the authority's own limit: who did not know of it does not end it.
async fn save_health(database: &Database, authority: &str, health: &Health) -> Result<(), Fault> {
    sqlx::query(
        "WITH kept AS (
             INSERT INTO authorities AS known (name, failures, closed_until, reason) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET failures = excluded.failures,
                 (closed_until, reason) = (SELECT
                     CASE WHEN stands THEN known.closed_until ELSE excluded.closed_until END,
                     CASE WHEN stands THEN known.reason ELSE excluded.reason END
                     FROM (SELECT known.failures < $6 AND known.closed_until > excluded.closed_until
                         AND known.closed_until <= unix_now() + $5 AS stands) AS limited)
         )
         INSERT INTO changes (kind, name) VALUES ('authority', $1)",
    )
    .bind(authority)
    .bind(i64::from(health.failures))
    .bind(health.closed_until.0)
    .bind(&health.reason)
    .bind(seconds(LONGEST_LIMIT))
    .bind(i64::from(PATIENCE))
    .execute(&database.pool)
    .await?;
    database.ring();
    Ok(())
}

/// What `place_order` says: room that remains, or until when there is none, for the name and for any.
type Said = (Option<i64>, Option<i64>, Option<i64>);

/// Notes an order where `bounds` allow it, else says when they will.
async fn place(
    database: &Database,
    (authority, account): (&str, u32),
    name: &CertificateName,
    bounds: &[Bound],
) -> Result<Placed, Fault> {
    let word = |bound: &Bound| match bound.scope {
        Scope::Authority => "authority",
        Scope::Domain => "domain",
        Scope::Hostname => "hostname",
    };
    let place = "SELECT remaining, until, for_any FROM place_order($1, $2, $3, $4, $5, $6, $7, $8)";
    let (remaining, until, for_any): Said = sqlx::query_as(place)
        .bind(authority)
        .bind(i64::from(account))
        .bind(name.as_str())
        .bind(name.registrable_domain())
        .bind(bounds.iter().map(word).collect::<Vec<_>>())
        .bind(bounds.iter().map(|bound| i64::from(bound.count.max(1))).collect::<Vec<_>>())
        // Nothing is noted for longer; and no sum with a moment overflows.
        .bind(bounds.iter().map(|bound| seconds(bound.per.min(KEPT))).collect::<Vec<_>>())
        .bind(seconds(KEPT))
        .fetch_one(&database.pool)
        .await?;
    Ok(match until {
        None => Placed::Noted { left: remaining.and_then(|left| u32::try_from(left).ok()) },
        Some(until) => Placed::Full { until: UnixTime(until), for_any: for_any.map(UnixTime) },
    })
}

/// Keeps an order that is about to be finalized. Authorities forget orders after a time too
/// (RFC 8555 §7.1.3, `expires`).
async fn keep(database: &Database, name: &CertificateName, order: &UnfinishedOrder) -> Result<(), Fault> {
    let (sealed, key_type) = read::seal(&database.key, name, order)?;
    sqlx::query(
        "WITH forgotten AS (
             DELETE FROM unfinished_orders WHERE name IN (
                 SELECT name FROM unfinished_orders WHERE placed_at <= $7 AND name <> $1
                 ORDER BY placed_at LIMIT 100 FOR UPDATE SKIP LOCKED)
         )
         INSERT INTO unfinished_orders (name, authority, url, sealed_key, key_type, placed_at, account)
         VALUES ($1, $2, $3, $4, $5, $6, $8)
         ON CONFLICT (name) DO UPDATE SET
             authority = excluded.authority, account = excluded.account, url = excluded.url, sealed_key = excluded.sealed_key,
             key_type = excluded.key_type, placed_at = excluded.placed_at",
    )
    .bind(name.as_str())
    .bind(&order.authority)
    .bind(&order.url)
    .bind(sealed)
    .bind(key_type)
    .bind(order.placed_at.0)
    .bind(database.now().minus(KEPT).0)
    .bind(i64::from(order.account))
    .execute(&database.pool)
    .await?;
    Ok(())
}

async fn kept(database: &Database, name: &CertificateName) -> Result<Option<UnfinishedOrder>, Fault> {
    let row = sqlx::query(
        "SELECT authority, account, url, sealed_key, key_type, placed_at FROM unfinished_orders WHERE name = $1",
    )
    .bind(name.as_str())
    .fetch_optional(&database.pool)
    .await?;
    row.map(|row| read::order(&database.key, name, &row)).transpose()
}

async fn forget(database: &Database, name: &CertificateName) -> Result<(), Fault> {
    sqlx::query("DELETE FROM unfinished_orders WHERE name = $1")
        .bind(name.as_str())
        .execute(&database.pool)
        .await?;
    Ok(())
}

#[async_trait]
impl Ledger for PostgresStore {
    async fn health(&self, authority: &str) -> Result<Option<Health>, Error> {
        let operation = Operation { label: "health", doing: "look an authority's health up" };
        self.database.timed(operation, health(&self.database, authority)).await
    }

    async fn save_health(&self, authority: &str, health: &Health) -> Result<(), Error> {
        let operation = Operation { label: "save_health", doing: "keep an authority's health" };
        self.database.timed(operation, save_health(&self.database, authority, health)).await
    }

    async fn place_order(
        &self,
        authority: &str,
        account: u32,
        name: &CertificateName,
        bounds: &[Bound],
    ) -> Result<Placed, Error> {
        let operation = Operation { label: "place_order", doing: "note an order" };
        let _turn = self.database.placing.lock().await;
        self.database.timed(operation, place(&self.database, (authority, account), name, bounds)).await
    }

    async fn keep_order(&self, name: &CertificateName, order: &UnfinishedOrder) -> Result<(), Error> {
        let operation = Operation { label: "keep_order", doing: "keep an unfinished order" };
        self.database.timed(operation, keep(&self.database, name, order)).await
    }

    async fn kept_order(&self, name: &CertificateName) -> Result<Option<UnfinishedOrder>, Error> {
        let operation = Operation { label: "kept_order", doing: "look for an unfinished order" };
        self.database.timed(operation, kept(&self.database, name)).await
    }

    async fn forget_order(&self, name: &CertificateName) -> Result<(), Error> {
        let operation = Operation { label: "forget_order", doing: "forget an unfinished order" };
        self.database.timed(operation, forget(&self.database, name)).await
    }
}
