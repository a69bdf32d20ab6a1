//! Calls about sites.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Caller;
use super::body::{Attributes, pointer};
use super::document::{Answer, Document, Errors, Page, Resource, based_on};
use super::hostnames::site_of;
use super::problem::Problem;
use super::query::Query;
use super::routes::{Api, BASE};
use crate::domain::access::Scope;
use crate::domain::hostname::Hostname;
use crate::domain::label::Label;
use crate::domain::site::{Origin, Site};
use crate::sites::input;
use crate::store::records::{Changed, StoredSite};

/// Origins of a site at most.
const ORIGINS: usize = 64;

/// A document that makes a site.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": { "name": "cool-cats", "origins": ["127.0.0.1:3000"] } } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct SiteInput {
    data: SiteInputData,
}

/// The site that is made.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct SiteInputData {
    attributes: SiteInputAttributes,
}

/// What can be said of it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct SiteInputAttributes {
    /// Its name, unique among all sites.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    name: String,
    /// Where requests go, in turn: host and port, or a URL without a path.
    #[schema(min_items = 1, max_items = 64)]
    origins: Vec<String>,
    /// What customers' hostnames are to point at, in place of the configuration's.
    cname_target: Option<String>,
    /// Its organization; an operator's token needs it.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    organization: Option<String>,
}

/// A document that changes a site.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": { "origins": ["127.0.0.1:3001"] } } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct SitePatch {
    data: SitePatchData,
}

/// The site that is changed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct SitePatchData {
    attributes: SitePatchAttributes,
}

/// What can be changed; what is left out stays.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct SitePatchAttributes {
    /// Where requests go, in turn.
    #[schema(min_items = 1, max_items = 64, nullable = false)]
    origins: Option<Vec<String>>,
    /// What customers' hostnames are to point at; `null` takes it away.
    cname_target: Option<String>,
}

/// A site.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SiteView {
    /// Its name.
    #[schema(example = "cool-cats")]
    pub name: String,
    /// Whose it is.
    pub organization: String,
    /// Where requests go, in turn; empty where it is made of files.
    pub origins: Vec<String>,
    /// The folder of the machine that it is made of. Only the configuration file can set it.
    pub root: Option<String>,
    /// What customers' hostnames are to point at, in place of the configuration's.
    pub cname_target: Option<String>,
    /// Whether the configuration file has it; then it is changed there.
    pub configured: bool,
    /// When it was made (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: Option<String>,
    /// When it was changed (RFC 3339).
    #[schema(format = DateTime)]
    pub updated_at: Option<String>,
}

fn origins_of(origins: &[Origin]) -> Vec<String> {
    origins.iter().map(ToString::to_string).collect()
}

fn of_stored(site: &StoredSite) -> Resource<SiteView> {
    let attributes = SiteView {
        name: site.name.to_string(),
        organization: site.organization.to_string(),
        origins: origins_of(&site.origins),
        root: None,
        cname_target: site.cname_target.as_ref().map(ToString::to_string),
        configured: false,
        created_at: Some(site.created_at.to_string()),
        updated_at: Some(site.updated_at.to_string()),
    };
    Resource { kind: "sites", id: site.name.to_string(), attributes }
}

fn of_configured(site: &Site) -> Resource<SiteView> {
    let attributes = SiteView {
        name: site.name.to_string(),
        organization: site.organization.to_string(),
        origins: origins_of(&site.origins),
        root: site.files.as_ref().map(|files| files.root.to_string()),
        cname_target: None,
        configured: true,
        created_at: None,
        updated_at: None,
    };
    Resource { kind: "sites", id: site.name.to_string(), attributes }
}

