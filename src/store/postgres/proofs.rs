//! What authorities are answered, as rows.

use std::time::Duration;

use async_trait::async_trait;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use super::leases::{self, seconds};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::Hostname;
use crate::store::{Challenge, ChallengeKind, Error, LEASE_TTL, Proofs, SKEW, WrittenRecord, ZoneLease};

/// How long the removal of an abandoned record is one machine's: as long as a turn at its zone may take.
const REMOVAL: Duration = Duration::from_secs(3 * 60);

/// Publishes `challenge`; expired ones go at this opportunity.
async fn publish(database: &Database, challenge: &Challenge) -> Result<(), Fault> {
    sqlx::query(
        "WITH expired AS (
             DELETE FROM challenges WHERE (kind, key, answer) IN (
                 SELECT kind, key, answer FROM challenges
                 WHERE expires <= (SELECT unix_now()) AND NOT (kind = $1 AND key = $2)
                 ORDER BY expires LIMIT 100 FOR UPDATE SKIP LOCKED)
         ), older AS (
             DELETE FROM challenges WHERE kind = $1 AND key = $2 AND answer <> $3 AND $5
         ), published AS (
             INSERT INTO challenges (kind, key, answer, expires) VALUES ($1, $2, $3, $4)
             ON CONFLICT (kind, key, answer) DO UPDATE SET expires = excluded.expires
         )
         INSERT INTO changes (kind, name) VALUES ('challenge', $1 || ' ' || $2)",
    )
    .bind(challenge.kind.word())
    .bind(&challenge.key)
    .bind(&challenge.answer)
    .bind(challenge.expires.0)
    .bind(challenge.kind != ChallengeKind::Dns01)
    .execute(&database.pool)
    .await?;
    database.ring();
    Ok(())
}

async fn find(database: &Database, kind: ChallengeKind, key: &str) -> Result<Option<Challenge>, Fault> {
    let found: Option<(String, i64)> = sqlx::query_as(
        "SELECT answer, expires FROM challenges
         WHERE kind = $1 AND key = $2 AND expires > (SELECT unix_now()) LIMIT 1",
    )
    .bind(kind.word())
    .bind(key)
    .fetch_optional(&database.pool)
    .await?;
    Ok(found.map(|(answer, expires)| Challenge {
        kind,
        key: key.to_owned(),
        answer,
        expires: UnixTime(expires),
    }))
}

async fn dns_answers(database: &Database, owner: &str) -> Result<Vec<String>, Fault> {
    let found = sqlx::query_scalar(
        "SELECT answer FROM challenges WHERE kind = $1 AND key = $2 AND expires > (SELECT unix_now())",
    );
    Ok(found.bind(ChallengeKind::Dns01.word()).bind(owner).fetch_all(&database.pool).await?)
}

async fn withdraw(database: &Database, challenge: &Challenge) -> Result<(), Fault> {
    sqlx::query(
        "WITH gone AS (
             DELETE FROM challenges WHERE kind = $1 AND key = $2 AND answer = $3 RETURNING 1
         )
         INSERT INTO changes (kind, name) SELECT 'challenge', $1 || ' ' || $2 FROM gone",
    )
    .bind(challenge.kind.word())
    .bind(&challenge.key)
    .bind(&challenge.answer)
    .execute(&database.pool)
    .await?;
    database.ring();
    Ok(())
}

async fn keep(database: &Database, record: &WrittenRecord) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO written_records (name, zone, owner, value) VALUES ($1, $2, $3, $4)
         ON CONFLICT (owner, value) DO UPDATE SET name = excluded.name, zone = excluded.zone",
    )
    .bind(record.name.as_str())
    .bind(&record.zone)
    .bind(&record.owner)
    .bind(&record.value)
    .execute(&database.pool)
    .await?;
    Ok(())
}

async fn forget(database: &Database, record: &WrittenRecord) -> Result<(), Fault> {
    sqlx::query("DELETE FROM written_records WHERE owner = $1 AND value = $2")
        .bind(&record.owner)
        .bind(&record.value)
        .execute(&database.pool)
        .await?;
    Ok(())
}

