//! How certificates are: when they end, what orders came to, how the authorities do.

use std::time::Duration;

use axum::extract::State;
use maud::{Markup, html};

use super::super::certificates::{AuthorityView, health};
use super::frame::{Frame, Page};
use super::picture::{self, Hour};
use super::refusal::Refusal;
use super::routes::Dashboard;
use super::session::Visitor;
use super::{events, words};
use crate::domain::clock::UnixTime;
use crate::store::records::{ENDS_COUNTED, EventFilter};

/// Seconds between two looks of the page.
const REFRESH: u32 = 15;
/// Events it shows.
const EVENTS: u32 = 10;
/// Days within which certificates end, each with the colour of its bar.
const DAYS: [(u64, &str); 7] =
    [(1, "bad"), (3, "bad"), (7, "soon"), (14, "soon"), (30, "good"), (60, "good"), (90, "good")];

/// Shows it.
pub async fn show(State(dashboard): State<Dashboard>, visitor: Visitor) -> Result<Page, Refusal> {
    let (api, reach) = (&dashboard.api, &visitor.caller.reach);
    let (records, now) = (api.sites.records(), api.sites.now());
    let days = DAYS.map(|(days, _)| now.plus(Duration::from_secs(days * 86_400)));
    let edges: Vec<UnixTime> = std::iter::once(now).chain(days).collect();
    let ends = records.count_ends(reach, &edges).await?;
    let counts = records.orders_by_hour(reach, picture::begin(now)).await?;
    let authorities = health(api).await?;
    let (hostname, before, audit) = (None, None, false);
    let filter = EventFilter { reach: reach.clone(), hostname, audit, before, limit: EVENTS };
    let latest = records.events(&filter).await?;
    let main = html! {
        h1 { "Certificates" }
        div.sides {
            (expiry(&ends))
            div { (orders(&picture::hours(now, &counts))) (authorities_of(&authorities, now)) }
        }
        section aria-labelledby="latest" {
            h2 #latest { "Latest events" }
            (events::table(&latest, now, true))
            p { a href="/events" { "All events" } }
        }
    };
    let (title, here) = ("Certificates", "/certificates");
    Ok(Frame { title, here, visitor: Some(&visitor), refresh: Some(REFRESH) }.page(&main))
}

fn expiry(ends: &[u64]) -> Markup {
    let most = ends.iter().copied().max().unwrap_or(0);
    let first = [("ended".to_owned(), "bad")];
    let within = DAYS.map(|(days, class)| (format!("< {days} d"), class));
    let rest = [("longer".to_owned(), "good")];
    let bands = first.into_iter().chain(within).chain(rest).zip(ends);
    let many = |count: u64| if count >= u64::from(ENDS_COUNTED) { "+" } else { "" };
    html! {
        section aria-labelledby="expiry" {
            h2 #expiry { "Time to expiry" }
            div.panel { table.bars {
                thead { tr {
                    th scope="col" { "Ends in" } td {} th.number scope="col" { "Certificates" }
                } }
                tbody { @for ((band, class), &count) in bands { tr {
                    th scope="row" { (band) }
                    td { (picture::bar(count, most, class)) }
                    td.number { (count) (many(count)) }
                } } }
            } }
        }
    }
}

fn orders(hours: &[Hour]) -> Markup {
    let obtained: u64 = hours.iter().map(|hour| hour.obtained).sum();
    let failed: u64 = hours.iter().map(|hour| hour.failed).sum();
    let said = format!("In the last {} hours {obtained} obtained and {failed} failed", picture::HOURS);
    html! {
        section aria-labelledby="orders" {
            h2 #orders { "Orders in " (picture::HOURS) " hours" }
            div.panel.padded {
                p.legend { (words::health(true, &format!("{obtained} obtained"))) " " (words::failures(failed)) }
                (picture::orders(hours, &said))
                p.axis-words.faint aria-hidden="true" { span { (picture::HOURS) " h ago" } span { (picture::HOURS / 2) " h ago" } span { "now" } }
            }
        }
    }
}

fn authorities_of(authorities: &[AuthorityView], now: UnixTime) -> Markup {
    html! {
        section aria-labelledby="authorities" {
            h2 #authorities { "Authorities" }
            div.panel { table.records {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Now" } th scope="col" { "Failures in a row" } th scope="col" { "Why" } } }
                tbody {
                    @for authority in authorities { tr {
                        th scope="row" { (authority.name) }
                        td data-label="Now" { (words::health(authority.open, if authority.open { "asked" } else { "left alone" })) }
                        td data-label="Failures in a row" { (authority.failures) }
                        td data-label="Why" {
                            @if let Some(until) = &authority.closed_until { "until " (words::moment(now, until)) ". " }
                            @match &authority.reason { Some(why) => (why), None => "–" }
                        }
                    } }
                    @if authorities.is_empty() { tr { td colspan="4" { span.faint { "None is configured." } } } }
                }
            } }
        }
    }
}
