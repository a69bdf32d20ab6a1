//! The page of one hostname.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{LOCATION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::super::certificates::CertificateView;
use super::super::hostname::{self, Hostname};
use super::super::hostnames;
use super::super::query::Query;
use super::events;
use super::form::Form;
use super::frame::{self, Frame, Page};
use super::records;
use super::refusal::Refusal;
use super::routes::Dashboard;
use super::session::Visitor;
use super::words::{self, moment, whole_moment};
use crate::domain::access::Reach;
use crate::domain::clock::UnixTime;
use crate::domain::registration::{State as Stands, Via};
use crate::store::records::EventFilter;

/// Seconds between two looks of the page: while something is expected, and when all is well.
const REFRESH: (u32, u32) = (3, 20);
/// Events of its history.
const EVENTS: u32 = 25;
/// What the page is told after "check now": the seconds until a certificate may be tried.
const CHECKED: &str = "checked";

type At = Path<(String, String)>;

/// Shows all about it.
pub async fn show(
    State(dashboard): State<Dashboard>,
    visitor: Visitor,
    Path((site, name)): At,
    query: Result<Query, super::super::problem::Problem>,
) -> Result<Page, Refusal> {
    let api = &dashboard.api;
    let registration = hostnames::find(api, &visitor.caller, &site, &name).await?;
    let all = hostname::describe(&api.sites, &registration).await?;
    let filter = EventFilter {
        reach: Reach::Organization(registration.organization.clone()),
        hostname: Some(registration.name.clone()),
        audit: false,
        before: None,
        limit: EVENTS,
    };
    let history = api.sites.records().events(&filter).await?;
    let now = api.sites.now();
    let checked = query?.take(CHECKED).and_then(|seconds| seconds.parse::<u64>().ok());
    let main = html! {
        p.way { a href="/" { "Hostnames" } " / " a href={ "/?site=" (all.summary.site) } { (all.summary.site) } }
        (top(&visitor, &all, now))
        @if let Some(seconds) = checked { (frame::done(&told(seconds))) }
        p.reason.(all.summary.state.word()) { (all.summary.reason) }
        (facts(&all, now))
        (records::section(&all.dns, &all.summary.reason))
        (records::ownership(&all.ownership))
        (certificates(&all.obtained.certificates, now))
        (settings(&all))
        section aria-labelledby="history" {
            h2 #history { "History" }
            (events::table(&history, now, false))
        }
    };
    let refresh = if all.summary.state == Stands::Serving { REFRESH.1 } else { REFRESH.0 };
    let title = &all.summary.unicode;
    Ok(Frame { title, here: "", visitor: Some(&visitor), refresh: Some(refresh) }.page(&main))
}

fn told(seconds: u64) -> Markup {
    html! {
        "It is being looked at now."
        @if seconds > 0 { " The authorities' limits allow the next try for a certificate in " (seconds) " s." }
    }
}

fn top(visitor: &Visitor, all: &Hostname, now: UnixTime) -> Markup {
    let summary = &all.summary;
    let path = words::path(&summary.site, &summary.hostname);
    html! {
        div.top {
            div {
                h1 { (summary.unicode) }
                p.under {
                    (words::state(summary.state))
                    @if summary.hostname != summary.unicode { span.faint { "in DNS: " code { (summary.hostname) } } }
                    @if let Some(at) = &summary.checked_at { span.faint { "looked at " (moment(now, at)) } }
                }
            }
            @if visitor.may_write() {
                div.buttons {
                    form method="post" action={ (path) "/check" } {
                        (frame::form_token(visitor))
                        button type="submit" { "Check now" }
                    }
                    a.button.danger href={ (path) "/delete" } { "Delete" }
                }
            }
        }
    }
}

fn facts(all: &Hostname, now: UnixTime) -> Markup {
    let summary = &all.summary;
    html! {
        dl.facts {
            @if let Some(preview) = &summary.preview_hostname {
                dt { "Preview" }
                dd { a href={ "https://" (preview) "/" } rel="noreferrer" { (preview) } }
            }
            dt { "Organization" } dd { (summary.organization) }
            dt { "Came by" } dd { @match summary.via { Via::Api => "the API", Via::OnDemand => "a visitor or an import" } }
            dt { "Here since" } dd { (whole_moment(now, &summary.created_at)) }
            dt { "Looked at again" } dd { (whole_moment(now, &summary.next_check_at)) }
            @if let Some(attempt) = &all.obtained.last_attempt {
                dt { "Last attempt" }
                dd {
                    (whole_moment(now, &attempt.at))
                    @if attempt.failures > 0 { " – " (attempt.failures) " failed in a row" }
                    p.faint { (attempt.report) }
                }
            }
            @if let Some(next) = &all.obtained.next_attempt_at { dt { "Next attempt" } dd { "not before " (whole_moment(now, next)) } }
        }
    }
}

fn certificates(certificates: &[CertificateView], now: UnixTime) -> Markup {
    html! {
        section aria-labelledby="certificates" {
            h2 #certificates { "Certificates" }
            @if certificates.is_empty() {
                p.faint { "There is none yet." }
            } @else {
                div.panel { table.records {
                    thead { tr {
                        th scope="col" { "For" } th scope="col" { "From" } th scope="col" { "Key" }
                        th scope="col" { "Ends" } th scope="col" { "Renewal" }
                    } }
                    tbody { @for certificate in certificates { tr {
                        th scope="row" data-label="For" { (certificate.name) }
                        td data-label="From" { (certificate.authority.as_deref().unwrap_or(certificate.source)) }
                        td data-label="Key" { (format!("{:?}", certificate.key_type)) }
                        td data-label="Ends" { (whole_moment(now, &certificate.not_after)) }
                        td data-label="Renewal" {
                            @match (&certificate.parked, &certificate.renew_at) {
                                (Some(why), _) => { "not renewed: " (why) }
                                (None, Some(at)) => (whole_moment(now, at)),
                                (None, None) => "–",
                            }
                        }
                    } } }
                } }
            }
        }
    }
}

fn settings(all: &Hostname) -> Markup {
    let summary = &all.summary;
    let metadata = summary.metadata.as_ref().and_then(|value| serde_json::to_string_pretty(value).ok());
    html! {
        section aria-labelledby="settings" {
            h2 #settings { "Settings" }
            dl.facts {
                dt { "Origin" }
                dd { @match &summary.origin { Some(origin) => code { (origin) }, None => span.faint { "its site's" } } }
                dt { "Visitors are sent to" }
                dd { @match &summary.redirect_to {
                    Some(to) => { code { (to) } @if let Some(status) = summary.redirect_status { " by " (status) } }
                    None => span.faint { "nowhere else" },
                } }
                dt { "Metadata" }
                dd { @match &metadata { Some(text) => pre { (text) }, None => span.faint { "none" } } }
            }
        }
    }
}

/// Looks at it now, then shows it again.
pub async fn check(
    State(dashboard): State<Dashboard>,
    Path((site, name)): At,
    form: Form,
) -> Result<Response, Refusal> {
    let (api, caller) = (State(dashboard.api), form.visitor.caller);
    let answer = hostnames::check(api, caller, Path((site.clone(), name.clone()))).await?;
    let wait = answer.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()).unwrap_or("0");
    let to = format!("{}?{CHECKED}={wait}", words::path(&site, &name));
    Ok((StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response())
}
