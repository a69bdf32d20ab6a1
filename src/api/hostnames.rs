//! Calls about hostnames.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::access::Caller;
use super::body::Attributes;
use super::document::{Answer, Document, Errors, Page, Resource, based_on};
use super::hostname::{self, Hostname, HostnameInput, HostnamePatch, Summary};
use super::problem::Problem;
use super::query::{Query, bad, cursor_text};
use super::routes::{Api, BASE};
use crate::domain::access::{Reach, Scope};
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Registration, State as Stands};
use crate::sites::input;
use crate::store::records::{Changed, Cursor, Filter, Registered};

/// The site of this name and its organization, where the caller sees it.
pub(super) async fn site_of(api: &Api, caller: &Caller, name: &str) -> Result<(Label, Label), Problem> {
    let absent = || Problem::absent("site", name);
    let site: Label = name.parse().map_err(|_| absent())?;
    let organization = api.sites.organization_of(&site).await?.ok_or_else(absent)?;
    if caller.sees(&organization) { Ok((site, organization)) } else { Err(absent()) }
}

/// The hostname of a site that the caller sees.
pub(super) async fn find(
    api: &Api,
    caller: &Caller,
    site: &str,
    name: &str,
) -> Result<Registration, Problem> {
    let (site, organization) = site_of(api, caller, site).await?;
    let absent = || Problem::absent("hostname", name);
    let name = input::read(name).map_err(|_| absent())?;
    let found = api.sites.records().registration(&organization, &name).await?;
    found.filter(|hostname| hostname.site == site).ok_or_else(absent)
}

async fn document(api: &Api, hostname: &Registration) -> Result<Document<Hostname>, Problem> {
    let attributes = hostname::describe(&api.sites, hostname).await?;
    Ok(Document { data: Resource { kind: "hostnames", id: hostname.name.to_string(), attributes } })
}

