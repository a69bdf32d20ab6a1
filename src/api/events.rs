//! Calls about what happened.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::access::Caller;
use super::document::{Answer, Errors, Page, Resource};
use super::problem::Problem;
use super::query::{Query, bad};
use super::routes::{Api, BASE};
use crate::domain::event::{Event, EventKind};
use crate::sites::input;
use crate::store::records::EventFilter;

/// Something that happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventView {
    /// What.
    pub kind: EventKind,
    /// When (RFC 3339).
    #[schema(format = DateTime)]
    pub at: String,
    /// Whose it is; `null`: the operator's.
    pub organization: Option<String>,
    /// The site that is concerned.
    pub site: Option<String>,
    /// The hostname that is concerned.
    pub hostname: Option<String>,
    /// The token by which somebody asked for it; `null`: it happened by itself.
    pub actor: Option<String>,
    /// The details.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// An event as the API shows it.
pub fn view(event: &Event) -> EventView {
    EventView {
        kind: event.kind,
        at: event.at.to_string(),
        organization: event.organization.as_ref().map(ToString::to_string),
        site: event.site.as_ref().map(ToString::to_string),
        hostname: event.hostname.as_ref().map(ToString::to_string),
        actor: event.actor.clone(),
        detail: event.detail.clone(),
    }
}

/// Lists what happened, the newest first; of one hostname, or of all; or the audit trail.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "list_events",
    params(
        ("filter[hostname]" = Option<String>, Query, description = "Of this hostname alone", example = "shop.example.com"),
        ("filter[audit]" = Option<bool>, Query, description = "Those alone that somebody asked for: who changed what"),
        ("page[before]" = Option<i64>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<EventView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Page<EventView>>, Problem> {
    let named = query.take("filter[hostname]");
    let hostname = named
        .as_deref()
        .map(|name| input::read(name).map_err(|why| bad("filter[hostname]", why.to_string())))
        .transpose()?;
    let audit = query.flag("filter[audit]")?;
    let before = query.given("page[before]");
    let before = before
        .map(|text| {
            text.parse().map_err(|_| bad("page[before]", "It is what links.next of the page before has."))
        })
        .transpose()?;
    let size = query.size()?;
    query.finish()?;
    let filter = EventFilter { reach: caller.reach, hostname, audit, before, limit: size + 1 };
    let found = api.sites.records().events(&filter).await?;
    let place = |last: &Event| {
        let hostname = filter.hostname.as_ref().map(|name| ("filter[hostname]", name.to_string()));
        let audit = audit.then(|| ("filter[audit]", "true".to_owned()));
        hostname.into_iter().chain(audit).chain([("page[before]", last.id.to_string())]).collect()
    };
    let resource =
        |event: &Event| Resource { kind: "events", id: event.id.to_string(), attributes: view(event) };
    Ok(Answer::ok(Page::of(found, size, &format!("{BASE}/events"), place, resource)))
}