/// No other machine is told of them until [`REMOVAL`] is over.
async fn abandoned(database: &Database, limit: u32) -> Result<Vec<WrittenRecord>, Fault> {
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "WITH clock AS MATERIALIZED (
             SELECT unix_now() AS now
         ), abandoned AS MATERIALIZED (
             SELECT id FROM written_records AS record
             WHERE held_until <= (SELECT now FROM clock)
                 AND NOT EXISTS (SELECT 1 FROM leases, clock WHERE leases.name = record.name
                                 AND expires > clock.now AND expires <= clock.now + $1)
             ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
         )
         UPDATE written_records SET held_until = (SELECT now FROM clock) + $3
         WHERE id IN (SELECT id FROM abandoned) RETURNING name, zone, owner, value",
    )
    .bind(seconds(LEASE_TTL + SKEW))
    .bind(i64::from(limit))
    .bind(seconds(REMOVAL))
    .fetch_all(&database.pool)
    .await?;
    let read = |(name, zone, owner, value): (String, String, String, String)| {
        let parsed = name.parse().map_err(|why| Error::Record {
            what: "TXT record",
            of: owner.as_str().into(),
            why: format!("it is for {name:?}, which is no name: {why}"),
        });
        Ok(WrittenRecord { name: parsed?, zone, owner, value })
    };
    rows.into_iter().map(read).collect()
}

#[async_trait]
impl Proofs for PostgresStore {
    async fn publish_challenge(&self, challenge: &Challenge) -> Result<(), Error> {
        let operation = Operation { label: "publish_challenge", doing: "publish a challenge's answer" };
        self.database.timed(operation, publish(&self.database, challenge)).await
    }

    async fn challenge(&self, kind: ChallengeKind, key: &str) -> Result<Option<Challenge>, Error> {
        let operation = Operation { label: "challenge", doing: "look a challenge's answer up" };
        self.database.timed(operation, find(&self.database, kind, key)).await
    }

    async fn dns_answers(&self, owner: &str) -> Result<Vec<String>, Error> {
        let operation = Operation { label: "dns_answers", doing: "look the answers of dns-01 up" };
        self.database.timed(operation, dns_answers(&self.database, owner)).await
    }

    async fn withdraw_challenge(&self, challenge: &Challenge) -> Result<(), Error> {
        let operation = Operation { label: "withdraw_challenge", doing: "withdraw a challenge's answer" };
        self.database.timed(operation, withdraw(&self.database, challenge)).await
    }

    async fn keep_record(&self, record: &WrittenRecord) -> Result<(), Error> {
        let operation = Operation { label: "keep_record", doing: "keep that a TXT record is written" };
        self.database.timed(operation, keep(&self.database, record)).await
    }

    async fn forget_record(&self, record: &WrittenRecord) -> Result<(), Error> {
        let operation = Operation { label: "forget_record", doing: "forget a TXT record that was removed" };
        self.database.timed(operation, forget(&self.database, record)).await
    }

    async fn abandoned_records(&self, limit: u32) -> Result<Vec<WrittenRecord>, Error> {
        let operation = Operation { label: "abandoned_records", doing: "list TXT records left behind" };
        self.database.timed(operation, abandoned(&self.database, limit)).await
    }

    async fn lease_zone(&self, zone: &Hostname, ttl: Duration) -> Result<Option<ZoneLease>, Error> {
        let operation = Operation { label: "lease_zone", doing: "take the lease on a zone" };
        let key = ZoneLease::key(zone);
        let token = self.database.timed(operation, leases::take(&self.database, &key, ttl)).await?;
        Ok(token.map(|token| ZoneLease { zone: zone.clone(), token }))
    }

    async fn release_zone(&self, lease: &ZoneLease) -> Result<(), Error> {
        let operation = Operation { label: "release_zone", doing: "give the lease on a zone back" };
        let key = ZoneLease::key(&lease.zone);
        self.database.timed(operation, leases::release(&self.database, &key, lease.token)).await
    }
}
