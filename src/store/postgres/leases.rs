//! Leases as rows. Whether one lives is the database's to say, by its time.

use std::time::Duration;

use super::database::{Database, Fault};
use crate::store::{Error, LEASE_TTL, Lease, SKEW};

/// Takes the lease on `what` and gives its token, unless one lives. One that ends later than any does was
/// taken before the database's clock was set back.
pub async fn take(database: &Database, what: &str, ttl: Duration) -> Result<Option<i64>, Fault> {
    // One at a time for a name: the token is drawn and the time read when the turn has come, so that both
    // are above whatever those before it got.
    let token = sqlx::query_scalar(
        "WITH turn AS MATERIALIZED (
             SELECT pg_advisory_xact_lock(hashtext('nameplate lease'), hashtext($1))
         )
         INSERT INTO leases (name, token, expires)
         SELECT $1, nextval('lease_tokens'), unix_now() + $2 FROM turn
         ON CONFLICT (name) DO UPDATE SET token = excluded.token, expires = unix_now() + $2
         WHERE leases.expires <= unix_now() OR leases.expires > unix_now() + $3
         RETURNING token",
    )
    .bind(what)
    .bind(seconds(ttl))
    .bind(seconds(LEASE_TTL.max(ttl) + SKEW))
    .fetch_optional(&database.pool)
    .await?;
    Ok(token)
}

/// Prolongs it to `ttl` from now; one that expired and that nobody else took lives again.
pub async fn renew(database: &Database, lease: &Lease, ttl: Duration) -> Result<(), Fault> {
    let renewed = sqlx::query("UPDATE leases SET expires = unix_now() + $3 WHERE name = $1 AND token = $2")
        .bind(lease.name.as_str())
        .bind(lease.token)
        .bind(seconds(ttl))
        .execute(&database.pool)
        .await?;
    if renewed.rows_affected() == 0 {
        return Err(Error::StaleLease { name: lease.name.clone() }.into());
    }
    Ok(())
}

/// Gives the lease on `what` back, where `token` is the newest.
pub async fn release(database: &Database, what: &str, token: i64) -> Result<(), Fault> {
    sqlx::query("DELETE FROM leases WHERE name = $1 AND token = $2")
        .bind(what)
        .bind(token)
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// Whole seconds, as the database counts them.
pub fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
