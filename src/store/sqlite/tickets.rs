//! The fleet's keys of session tickets as rows, sealed.

use async_trait::async_trait;
use sqlx::Connection;

use super::SqliteStore;
use super::database::{Database, Durability, Fault, Operation};
use crate::domain::ticket::TicketKey;
use crate::store::Error;
use crate::store::tickets::{FleetKeys, TicketKeys, filed_as, opened, sealed_as};

const NEWEST: &str = "SELECT COALESCE(MAX(serial), 0) FROM ticket_keys";

async fn all(database: &Database) -> Result<FleetKeys, Fault> {
    let mut reader = database.readers.acquire().await?;
    // Before the keys: one that comes in between is added again under its number, to no avail.
    let serial = sqlx::query_scalar(NEWEST).fetch_one(&mut *reader).await?;
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT name, sealed_key FROM ticket_keys WHERE ends_at > ?1 ORDER BY ends_at")
            .bind(database.now().0)
            .fetch_all(&mut *reader)
            .await?;
    Ok(FleetKeys { keys: opened(&database.key, rows), serial })
}

async fn add(database: &Database, key: &TicketKey, serial: i64) -> Result<bool, Fault> {
    let name = filed_as(key.name());
    let sealed = database.key.seal(sealed_as(&name), key.octets().as_slice());
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let newest: i64 = sqlx::query_scalar(NEWEST).fetch_one(&mut *transaction).await?;
    if newest != serial {
        return Ok(false);
    }
    sqlx::query("INSERT INTO ticket_keys (serial, name, sealed_key, ends_at) VALUES (?1, ?2, ?3, ?4)")
        .bind(serial + 1)
        .bind(name)
        .bind(sealed)
        .bind(key.life.ends.0)
        .execute(&mut *transaction)
        .await?;
    // The newest one stays, ended or not: serials never go back.
    let others = if key.alone {
        sqlx::query("DELETE FROM ticket_keys WHERE serial <= ?1").bind(serial)
    } else {
        let ended = "DELETE FROM ticket_keys WHERE ends_at <= ?2 AND serial <= ?1";
        sqlx::query(ended).bind(serial).bind(database.now().0)
    };
    others.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

#[async_trait]
impl TicketKeys for SqliteStore {
    async fn ticket_keys(&self) -> Result<FleetKeys, Error> {
        let operation = Operation { label: "ticket_keys", doing: "look up the keys of session tickets" };
        self.database.timed(operation, all(&self.database)).await
    }

    async fn add_ticket_key(&self, key: &TicketKey, serial: i64) -> Result<bool, Error> {
        let operation = Operation { label: "add_ticket_key", doing: "add a key of session tickets" };
        self.database.timed(operation, add(&self.database, key, serial)).await
    }
}
