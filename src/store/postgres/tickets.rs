//! The fleet's keys of session tickets as rows, sealed.

use async_trait::async_trait;

use super::PostgresStore;
use super::database::{Database, Fault, Operation};
use crate::domain::ticket::TicketKey;
use crate::store::Error;
use crate::store::tickets::{FleetKeys, TicketKeys, filed_as, opened, sealed_as};

async fn all(database: &Database) -> Result<FleetKeys, Fault> {
    // One row at least, so that the number comes with the keys.
    let rows: Vec<(i64, Option<String>, Option<Vec<u8>>)> = sqlx::query_as(
        "SELECT newest.serial, name, sealed_key
         FROM (SELECT coalesce(max(serial), 0) AS serial FROM ticket_keys) AS newest
         LEFT JOIN ticket_keys ON ends_at > $1 ORDER BY ends_at",
    )
    .bind(database.now().0)
    .fetch_all(&database.pool)
    .await?;
    let serial = rows.first().map_or(0, |(serial, ..)| *serial);
    let sealed = rows.into_iter().filter_map(|(_, name, sealed)| name.zip(sealed));
    Ok(FleetKeys { keys: opened(&database.key, sealed), serial })
}

async fn add(database: &Database, key: &TicketKey, serial: i64) -> Result<bool, Fault> {
    let name = filed_as(key.name());
    let sealed = database.key.seal(sealed_as(&name), key.octets().as_slice());
    // Of all that come with one serial the first one gets its row. The newest one stays, ended or not:
    // serials never go back.
    let added: bool = sqlx::query_scalar(
        "WITH added AS (
             INSERT INTO ticket_keys (serial, name, sealed_key, ends_at)
             SELECT $1 + 1, $2, $3, $4
             WHERE (SELECT coalesce(max(serial), 0) FROM ticket_keys) = $1
             ON CONFLICT DO NOTHING RETURNING 1
         ), gone AS (
             DELETE FROM ticket_keys
             WHERE serial <= $1 AND ($5 OR ends_at <= $6) AND EXISTS (SELECT 1 FROM added)
         ), told AS (
             INSERT INTO changes (kind, name) SELECT 'ticket_keys', '' FROM added
         )
         SELECT EXISTS (SELECT 1 FROM added)",
    )
    .bind(serial)
    .bind(name)
    .bind(sealed)
    .bind(key.life.ends.0)
    .bind(key.alone)
    .bind(database.now().0)
    .fetch_one(&database.pool)
    .await?;
    if added {
        database.ring();
    }
    Ok(added)
}

#[async_trait]
impl TicketKeys for PostgresStore {
    async fn ticket_keys(&self) -> Result<FleetKeys, Error> {
        let operation = Operation { label: "ticket_keys", doing: "look up the keys of session tickets" };
        self.database.timed(operation, all(&self.database)).await
    }

    async fn add_ticket_key(&self, key: &TicketKey, serial: i64) -> Result<bool, Error> {
        let operation = Operation { label: "add_ticket_key", doing: "add a key of session tickets" };
        self.database.timed(operation, add(&self.database, key, serial)).await
    }
}
