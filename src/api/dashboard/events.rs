//! What happened, the newest first.

use axum::extract::State;
use maud::{Markup, html};

use super::super::problem::Problem;
use super::super::query::{Query, bad};
use super::frame::{Frame, Page};
use super::refusal::Refusal;
use super::routes::Dashboard;
use super::session::Visitor;
use super::words;
use crate::domain::clock::UnixTime;
use crate::domain::event::Event;
use crate::store::records::EventFilter;

/// Seconds between two looks of the page.
const REFRESH: u32 = 10;
/// Events of a page.
const SIZE: usize = 50;

/// Shows a page of them.
pub async fn show(
    State(dashboard): State<Dashboard>,
    visitor: Visitor,
    query: Result<Query, Problem>,
) -> Result<Page, Refusal> {
    let mut query = query?;
    let audit = query.flag("audit")?;
    let before = query.take("before").map(|text| text.parse().map_err(|_| bad("before", "It is a number.")));
    let before: Option<i64> = before.transpose()?;
    let reach = visitor.caller.reach.clone();
    let filter = EventFilter { reach, hostname: None, audit, before, limit: SIZE as u32 + 1 };
    let sites = &dashboard.api.sites;
    let mut found = sites.records().events(&filter).await?;
    let more = found.len() > SIZE;
    found.truncate(SIZE);
    let suffix = if audit { "&audit=true" } else { "" };
    let main = html! {
        h1 { "Events" }
        ul.chips aria-label="Which" {
            li { a href="/events" aria-current=[(!audit).then_some("true")] { "All" } }
            li { a href="/events?audit=true" aria-current=[audit.then_some("true")] { "Asked for by somebody" } }
        }
        (table(&found, sites.now(), true))
        nav.pages aria-label="Pages of the list" {
            @if before.is_some() { a.button href=(if audit { "/events?audit=true" } else { "/events" }) { "Newest" } }
            @if let Some(last) = found.last().filter(|_| more) {
                a.button href={ "/events?before=" (last.id) (suffix) } rel="next" { "Older" }
            }
        }
    };
    // What is old stays as it is.
    let refresh = before.is_none().then_some(REFRESH);
    Ok(Frame { title: "Events", here: "/events", visitor: Some(&visitor), refresh }.page(&main))
}

/// Events as a table.
///
/// - `named`: whether each says whose it is
pub fn table(events: &[Event], now: UnixTime, named: bool) -> Markup {
    if events.is_empty() {
        return html! { p.faint { "Nothing has happened yet." } };
    }
    html! {
        div.panel { table.events {
            thead { tr {
                th scope="col" { "When" } th scope="col" { "What" }
                @if named { th scope="col" { "Of" } }
                th scope="col" { "Details" }
            } }
            tbody { @for event in events { tr {
                td data-label="When" { (words::moment(now, &event.at.to_string())) }
                td data-label="What" { (event.kind.word()) }
                @if named { td data-label="Of" { (of(event)) } }
                td data-label="Details" {
                    (words::detail(&event.detail))
                    @if let Some(actor) = &event.actor { span.detail { span.faint { "by token " } code { (actor) } } }
                }
            } } }
        } }
    }
}

fn of(event: &Event) -> Markup {
    match (&event.hostname, &event.site) {
        (Some(name), Some(site)) => {
            html! { a href=(words::path(site.as_str(), name.as_str())) { (words::name(name)) } }
        }
        (Some(name), None) => words::name(name),
        (None, Some(site)) => html! { "site " (site) },
        (None, None) => match &event.organization {
            Some(organization) => html! { "organization " (organization) },
            None => html! { "operator" },
        },
    }
}
