//! Webhooks and deliveries to them.

use serde_json::json;

use super::row::unusable;
use super::sealed;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::webhook::WebhookSecret;
use crate::store::Error;
use crate::store::columns::Columns;
use crate::store::operation::Fault;
use crate::store::seal::SealingKey;
use crate::store::webhooks::{Delivery, Webhook};

/// Its secret, sealed.
pub fn sealed(key: &SealingKey, webhook: &Webhook) -> Vec<u8> {
    let record = sealed::webhook(&webhook.id, webhook.organization.as_str().as_bytes());
    key.seal(record, webhook.secret.octets())
}

/// The text of the column `events`.
pub fn kinds_text(webhook: &Webhook) -> String {
    json!(webhook.events).to_string()
}

/// Whether the text of the column `events` asks for `kind`.
pub fn asks_for(text: &str, kind: EventKind) -> bool {
    serde_json::from_str::<Vec<String>>(text)
        .is_ok_and(|words| words.is_empty() || words.iter().any(|word| word == kind.word()))
}

/// A row of webhooks as it is, its secret opened.
pub fn webhook(key: &SealingKey, row: &impl Columns) -> Result<Webhook, Fault> {
    let (id, organization) = (row.text("id")?, row.text("organization")?);
    let bad = |why: &dyn std::fmt::Display| unusable("webhook", &id, why);
    let octets = row.octets("sealed_secret")?;
    let secret = key.open(sealed::webhook(&id, organization.as_bytes()), &octets).map_err(Error::from)?;
    Ok(Webhook {
        organization: organization.parse().map_err(|why| bad(&why))?,
        url: row.text("url")?.parse().map_err(|why| bad(&why))?,
        secret: WebhookSecret::new(secret).map_err(|why| bad(&why))?,
        events: serde_json::from_str(&row.text("events")?).map_err(|why| bad(&why))?,
        disabled: row.maybe_text("disabled")?,
        version: row.number("version")?,
        created_at: UnixTime(row.number("created_at")?),
        updated_at: UnixTime(row.number("updated_at")?),
        id,
    })
}

/// A row of deliveries as it is.
pub fn delivery(row: &impl Columns) -> Result<Delivery, Fault> {
    let id = row.number("id")?;
    let bad = |why: &dyn std::fmt::Display| unusable("delivery", &id.to_string(), why);
    let kind = row.text("kind")?;
    let status = row.maybe_number("status")?.map(u16::try_from).transpose();
    Ok(Delivery {
        id,
        webhook: row.text("webhook")?,
        organization: row.text("organization")?.parse().map_err(|why| bad(&why))?,
        event: row.number("event")?,
        kind: EventKind::of(&kind)
            .ok_or_else(|| bad(&format!("its kind {kind:?} is unknown to this version")))?,
        message: row.text("message")?,
        hostname: row.text("hostname")?.parse().map_err(|why| bad(&why))?,
        body: row.text("body")?,
        created_at: UnixTime(row.number("created_at")?),
        failures: u32::try_from(row.number("failures")?).map_err(|why| bad(&why))?,
        next_at: row.maybe_number("next_at")?.map(UnixTime),
        delivered_at: row.maybe_number("delivered_at")?.map(UnixTime),
        status: status.map_err(|why| bad(&why))?,
        report: row.text("report")?,
    })
}