/// Lists sites: first those of the configuration, then those made by the API, each in the order of
/// their names.
#[utoipa::path(
    get, path = "/sites", tag = "sites", operation_id = "list_sites",
    params(
        ("page[after]" = Option<String>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<SiteView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Page<SiteView>>, Problem> {
    let (after, size) = (query.take("page[after]"), query.size()?);
    query.finish()?;
    let mut data = Vec::new();
    if after.is_none() {
        let plan = api.sites.plan();
        let sees = |site: &&Site| {
            site.organization.parse().is_ok_and(|organization: Label| caller.sees(&organization))
        };
        data.extend(plan.sites.iter().filter(sees).map(of_configured));
    }
    let after = after.unwrap_or_default();
    let stored = api.sites.records().sites(&caller.reach, &after, size + 1).await?;
    let place = |last: &StoredSite| vec![("page[after]", last.name.to_string())];
    let mut page = Page::of(stored, size, &format!("{BASE}/sites"), place, of_stored);
    page.data.splice(..0, data);
    Ok(Answer::ok(page))
}

/// Makes a site.
#[utoipa::path(
    post, path = "/sites", tag = "sites", operation_id = "create_site",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[ -~]+$", description = "A request that comes twice with the same key is done once")),
    request_body(content((SiteInput = "application/json"), (SiteInput = "application/vnd.api+json"))),
    responses(
        (status = 201, description = "It is made", body = Document<SiteView>, content_type = "application/vnd.api+json", headers(("Location" = String, description = "Its path"), ("ETag" = String, description = "Its version"))),
        (status = 409, description = "The name is taken", body = Errors, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    mut attributes: Attributes,
) -> Result<Answer<Document<SiteView>>, Problem> {
    caller.needs(Scope::Admin)?;
    let name: Label = read_name(&mut attributes, "name")?
        .ok_or_else(|| Problem::invalid(&pointer("name"), "Give the site a name."))?;
    let organization = caller.organization(read_name(&mut attributes, "organization")?)?;
    refuse_root(&mut attributes)?;
    let origins = read_origins(&mut attributes)?
        .ok_or_else(|| Problem::invalid(&pointer("origins"), "Give at least one origin."))?;
    let cname_target = read_target(&mut attributes)?.flatten();
    attributes.finish()?;
    let taken = || {
        let detail = format!("The name {name} is taken.");
        Problem::new(StatusCode::CONFLICT, "name_taken", "Name taken", detail).at(&pointer("name"))
    };
    if api.sites.plan().site(name.as_str()).is_some() {
        return Err(taken());
    }
    let now = api.sites.now();
    let site = StoredSite {
        name: name.clone(),
        organization,
        origins,
        cname_target,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    if !api.sites.records().add_site(&site, Some(&caller.token)).await? {
        return Err(taken());
    }
    api.sites.changed();
    let location = format!("{BASE}/sites/{name}");
    Ok(Answer::created(Document { data: of_stored(&site) }, &location).version(site.version))
}

/// Shows a site.
#[utoipa::path(
    get, path = "/sites/{site}", tag = "sites", operation_id = "get_site",
    params(("site" = String, Path, description = "The site's name", example = "default")),
    responses(
        (status = 200, description = "All about it", body = Document<SiteView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Answer<Document<SiteView>>, Problem> {
    let (site, _) = site_of(&api, &caller, &name).await?;
    if let Some(configured) = api.sites.plan().site(site.as_str()) {
        return Ok(Answer::ok(Document { data: of_configured(configured) }));
    }
    let stored = api.sites.records().site(&site).await?.ok_or_else(|| Problem::absent("site", &name))?;
    Ok(Answer::ok(Document { data: of_stored(&stored) }).version(stored.version))
}

/// Changes a site; what is left out stays. In force within two seconds, without a reload.
#[utoipa::path(
    patch, path = "/sites/{site}", tag = "sites", operation_id = "change_site",
    params(
        ("site" = String, Path, description = "The site's name", example = "cool-cats"),
        ("If-Match" = Option<String>, Header, pattern = "^(\\*|\"v[0-9]{1,18}\")$", description = "The ETag that the change is based on"),
    ),
    request_body(content((SitePatch = "application/json"), (SitePatch = "application/vnd.api+json"))),
    responses(
        (status = 200, description = "It is changed", body = Document<SiteView>, content_type = "application/vnd.api+json"),
        (status = 412, description = "It was changed meanwhile", body = Errors, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    mut attributes: Attributes,
) -> Result<Answer<Document<SiteView>>, Problem> {
    caller.needs(Scope::Admin)?;
    let (site, _) = site_of(&api, &caller, &name).await?;
    refuse_configured(&api, &site)?;
    let stored = api.sites.records().site(&site).await?.ok_or_else(|| Problem::absent("site", &name))?;
    if based_on(&headers)?.is_some_and(|version| version != stored.version) {
        return Err(Problem::newer(stored.version));
    }
    refuse_root(&mut attributes)?;
    let version = stored.version;
    let changed = StoredSite {
        origins: read_origins(&mut attributes)?.unwrap_or(stored.origins),
        cname_target: read_target(&mut attributes)?.unwrap_or(stored.cname_target),
        ..stored
    };
    attributes.finish()?;
    match api.sites.records().change_site(&changed, Some(version), Some(&caller.token)).await? {
        Changed::Done(site) => {
            api.sites.changed();
            Ok(Answer::ok(Document { data: of_stored(&site) }).version(site.version))
        }
        Changed::Absent => Err(Problem::absent("site", &name)),
        Changed::Newer(version) => Err(Problem::newer(version)),
    }
}

/// Takes a site away that has no hostnames.
#[utoipa::path(
    delete, path = "/sites/{site}", tag = "sites", operation_id = "delete_site",
    params(("site" = String, Path, description = "The site's name", example = "cool-cats")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "It has hostnames, or the configuration has it", body = Errors, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Scope::Admin)?;
    let (site, _) = site_of(&api, &caller, &name).await?;
    refuse_configured(&api, &site)?;
    match api.sites.records().remove_site(&site, Some(&caller.token)).await? {
        None => Err(Problem::absent("site", &name)),
        Some(0) => {
            api.sites.changed();
            Ok(StatusCode::NO_CONTENT)
        }
        Some(_) => {
            let detail = "The site has hostnames; delete those first.";
            Err(Problem::new(StatusCode::CONFLICT, "site_in_use", "Site in use", detail))
        }
    }
}

fn refuse_configured(api: &Api, site: &Label) -> Result<(), Problem> {
    if api.sites.plan().site(site.as_str()).is_none() {
        return Ok(());
    }
    let detail = "The configuration file has this site; change it there and reload.";
    Err(Problem::new(StatusCode::CONFLICT, "configured", "In the configuration", detail))
}

/// A token, an organization's as well as an operator's, must not choose which folders are shown to all.
fn refuse_root(attributes: &mut Attributes) -> Result<(), Problem> {
    if attributes.text("root")?.is_none() {
        return Ok(());
    }
    let detail = "A site's root is set in the configuration file alone. Have the operator add a site with a \
                  root there; hostnames are registered with it as with any other.";
    Err(Problem::invalid(&pointer("root"), detail))
}

/// Takes the name of a site or an organization.
pub(super) fn read_name(attributes: &mut Attributes, key: &str) -> Result<Option<Label>, Problem> {
    let text = attributes.text(key)?.flatten();
    text.map(|text| text.parse().map_err(|why| Problem::from(why).at(&pointer(key)))).transpose()
}

fn read_origins(attributes: &mut Attributes) -> Result<Option<Vec<Origin>>, Problem> {
    let Some(texts) = attributes.texts("origins")? else { return Ok(None) };
    if texts.is_empty() || texts.len() > ORIGINS {
        return Err(Problem::invalid(&pointer("origins"), format!("Give 1 to {ORIGINS} origins.")));
    }
    let origin = |(place, text): (usize, &String)| {
        text.parse().map_err(|why: crate::domain::site::InvalidOrigin| {
            let detail = format!("It {why}. Write it like 127.0.0.1:3000 or https://app.internal:8443.");
            Problem::invalid(&format!("{}/{place}", pointer("origins")), detail)
        })
    };
    texts.iter().enumerate().map(origin).collect::<Result<_, _>>().map(Some)
}

fn read_target(attributes: &mut Attributes) -> Result<Option<Option<Hostname>>, Problem> {
    const KEY: &str = "cname_target";
    let Some(text) = attributes.text(KEY)? else { return Ok(None) };
    let Some(text) = text else { return Ok(Some(None)) };
    let name = input::read(&text).map_err(|why| Problem::from(why).at(&pointer(KEY)))?;
    let target = name.hostname();
    target.map(|target| Some(Some(target))).ok_or_else(|| {
        Problem::invalid(&pointer(KEY), "Customers can point at a hostname, not at a wildcard.")
    })
}
