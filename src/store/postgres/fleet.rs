//! The machines of the fleet, as rows.

use async_trait::async_trait;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use crate::domain::clock::UnixTime;
use crate::domain::fleet::Machine;
use crate::store::fleet::{FORGOTTEN, Fleet, Seen, Work};
use crate::store::{Error, Health};

async fn check_in(database: &Database, machine: &Machine) -> Result<(), Fault> {
    let said = serde_json::to_string(machine).map_err(|why| unusable(&machine.id, &why))?;
    sqlx::query(
        "WITH gone AS (DELETE FROM machines WHERE seen_at < unix_now() - $3 AND id <> $1)
         INSERT INTO machines (id, said, seen_at) VALUES ($1, $2, unix_now())
         ON CONFLICT (id) DO UPDATE SET said = excluded.said, seen_at = excluded.seen_at",
    )
    .bind(&machine.id)
    .bind(said)
    .bind(i64::try_from(FORGOTTEN.as_secs()).unwrap_or(i64::MAX))
    .execute(&database.pool)
    .await?;
    Ok(())
}

async fn sign_off(database: &Database, id: &str) -> Result<(), Fault> {
    sqlx::query("DELETE FROM machines WHERE id = $1").bind(id).execute(&database.pool).await?;
    Ok(())
}

async fn machines(database: &Database) -> Result<Vec<Seen>, Fault> {
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
        "SELECT id, said, seen_at,
             (SELECT count(*) FROM changes WHERE number > (said::jsonb ->> 'seen_change')::bigint)
         FROM machines ORDER BY said::jsonb ->> 'name', id",
    )
    .fetch_all(&database.pool)
    .await?;
    let read = |(id, said, at, behind): (String, String, i64, i64)| {
        let machine = serde_json::from_str(&said).map_err(|why| unusable(&id, &why))?;
        Ok(Seen { machine, at: UnixTime(at), behind: behind.unsigned_abs() })
    };
    rows.into_iter().map(read).collect()
}

async fn work(database: &Database) -> Result<Work, Fault> {
    let (now, leases): (i64, i64) =
        sqlx::query_as("SELECT unix_now(), (SELECT count(*) FROM leases WHERE expires > unix_now())")
            .fetch_one(&database.pool)
            .await?;
    let rows: Vec<(String, i64, i64, String)> =
        sqlx::query_as("SELECT name, failures::bigint, closed_until, reason FROM authorities ORDER BY name")
            .fetch_all(&database.pool)
            .await?;
    let health = |(name, failures, until, reason): (String, i64, i64, String)| {
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        (name, Health { failures, closed_until: UnixTime(until), reason })
    };
    let authorities = rows.into_iter().map(health).collect();
    Ok(Work { now: UnixTime(now), leases: leases.unsigned_abs(), authorities })
}

async fn orders_since(database: &Database, authority: &str, since: UnixTime) -> Result<u64, Fault> {
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orders WHERE authority = $1 AND placed_at > $2")
            .bind(authority)
            .bind(since.0)
            .fetch_one(&database.pool)
            .await?;
    Ok(count.unsigned_abs())
}

fn unusable(id: &str, why: &serde_json::Error) -> Error {
    Error::Record { what: "machine", of: id.into(), why: why.to_string() }
}

#[async_trait]
impl Fleet for PostgresStore {
    async fn check_in(&self, machine: &Machine) -> Result<(), Error> {
        let operation = Operation { label: "check_in", doing: "keep that a machine is there" };
        self.database.timed(operation, check_in(&self.database, machine)).await
    }

    async fn sign_off(&self, id: &str) -> Result<(), Error> {
        let operation = Operation { label: "sign_off", doing: "forget a machine that leaves" };
        self.database.timed(operation, sign_off(&self.database, id)).await
    }

    async fn machines(&self) -> Result<Vec<Seen>, Error> {
        let operation = Operation { label: "machines", doing: "list the machines" };
        self.database.timed(operation, machines(&self.database)).await
    }

    async fn work(&self) -> Result<Work, Error> {
        let operation = Operation { label: "work", doing: "see what is under way" };
        self.database.timed(operation, work(&self.database)).await
    }

    async fn orders_since(&self, authority: &str, since: UnixTime) -> Result<u64, Error> {
        let operation = Operation { label: "orders_since", doing: "count orders" };
        self.database.timed(operation, orders_since(&self.database, authority, since)).await
    }
}
