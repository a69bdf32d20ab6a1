//! The list of hostnames, with how many are in each state.

use axum::extract::State;
use maud::{Markup, html};

use super::super::hostname;
use super::super::hostnames::site_of;
use super::super::problem::Problem;
use super::super::query::{Query, bad, cursor_text};
use super::frame::{self, Frame, Page};
use super::refusal::Refusal;
use super::register;
use super::routes::Dashboard;
use super::session::Visitor;
use super::words;
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::registration::{Registration, State as Stands};
use crate::store::records::{Cursor, EVENTS_KEPT, Filter};

/// Seconds between two looks of the page.
const REFRESH: u32 = 5;
/// Hostnames of a page.
const SIZE: usize = 50;
/// Where the next page begins.
const AFTER: &str = "page[after]";

/// What is asked for.
struct Asked {
    state: Option<Stands>,
    site: Option<String>,
    text: Option<String>,
    after: Option<Cursor>,
}

impl Asked {
    fn of(query: &mut Query) -> Result<Self, Problem> {
        let state = query.take("state");
        let state = state
            .map(|word| Stands::of(&word).ok_or_else(|| bad("state", "It is waiting, serving or stuck.")));
        Ok(Self {
            state: state.transpose()?,
            site: query.take("site"),
            text: query.take("q").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
            after: query.cursor()?,
        })
    }

    /// The same list in `state`, from `after` on.
    fn path(&self, state: Option<Stands>, after: Option<&str>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let pairs = [
            ("q", self.text.as_deref()),
            ("site", self.site.as_deref()),
            ("state", state.map(Stands::word)),
            (AFTER, after),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let query = query.finish();
        if query.is_empty() { "/".into() } else { format!("/?{query}") }
    }

    /// Whether the list is less than all.
    fn narrows(&self) -> bool {
        self.state.is_some() || self.site.is_some() || self.text.is_some()
    }

    async fn filter(&self, dashboard: &Dashboard, visitor: &Visitor) -> Result<Filter, Problem> {
        let (site, reach) = match &self.site {
            None => (None, visitor.caller.reach.clone()),
            Some(name) => {
                let (site, organization) = site_of(&dashboard.api, &visitor.caller, name).await?;
                (Some(site), Reach::Organization(organization))
            }
        };
        let text = self.text.as_deref().map(as_in_dns);
        let after = self.after.clone();
        Ok(Filter { reach, site, state: self.state, text, after, limit: SIZE as u32 + 1 })
    }
}

/// A part of a name as names are stored; Unicode as A-labels, as far as it is whole labels.
fn as_in_dns(text: &str) -> String {
    let text = text.to_lowercase();
    if text.is_ascii() { text } else { idna::domain_to_ascii(&text).unwrap_or(text) }
}

/// Shows a page of them.
pub async fn show(
    State(dashboard): State<Dashboard>,
    visitor: Visitor,
    query: Result<Query, Problem>,
) -> Result<Page, Refusal> {
    let mut query = query?;
    let asked = Asked::of(&mut query)?;
    let deleted = query.take("deleted").is_some();
    let sites = &dashboard.api.sites;
    let filter = asked.filter(&dashboard, &visitor).await?;
    let mut found = sites.records().registrations(&filter).await?;
    let counts = sites.records().count_states(&visitor.caller.reach).await?;
    let more = found.len() > SIZE;
    found.truncate(SIZE);
    let last = found.last().filter(|_| more);
    let next = last.map(|last| cursor_text(&Cursor { name: last.name.to_string(), id: last.id }));
    let offered = register::sites_of(&dashboard.api, &visitor.caller).await?;
    let main = html! {
        div.top {
            h1 { "Hostnames" }
            @if visitor.may_write() { a.button.main href="/register" { "Register a hostname" } }
        }
        @if deleted { (frame::done(&html! { "The hostname is deleted." })) }
        (states(&asked, &counts))
        (search(&asked, &offered))
        (list(&dashboard, &asked, &found, sites.now()))
        nav.pages aria-label="Pages of the list" {
            @if asked.after.is_some() { a.button href=(asked.path(asked.state, None)) { "First page" } }
            @if let Some(next) = &next { a.button href=(asked.path(asked.state, Some(next))) rel="next" { "Next page" } }
        }
    };
    let frame = Frame { title: "Hostnames", here: "/", visitor: Some(&visitor), refresh: Some(REFRESH) };
    Ok(frame.page(&main))
}

fn states(asked: &Asked, counts: &[(Stands, u64)]) -> Markup {
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let many = |count: u64| if count >= u64::from(EVENTS_KEPT) { "+" } else { "" };
    html! {
        ul.counts aria-label="How many are in each state" {
            li { a href=(asked.path(None, None)) aria-current=[asked.state.is_none().then_some("true")] {
                strong { (all) (many(all)) } span { "all" }
            } }
            @for (state, count) in counts {
                li { a href=(asked.path(Some(*state), None)) aria-current=[(asked.state == Some(*state)).then_some("true")] {
                    strong { (count) (many(*count)) } (words::state(*state))
                } }
            }
        }
    }
}

fn search(asked: &Asked, sites: &[String]) -> Markup {
    html! {
        form.search method="get" action="/" role="search" {
            div.field {
                label for="q" { "Part of the name" }
                input #q name="q" type="search" value=[asked.text.as_deref()] autocapitalize="none" spellcheck="false";
            }
            div.field {
                label for="site" { "Site" }
                input #site name="site" list="sites" value=[asked.site.as_deref()] placeholder="all" autocapitalize="none" spellcheck="false";
                datalist #sites { @for site in sites { option value=(site) {} } }
            }
            div.field {
                label for="state" { "State" }
                select #state name="state" {
                    option value="" { "all" }
                    @for state in Stands::ALL {
                        option value=(state.word()) selected[asked.state == Some(state)] { (state.word()) }
                    }
                }
            }
            button type="submit" { "Search" }
        }
    }
}

fn list(dashboard: &Dashboard, asked: &Asked, found: &[Registration], now: UnixTime) -> Markup {
    if found.is_empty() {
        return html! {
            p.empty { @if asked.narrows() { "No hostname is like that." } @else { "No hostname is registered yet." } }
        };
    }
    let plan = dashboard.api.sites.plan();
    let summaries = found.iter().map(|hostname| hostname::summarize(&plan, hostname));
    html! {
        div.panel { table.list {
            thead { tr {
                th scope="col" { "Hostname" } th scope="col" { "State" } th scope="col" { "Why" }
                th scope="col" { "Site" } th scope="col" { "Looked at" }
            } }
            tbody { @for summary in summaries { tr {
                th scope="row" { a href=(words::path(&summary.site, &summary.hostname)) { (words::name_of(&summary)) } }
                td { (words::state(summary.state)) }
                td.why { (summary.reason) }
                td data-label="Site" { (summary.site) }
                td data-label="Looked at" {
                    @match &summary.checked_at { Some(at) => (words::moment(now, at)), None => span.faint { "not yet" } }
                }
            } } }
        } }
    }
}
