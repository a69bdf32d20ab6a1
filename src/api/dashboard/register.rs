//! The form that registers a hostname.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::super::access::Caller;
use super::super::body::Attributes;
use super::super::hostnames;
use super::super::problem::Problem;
use super::super::routes::Api;
use super::form::Form;
use super::frame::{self, Frame, Page};
use super::refusal::Refusal;
use super::routes::Dashboard;
use super::session::Visitor;
use super::words;
use crate::domain::label::Label;
use crate::sites::input;

/// Sites that a form offers; a further one is typed.
const SITES: u32 = 100;

/// Names of the sites that a caller sees, those of the configuration first; the first ones of many.
pub async fn sites_of(api: &Api, caller: &Caller) -> Result<Vec<String>, Problem> {
    let plan = api.sites.plan();
    let sees = |organization: &str| organization.parse().is_ok_and(|own: Label| caller.sees(&own));
    let configured = plan.sites.iter().filter(|site| sees(&site.organization));
    let mut names: Vec<String> = configured.map(|site| site.name.to_string()).collect();
    let stored = api.sites.records().sites(&caller.reach, "", SITES).await?;
    names.extend(stored.iter().map(|site| site.name.to_string()));
    Ok(names)
}

/// What the form has.
#[derive(Default)]
struct Filled {
    hostname: String,
    site: String,
    origin: String,
    metadata: String,
}

/// Shows the empty form.
pub async fn show(State(dashboard): State<Dashboard>, visitor: Visitor) -> Result<Page, Refusal> {
    visitor.needs_write()?;
    let sites = sites_of(&dashboard.api, &visitor.caller).await?;
    let site = sites.first().cloned().unwrap_or_default();
    Ok(page(&visitor, &sites, &Filled { site, ..Filled::default() }, None))
}

fn page(visitor: &Visitor, sites: &[String], filled: &Filled, wrong: Option<&str>) -> Page {
    let main = html! {
        h1 { "Register a hostname" }
        p.faint { "It gets a preview that works at once, and the DNS records that its owner sets. The rest happens by itself." }
        @if let Some(wrong) = wrong { (frame::trouble(wrong)) }
        form.card method="post" action="/register" autocomplete="off" {
            (frame::form_token(visitor))
            (field("hostname", "Hostname", &filled.hostname, "shop.example.com", true))
            div.field {
                label for="site" { "Site" }
                input #site name="site" list="sites" required value=(filled.site) spellcheck="false" autocapitalize="none";
                datalist #sites { @for site in sites { option value=(site) {} } }
            }
            (field("origin", "Origin of its own (may be empty)", &filled.origin, "https://app.internal:8443", false))
            div.field {
                label for="metadata" { "Metadata, a JSON object (may be empty)" }
                textarea #metadata name="metadata" rows="3" spellcheck="false" placeholder="{\"plan\": \"gold\"}" { (filled.metadata) }
            }
            button.main type="submit" { "Register" }
        }
    };
    Frame { title: "Register a hostname", here: "/register", visitor: Some(visitor), refresh: None }
        .page(&main)
}

fn field(name: &str, label: &str, value: &str, like: &str, required: bool) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(value) placeholder=(like) required[required] spellcheck="false" autocapitalize="none";
        }
    }
}

/// Registers it and shows its page, or the form again with what is wrong.
pub async fn register(State(dashboard): State<Dashboard>, mut form: Form) -> Result<Response, Refusal> {
    let mut text = |name: &str| form.fields.text(name).unwrap_or_default();
    let filled = Filled {
        hostname: text("hostname"),
        site: text("site"),
        origin: text("origin"),
        metadata: text("metadata"),
    };
    let visitor = form.visitor;
    match place(&dashboard.api, &visitor, &filled).await {
        Ok(path) => Ok((StatusCode::SEE_OTHER, [(LOCATION, path)]).into_response()),
        Err(problem) if problem.status().is_client_error() => {
            let sites = sites_of(&dashboard.api, &visitor.caller).await?;
            let page = page(&visitor, &sites, &filled, Some(problem.detail()));
            Ok((problem.status(), page).into_response())
        }
        Err(problem) => Err(problem.into()),
    }
}

/// Does what the API's call does; the path of the hostname's page.
async fn place(api: &Api, visitor: &Visitor, filled: &Filled) -> Result<String, Problem> {
    let mut attributes = Map::new();
    attributes.insert("hostname".into(), json!(filled.hostname));
    if !filled.origin.is_empty() {
        attributes.insert("origin".into(), json!(filled.origin));
    }
    if !filled.metadata.is_empty() {
        let metadata: Value = serde_json::from_str(&filled.metadata).map_err(|why| {
            Problem::invalid("/data/attributes/metadata", format!("metadata is no JSON: {why}."))
        })?;
        attributes.insert("metadata".into(), metadata);
    }
    let site = axum::extract::Path(filled.site.clone());
    let caller = visitor.caller.clone();
    hostnames::create(State(api.clone()), caller, site, Attributes::of(attributes)).await?;
    let name = input::read(&filled.hostname)?;
    Ok(words::path(&filled.site, name.as_str()))
}
