//! Calls about certificates and the authorities that give them.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Caller;
use super::document::{Answer, Errors, Links, Page, Resource};
use super::problem::Problem;
use super::query::Query;
use super::routes::{Api, BASE};
use crate::domain::certificate::{KeyType, Source};
use crate::store::records::CertificateFacts;

/// A certificate, without its key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CertificateView {
    /// What it is for: the hostname, or a wildcard above it.
    pub name: String,
    /// Where it came from.
    #[schema(example = "authority")]
    pub source: &'static str,
    /// The authority that gave it.
    pub authority: Option<String>,
    /// Its key's type.
    #[schema(value_type = String, example = "p256")]
    pub key_type: KeyType,
    /// Its first second (RFC 3339).
    #[schema(format = DateTime)]
    pub not_before: String,
    /// Its last second (RFC 3339).
    #[schema(format = DateTime)]
    pub not_after: String,
    /// When it is due to be renewed (RFC 3339).
    #[schema(format = DateTime)]
    pub renew_at: Option<String>,
    /// Why it is not renewed, where that is so.
    pub parked: Option<String>,
}

/// A certificate as the API shows it.
pub fn view(facts: &CertificateFacts) -> CertificateView {
    let (source, authority) = match &facts.source {
        Source::Authority(name) => ("authority", Some(name.to_string())),
        Source::Imported => ("import", None),
        Source::File => ("file", None),
        Source::Own(_) => ("own", None),
    };
    CertificateView {
        name: facts.name.to_string(),
        source,
        authority,
        key_type: facts.key_type,
        not_before: facts.validity.not_before.to_string(),
        not_after: facts.validity.not_after.to_string(),
        renew_at: facts.renew_at.map(|at| at.to_string()),
        parked: facts.parked.clone(),
    }
}

/// An authority.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuthorityView {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it is asked for certificates now.
    pub open: bool,
    /// Failures of its own in a row.
    pub failures: u32,
    /// It is not asked before this moment (RFC 3339).
    #[schema(format = DateTime)]
    pub closed_until: Option<String>,
    /// Why not, in its own words where it gave some.
    pub reason: Option<String>,
}

/// Lists certificates, in the order of their names.
#[utoipa::path(
    get, path = "/certificates", tag = "certificates", operation_id = "list_certificates",
    params(
        ("page[after]" = Option<String>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<CertificateView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Page<CertificateView>>, Problem> {
    let (after, size) = (query.take("page[after]").unwrap_or_default(), query.size()?);
    query.finish()?;
    let found = api.sites.records().certificates_after(&caller.reach, &after, size + 1).await?;
    let place = |last: &CertificateFacts| vec![("page[after]", last.name.to_string())];
    let resource = |facts: &CertificateFacts| Resource {
        kind: "certificates",
        id: facts.name.to_string(),
        attributes: view(facts),
    };
    Ok(Answer::ok(Page::of(found, size, &format!("{BASE}/certificates"), place, resource)))
}

/// How all authorities do, in the order they are tried.
pub async fn health(api: &Api) -> Result<Vec<AuthorityView>, Problem> {
    let (plan, now) = (api.sites.plan(), api.sites.now());
    let mut views = Vec::new();
    for name in &plan.authorities {
        let health = api.ledger.health(name).await?;
        let closed = health.as_ref().filter(|health| health.closed_until > now);
        views.push(AuthorityView {
            name: name.to_string(),
            open: closed.is_none(),
            failures: health.as_ref().map_or(0, |health| health.failures),
            closed_until: closed.map(|health| health.closed_until.to_string()),
            reason: closed.map(|health| health.reason.clone()),
        });
    }
    Ok(views)
}

/// Lists the authorities, in the order they are tried, and how they do.
#[utoipa::path(
    get, path = "/authorities", tag = "certificates", operation_id = "list_authorities",
    responses(
        (status = 200, description = "All of them", body = Page<AuthorityView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn authorities(
    State(api): State<Api>,
    _: Caller,
    query: Query,
) -> Result<Answer<Page<AuthorityView>>, Problem> {
    query.finish()?;
    let resource =
        |view: AuthorityView| Resource { kind: "authorities", id: view.name.clone(), attributes: view };
    let data = health(&api).await?.into_iter().map(resource).collect();
    Ok(Answer::ok(Page { data, links: Links { next: None } }))
}
