//! Deliveries made of the event log. The cursor moves with them.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::database::{Database, Fault};
use super::events;
use super::hostnames::columns;
use super::tries::Tries;
use crate::domain::event::{Event, EventKind};
use crate::domain::registration::Registration;
use crate::domain::webhook::{KINDS, body};
use crate::store::columns::Columns;
use crate::store::read::webhook::asks_for;
use crate::store::read::{event, hostname};
use crate::store::webhooks::HandedOut;

/// Deliveries, each the head of its webhook and hostname where none is open. The heads that there are have
/// been locked: none of them is closed meanwhile.
const INSERT: &str = "
    INSERT INTO deliveries (webhook, organization, event, kind, message, hostname, body, created_at, next_at, head)
    SELECT webhook, organization, event, kind, message, hostname, body, moment, moment,
        row_number() OVER (PARTITION BY webhook, hostname ORDER BY place) = 1
            AND NOT EXISTS (SELECT 1 FROM deliveries
                WHERE deliveries.webhook = new.webhook AND deliveries.hostname = new.hostname AND open)
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
        WITH ORDINALITY AS new (webhook, organization, event, kind, message, hostname, body, place),
        unix_now() AS moment
    ORDER BY place";

/// The rows of some hostnames, by organization and name.
const HOSTNAMES: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM hostnames WHERE (organization, name) IN (SELECT * FROM unnest($1::text[], $2::text[]))"
);

/// Makes deliveries of the events behind the cursor, and moves it; where another machine does, nothing.
pub async fn hand_out(database: &Database, limit: u32) -> Result<HandedOut, Fault> {
    let behind: bool = sqlx::query_scalar(
        "SELECT handed_out < (SELECT coalesce(max(id), 0) FROM events) OR EXISTS (SELECT 1 FROM fresh_events)
         FROM outbox",
    )
    .fetch_one(&database.pool)
    .await?;
    if !behind {
        return Ok(HandedOut::default());
    }
    let mut tries = Tries::new();
    loop {
        let mut connection = database.pool.acquire().await?;
        events::number(&mut connection).await?;
        match try_to_hand_out(&mut connection, limit).await {
            Err(fault) if tries.again(&fault) => {}
            other => return other,
        }
    }
}

async fn try_to_hand_out(connection: &mut PgConnection, limit: u32) -> Result<HandedOut, Fault> {
    let mut transaction = sqlx::Connection::begin(connection).await?;
    let after: Option<i64> = sqlx::query_scalar("SELECT handed_out FROM outbox FOR UPDATE SKIP LOCKED")
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(after) = after else { return Ok(HandedOut::default()) };
    let rows = events::rows_after(&mut transaction, after, limit).await?;
    let Some(last) = rows.last() else { return Ok(HandedOut::default()) };
    let last = last.number("id")?;
    let told = told(&rows)?;
    let made = if told.is_empty() { 0 } else { deliver(&mut transaction, &told).await? };
    sqlx::query("UPDATE outbox SET handed_out = $1").bind(last).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(HandedOut { events: u32::try_from(rows.len()).unwrap_or(limit), deliveries: made })
}

/// Those events that webhooks may ask for.
fn told(rows: &[PgRow]) -> Result<Vec<Event>, Fault> {
    let mut told = Vec::with_capacity(rows.len());
    for row in rows {
        let kind = row.text("kind")?;
        if !EventKind::of(&kind).is_some_and(|kind| KINDS.contains(&kind)) {
            continue;
        }
        match event::event(row) {
            Ok(event) => told.push(event),
            Err(Fault::Store(error)) => {
                tracing::error!(%error, "no webhook is told of an event, as it is damaged");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(told)
}

/// A webhook that is not disabled, as far as it matters for making deliveries.
#[derive(sqlx::FromRow)]
struct Receiver {
    id: String,
    organization: String,
    events: String,
    since: i64,
}

/// Which organization's hostname.
type Whose<'a> = (&'a str, &'a str);

fn whose(event: &Event) -> Option<Whose<'_>> {
    Some((event.organization.as_ref()?.as_str(), event.hostname.as_ref()?.as_str()))
}

async fn receivers(connection: &mut PgConnection, told: &[Event]) -> Result<Vec<Receiver>, Fault> {
    let organizations: HashSet<&str> = told.iter().filter_map(whose).map(|whose| whose.0).collect();
    let query = sqlx::query_as(
        "SELECT id, organization, events, since FROM webhooks
         WHERE organization = ANY($1) AND disabled IS NULL",
    );
    Ok(query.bind(Vec::from_iter(organizations)).fetch_all(connection).await?)
}

async fn hostnames(
    connection: &mut PgConnection,
    wanted: &HashSet<Whose<'_>>,
) -> Result<HashMap<(String, String), Registration>, Fault> {
    let (organizations, names): (Vec<&str>, Vec<&str>) = wanted.iter().copied().unzip();
    let rows = sqlx::query(HOSTNAMES).bind(organizations).bind(names).fetch_all(connection).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        match hostname::registration(row) {
            Ok(one) => drop(found.insert((one.organization.to_string(), one.name.to_string()), one)),
            Err(Fault::Store(error)) => {
                tracing::error!(%error, "webhooks are told of a hostname without what is set for it");
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(found)
}

/// The columns of new deliveries.
#[derive(Default)]
struct Columned {
    webhooks: Vec<String>,
    organizations: Vec<String>,
    events: Vec<i64>,
    kinds: Vec<&'static str>,
    messages: Vec<String>,
    hostnames: Vec<String>,
    bodies: Vec<String>,
}

/// Makes the deliveries of these events; how many.
async fn deliver(connection: &mut PgConnection, told: &[Event]) -> Result<u32, Fault> {
    let receivers = receivers(connection, told).await?;
    let mut asked = Vec::new();
    for event in told {
        let Some(whose) = whose(event) else { continue };
        for receiver in &receivers {
            let for_it = receiver.organization == whose.0 && receiver.since < event.id;
            if for_it && asks_for(&receiver.events, event.kind) {
                asked.push((event, whose, receiver));
            }
        }
    }
    if asked.is_empty() {
        return Ok(0);
    }
    let found = hostnames(connection, &asked.iter().map(|(_, whose, _)| *whose).collect()).await?;
    let mut new = Columned::default();
    for (event, (organization, name), receiver) in asked {
        new.webhooks.push(receiver.id.clone());
        new.organizations.push(organization.to_owned());
        new.events.push(event.id);
        new.kinds.push(event.kind.word());
        new.messages.push(format!("msg_{:032x}", rand::random::<u128>()));
        new.hostnames.push(name.to_owned());
        new.bodies.push(body(event, found.get(&(organization.to_owned(), name.to_owned()))));
    }
    insert(connection, new).await
}

async fn insert(connection: &mut PgConnection, new: Columned) -> Result<u32, Fault> {
    sqlx::query(
        "SELECT 1 FROM deliveries
         WHERE head AND (webhook, hostname) IN (SELECT * FROM unnest($1::text[], $2::text[]))
         ORDER BY id FOR UPDATE",
    )
    .bind(&new.webhooks)
    .bind(&new.hostnames)
    .execute(&mut *connection)
    .await?;
    let made = sqlx::query(INSERT)
        .bind(new.webhooks)
        .bind(new.organizations)
        .bind(new.events)
        .bind(new.kinds)
        .bind(new.messages)
        .bind(new.hostnames)
        .bind(new.bodies)
        .execute(connection)
        .await?;
    Ok(u32::try_from(made.rows_affected()).unwrap_or(u32::MAX))
}