/// Lists the hostnames of a site, in the order of their names.
#[utoipa::path(
    get, path = "/sites/{site}/hostnames", tag = "hostnames", operation_id = "list_hostnames",
    params(
        ("site" = String, Path, description = "The site's name", example = "default"),
        ("filter[state]" = Option<Stands>, Query, description = "Those in this state alone"),
        ("filter[q]" = Option<String>, Query, description = "Those that have this text in their name; fewer than three characters: at its beginning", example = "shop"),
        ("page[after]" = Option<String>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<Summary>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path(site): Path<String>,
    query: Query,
) -> Result<Answer<Page<Summary>>, Problem> {
    let (site, organization) = site_of(&api, &caller, &site).await?;
    let path = format!("{BASE}/sites/{site}/hostnames");
    page(&api, Reach::Organization(organization), Some(site), query, &path).await
}

/// Lists all hostnames that the token opens, in the order of their names.
#[utoipa::path(
    get, path = "/hostnames", tag = "hostnames", operation_id = "list_all_hostnames",
    params(
        ("filter[state]" = Option<Stands>, Query, description = "Those in this state alone"),
        ("filter[q]" = Option<String>, Query, description = "Those that have this text in their name"),
        ("page[after]" = Option<String>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<Summary>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn list_all(
    State(api): State<Api>,
    caller: Caller,
    query: Query,
) -> Result<Answer<Page<Summary>>, Problem> {
    page(&api, caller.reach, None, query, &format!("{BASE}/hostnames")).await
}

async fn page(
    api: &Api,
    reach: Reach,
    site: Option<Label>,
    mut query: Query,
    path: &str,
) -> Result<Answer<Page<Summary>>, Problem> {
    let state = query.given("filter[state]");
    let state = state.map(|word| {
        Stands::of(&word).ok_or_else(|| bad("filter[state]", "It is waiting, serving or stuck."))
    });
    let (state, text, after) = (state.transpose()?, query.take("filter[q]"), query.cursor()?);
    let size = query.size()?;
    query.finish()?;
    let text = text.map(|text| text.to_lowercase());
    let filter = Filter { reach, site, state, text, after, limit: size + 1 };
    let found = api.sites.records().registrations(&filter).await?;
    let place = |last: &Registration| {
        let state = filter.state.map(|state| ("filter[state]", state.word().to_owned()));
        let text = filter.text.clone().map(|text| ("filter[q]", text));
        let cursor = Cursor { name: last.name.to_string(), id: last.id };
        state.into_iter().chain(text).chain([("page[after]", cursor_text(&cursor))]).collect()
    };
    let resource = |hostname: &Registration| Resource {
        kind: "hostnames",
        id: hostname.name.to_string(),
        attributes: hostname::summarize(&api.sites.plan(), hostname),
    };
    Ok(Answer::ok(Page::of(found, size, path, place, resource)))
}

/// Registers a hostname: the one call that a custom hostname needs.
///
/// The answer has a preview hostname that works at once, and the DNS records to set. From then on
/// the hostname takes care of itself. The same call again changes nothing.
#[utoipa::path(
    post, path = "/sites/{site}/hostnames", tag = "hostnames", operation_id = "create_hostname",
    params(
        ("site" = String, Path, description = "The site's name", example = "default"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[ -~]+$", description = "A request that comes twice with the same key is done once"),
    ),
    request_body(content((HostnameInput = "application/json"), (HostnameInput = "application/vnd.api+json"))),
    responses(
        (status = 201, description = "It is registered", body = Document<Hostname>, content_type = "application/vnd.api+json", headers(("Location" = String, description = "Its path"), ("ETag" = String, description = "Its version"))),
        (status = 200, description = "It was registered before, and is as it was", body = Document<Hostname>, content_type = "application/vnd.api+json"),
        (status = 409, description = "It is registered for another site", body = Errors, content_type = "application/vnd.api+json"),
        (status = 422, description = "It is no hostname that can be registered", body = Errors, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    Path(site): Path<String>,
    mut attributes: Attributes,
) -> Result<Response, Problem> {
    caller.needs(Scope::Write)?;
    let (site, organization) = site_of(&api, &caller, &site).await?;
    const POINTER: &str = "/data/attributes/hostname";
    let text = attributes.required("hostname")?;
    let name = input::read(&text).map_err(|why| Problem::from(why).at(POINTER))?;
    api.sites.admit(&name, &site).map_err(|why| Problem::from(why).at(POINTER))?;
    let settings = hostname::read_settings(&mut attributes, &name, Default::default())?;
    attributes.finish()?;
    let actor = Some(caller.token.as_str());
    match api.sites.register(&organization, &site, &name, settings, actor).await? {
        Registered::Created(hostname) => {
            let location = format!("{BASE}/sites/{site}/hostnames/{name}");
            let answer = Answer::created(document(&api, &hostname).await?, &location);
            Ok(answer.version(hostname.version).into_response())
        }
        Registered::Existing(hostname) => {
            let answer = Answer::ok(document(&api, &hostname).await?);
            Ok(answer.version(hostname.version).into_response())
        }
        Registered::OnAnotherSite(other) => Err(on_another_site(&name, &other)),
        Registered::QuotaReached(quota) => Err(quota_reached(quota)),
    }
}

fn on_another_site(name: &CertificateName, other: &Label) -> Problem {
    let detail = format!("{name} is registered for the site {other}. Delete it there first.");
    Problem::new(StatusCode::CONFLICT, "on_another_site", "On another site", detail)
        .at("/data/attributes/hostname")
}

fn quota_reached(quota: u32) -> Problem {
    let detail =
        format!("The organization has as many hostnames as it may: {quota}. An operator can raise that.");
    Problem::new(StatusCode::FORBIDDEN, "quota_reached", "Quota reached", detail)
}

/// Shows a hostname: where it stands, why, and what to do.
#[utoipa::path(
    get, path = "/sites/{site}/hostnames/{hostname}", tag = "hostnames", operation_id = "get_hostname",
    params(
        ("site" = String, Path, description = "The site's name", example = "default"),
        ("hostname" = String, Path, description = "The hostname", example = "shop.example.com"),
    ),
    responses(
        (status = 200, description = "All about it", body = Document<Hostname>, content_type = "application/vnd.api+json", headers(("ETag" = String, description = "Its version"))),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path((site, name)): Path<(String, String)>,
) -> Result<Answer<Document<Hostname>>, Problem> {
    let hostname = find(&api, &caller, &site, &name).await?;
    Ok(Answer::ok(document(&api, &hostname).await?).version(hostname.version))
}

/// Changes what is set for a hostname; what is left out stays, `null` takes it away. In force within
/// two seconds, without a reload.
#[utoipa::path(
    patch, path = "/sites/{site}/hostnames/{hostname}", tag = "hostnames", operation_id = "change_hostname",
    params(
        ("site" = String, Path, description = "The site's name", example = "default"),
        ("hostname" = String, Path, description = "The hostname", example = "shop.example.com"),
        ("If-Match" = Option<String>, Header, pattern = "^(\\*|\"v[0-9]{1,18}\")$", description = "The ETag that the change is based on"),
    ),
    request_body(content((HostnamePatch = "application/json"), (HostnamePatch = "application/vnd.api+json"))),
    responses(
        (status = 200, description = "It is changed", body = Document<Hostname>, content_type = "application/vnd.api+json", headers(("ETag" = String, description = "Its version"))),
        (status = 412, description = "It was changed meanwhile", body = Errors, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path((site, name)): Path<(String, String)>,
    headers: HeaderMap,
    mut attributes: Attributes,
) -> Result<Answer<Document<Hostname>>, Problem> {
    caller.needs(Scope::Write)?;
    let hostname = find(&api, &caller, &site, &name).await?;
    if based_on(&headers)?.is_some_and(|version| version != hostname.version) {
        return Err(Problem::newer(hostname.version));
    }
    let settings = hostname::read_settings(&mut attributes, &hostname.name, hostname.settings.clone())?;
    attributes.finish()?;
    // What was read is what is changed, whether the caller names a version or not.
    let based_on = Some(hostname.version);
    let actor = Some(caller.token.as_str());
    match api.sites.configure(&hostname, &settings, based_on, actor).await? {
        Changed::Done(hostname) => Ok(Answer::ok(document(&api, &hostname).await?).version(hostname.version)),
        Changed::Absent => Err(Problem::absent("hostname", &name)),
        Changed::Newer(version) => Err(Problem::newer(version)),
    }
}

/// Takes a hostname away. It is no longer served, on every machine within seconds; its certificate is
/// kept for the case that it comes back.
#[utoipa::path(
    delete, path = "/sites/{site}/hostnames/{hostname}", tag = "hostnames", operation_id = "delete_hostname",
    params(
        ("site" = String, Path, description = "The site's name", example = "default"),
        ("hostname" = String, Path, description = "The hostname", example = "shop.example.com"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((site, name)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.needs(Scope::Write)?;
    let hostname = find(&api, &caller, &site, &name).await?;
    let plan = api.sites.plan();
    let lister = plan.lister(&hostname.name).filter(|lister| *lister.name == *hostname.site.as_str());
    if let Some(lister) = lister {
        let detail =
            format!("The configuration file lists it with the site {}; take it out there.", lister.name);
        return Err(Problem::new(StatusCode::CONFLICT, "configured", "In the configuration", detail));
    }
    let actor = Some(caller.token.as_str());
    match api.sites.unregister(&hostname.organization, &hostname.name, actor).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Problem::absent("hostname", &name)),
    }
}

/// Looks at a hostname's DNS and tries again now; revives one that was given up.
#[utoipa::path(
    post, path = "/sites/{site}/hostnames/{hostname}/check", tag = "hostnames", operation_id = "check_hostname",
    params(
        ("site" = String, Path, description = "The site's name", example = "default"),
        ("hostname" = String, Path, description = "The hostname", example = "shop.example.com"),
    ),
    responses(
        (status = 202, description = "It is being looked at; get it again to see what came of it", body = Document<Hostname>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn check(
    State(api): State<Api>,
    caller: Caller,
    Path((site, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    caller.needs(Scope::Write)?;
    let hostname = find(&api, &caller, &site, &name).await?;
    let allowed = api.sites.check(&hostname).await?;
    let answer = Answer::ok(document(&api, &hostname).await?).version(hostname.version);
    let mut response = answer.into_response();
    *response.status_mut() = StatusCode::ACCEPTED;
    if let Some(at) = allowed {
        let seconds = api.sites.now().until(at).as_secs();
        response.headers_mut().insert(axum::http::header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}
