//! Deliveries made of the event log. The cursor moves with them.

use std::collections::HashMap;

use sqlx::{Connection, Row, SqliteConnection};

use super::database::{Database, Durability, Fault};
use super::{events, hostnames};
use crate::domain::clock::UnixTime;
use crate::domain::event::{Event, EventKind};
use crate::domain::label::Label;
use crate::domain::webhook::{KINDS, body};
use crate::store::read::event as read;
use crate::store::read::webhook::asks_for;
use crate::store::webhooks::HandedOut;

/// Makes deliveries of the events behind the cursor, and moves it.
pub async fn hand_out(database: &Database, limit: u32) -> Result<HandedOut, Fault> {
    let behind: bool =
        sqlx::query_scalar("SELECT handed_out < (SELECT coalesce(max(id), 0) FROM events) FROM outbox")
            .fetch_one(&database.readers)
            .await?;
    if !behind {
        return Ok(HandedOut::default());
    }
    // A power cut that took the deliveries back but not what was sent would have them sent again
    // under other identifiers.
    let mut writer = database.writer(Durability::PowerCut).await?;
    let mut transaction = writer.connection.begin_with("BEGIN IMMEDIATE").await?;
    let after: i64 = sqlx::query_scalar("SELECT handed_out FROM outbox").fetch_one(&mut *transaction).await?;
    let rows = events::rows_after(&mut transaction, after, limit).await?;
    let mut hand = Hand { now: database.now(), receivers: HashMap::new() };
    let (mut last, mut out) = (after, HandedOut::default());
    for row in &rows {
        last = row.try_get("id")?;
        out.events += 1;
        let kind: String = row.try_get("kind")?;
        if !EventKind::of(&kind).is_some_and(|kind| KINDS.contains(&kind)) {
            continue;
        }
        match read::event(row) {
            Ok(event) => out.deliveries += hand.deliver(&mut transaction, &event).await?,
            Err(Fault::Store(error)) => {
                tracing::error!(%error, "no webhook is told of an event, as it is damaged");
            }
            Err(fault) => return Err(fault),
        }
    }
    sqlx::query("UPDATE outbox SET handed_out = ?1").bind(last).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(out)
}

/// A webhook that is not disabled, as far as it matters for making deliveries.
#[derive(sqlx::FromRow)]
struct Receiver {
    id: String,
    events: String,
    since: i64,
}

/// Makes deliveries, and remembers for it which webhooks an organization has.
struct Hand {
    now: UnixTime,
    receivers: HashMap<String, Vec<Receiver>>,
}

impl Hand {
    /// Makes those of `event`; how many.
    async fn deliver(&mut self, connection: &mut SqliteConnection, event: &Event) -> Result<u32, Fault> {
        let (Some(hostname), Some(whose)) = (&event.hostname, &event.organization) else { return Ok(0) };
        let organization = whose.as_str();
        if !self.receivers.contains_key(organization) {
            let found: Vec<Receiver> = sqlx::query_as(
                "SELECT id, events, since FROM webhooks WHERE organization = ?1 AND disabled IS NULL",
            )
            .bind(organization)
            .fetch_all(&mut *connection)
            .await?;
            self.receivers.insert(organization.to_owned(), found);
        }
        let receivers = self.receivers.get(organization).into_iter().flatten();
        let asking: Vec<&Receiver> = receivers
            .filter(|receiver| receiver.since < event.id && asks_for(&receiver.events, event.kind))
            .collect();
        if asking.is_empty() {
            return Ok(0);
        }
        let registration = match hostnames::find(connection, whose, hostname).await {
            Ok(registration) => registration,
            Err(Fault::Store(error)) => {
                tracing::error!(%error, "webhooks are told of a hostname without what is set for it");
                None
            }
            Err(fault) => return Err(fault),
        };
        let body = body(event, registration.as_ref());
        let mut made = 0;
        for receiver in asking {
            insert(connection, event, receiver, &body, self.now).await?;
            made += 1;
        }
        Ok(made)
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    event: &Event,
    receiver: &Receiver,
    body: &str,
    now: UnixTime,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO deliveries (webhook, organization, event, kind, message, hostname, body, created_at,
             next_at, head)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8,
             NOT EXISTS (SELECT 1 FROM deliveries WHERE webhook = ?1 AND hostname = ?6 AND open = 1))",
    )
    .bind(&receiver.id)
    .bind(event.organization.as_ref().map(Label::as_str))
    .bind(event.id)
    .bind(event.kind.word())
    .bind(format!("msg_{:032x}", rand::random::<u128>()))
    .bind(event.hostname.as_ref().map(|name| name.as_str().to_owned()))
    .bind(body)
    .bind(now.0)
    .execute(connection)
    .await?;
    Ok(())
}
