//! Revoked certificates as rows.

use std::time::Duration;

use async_trait::async_trait;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use super::leases::seconds;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::revocation::Fingerprint;
use crate::store::read::revocations::{brief, read};
use crate::store::{Error, Revocation, Revocations};

async fn save(database: &Database, revocation: &Revocation) -> Result<(), Fault> {
    sqlx::query(
        "WITH kept AS (
             INSERT INTO revocations
                 (fingerprint, name, leaf, authority, reason, asked_at, not_after, next_at, failures, report)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (fingerprint) DO UPDATE SET
                 name = excluded.name, leaf = excluded.leaf, authority = excluded.authority,
                 reason = excluded.reason, asked_at = excluded.asked_at, not_after = excluded.not_after,
                 next_at = excluded.next_at, failures = excluded.failures, report = excluded.report
         )
         INSERT INTO changes (kind, name) VALUES ('revocation', '')",
    )
    .bind(Fingerprint::of(&revocation.leaf).0.to_vec())
    .bind(revocation.name.as_str())
    .bind(&revocation.leaf)
    .bind(&revocation.authority)
    .bind(i64::from(revocation.reason.number()))
    .bind(revocation.asked_at.0)
    .bind(revocation.not_after.0)
    .bind(revocation.next.map(|next| next.0))
    .bind(i64::from(revocation.failures))
    .bind(&revocation.report)
    .execute(&database.pool)
    .await?;
    database.ring();
    Ok(())
}

/// For how long an authority is one machine's to tell: longer than all of a batch take.
const HOLD: Duration = Duration::from_secs(10 * 60);

/// Those whose authority is to be told, by this machine alone for [`HOLD`].
async fn to_tell(database: &Database, now: UnixTime, limit: u32) -> Result<Vec<Revocation>, Fault> {
    let rows = sqlx::query(
        "WITH due AS (
             SELECT fingerprint, next_at FROM revocations WHERE next_at <= $1 ORDER BY next_at LIMIT $2
             FOR UPDATE SKIP LOCKED
         )
         UPDATE revocations SET next_at = $1 + $3 WHERE fingerprint = ANY(ARRAY(SELECT fingerprint FROM due))
         RETURNING name, leaf, authority, reason, asked_at, not_after, failures, report,
             (SELECT due.next_at FROM due WHERE due.fingerprint = revocations.fingerprint) AS next_at",
    )
    .bind(now.0)
    .bind(i64::from(limit))
    .bind(seconds(HOLD))
    .fetch_all(&database.pool)
    .await?;
    rows.iter().map(read).collect()
}

async fn pending(database: &Database) -> Result<u64, Fault> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM revocations WHERE next_at IS NOT NULL")
        .fetch_one(&database.pool)
        .await?;
    Ok(count.unsigned_abs())
}

async fn revoked_since(
    database: &Database,
    since: UnixTime,
    now: UnixTime,
) -> Result<Vec<(Fingerprint, CertificateName, UnixTime)>, Fault> {
    let rows = sqlx::query(
        "SELECT fingerprint, name, asked_at FROM revocations WHERE not_after >= $1 AND asked_at >= $2",
    )
    .bind(now.0)
    .bind(since.0)
    .fetch_all(&database.pool)
    .await?;
    rows.iter().map(brief).collect()
}

#[async_trait]
impl Revocations for PostgresStore {
    async fn save_revocation(&self, revocation: &Revocation) -> Result<(), Error> {
        let operation = Operation { label: "save_revocation", doing: "keep a revocation" };
        self.database.timed(operation, save(&self.database, revocation)).await
    }

    async fn revocations_to_tell(&self, now: UnixTime, limit: u32) -> Result<Vec<Revocation>, Error> {
        let operation =
            Operation { label: "revocations_to_tell", doing: "list whose authority is to be told" };
        self.database.timed(operation, to_tell(&self.database, now, limit)).await
    }

    async fn revocations_pending(&self) -> Result<u64, Error> {
        let operation = Operation { label: "revocations_pending", doing: "count the revocations under way" };
        self.database.timed(operation, pending(&self.database)).await
    }

    async fn revoked(
        &self,
        since: UnixTime,
        now: UnixTime,
    ) -> Result<Vec<(Fingerprint, CertificateName, UnixTime)>, Error> {
        let operation = Operation { label: "revoked", doing: "list what was revoked" };
        self.database.timed(operation, revoked_since(&self.database, since, now)).await
    }
}
