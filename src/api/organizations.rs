//! Calls about organizations and their quotas.

use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Caller;
use super::body::{Attributes, pointer};
use super::document::{Answer, Document, Errors, Page, Resource};
use super::problem::Problem;
use super::query::Query;
use super::routes::{Api, BASE};
use crate::domain::access::Scope;
use crate::domain::label::Label;
use crate::store::records::Organization;

/// A document that sets an organization's quota.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": { "quota": 500 } } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct OrganizationPatch {
    data: OrganizationPatchData,
}

/// The organization that is changed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct OrganizationPatchData {
    attributes: OrganizationPatchAttributes,
}

/// What can be changed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct OrganizationPatchAttributes {
    /// Hostnames it may have; `null`: `api.hostnames_per_organization` of the configuration.
    #[schema(required = true, value_type = Option<u64>, maximum = 4294967295u32)]
    quota: Option<u32>,
}

/// An organization.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OrganizationView {
    /// Its name.
    #[schema(example = "cool-cats")]
    pub name: String,
    /// Hostnames it may have.
    #[schema(value_type = u64)]
    pub allocated: u32,
    /// Hostnames it has.
    #[schema(value_type = u64)]
    pub used: u32,
}

fn resource(api: &Api, name: &Label, organization: Option<&Organization>) -> Resource<OrganizationView> {
    let quota = organization.and_then(|organization| organization.quota);
    let attributes = OrganizationView {
        name: name.to_string(),
        allocated: quota.unwrap_or(api.sites.plan().quota),
        used: organization.map_or(0, |organization| organization.used),
    };
    Resource { kind: "organizations", id: name.to_string(), attributes }
}

/// Lists organizations; for operators.
#[utoipa::path(
    get, path = "/organizations", tag = "organizations", operation_id = "list_organizations",
    params(
        ("page[after]" = Option<String>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<OrganizationView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Page<OrganizationView>>, Problem> {
    caller.needs_operator()?;
    let (after, size) = (query.take("page[after]").unwrap_or_default(), query.size()?);
    query.finish()?;
    let found = api.sites.records().organizations(&after, size + 1).await?;
    let place = |last: &Organization| vec![("page[after]", last.name.to_string())];
    let resource = |found: &Organization| resource(&api, &found.name, Some(found));
    Ok(Answer::ok(Page::of(found, size, &format!("{BASE}/organizations"), place, resource)))
}

/// Sets an organization's quota, and makes the organization where it is missing; for operators.
#[utoipa::path(
    patch, path = "/organizations/{organization}", tag = "organizations", operation_id = "change_organization",
    params(("organization" = String, Path, description = "The organization's name", example = "cool-cats")),
    request_body(content((OrganizationPatch = "application/json"), (OrganizationPatch = "application/vnd.api+json"))),
    responses(
        (status = 200, description = "It is set", body = Document<OrganizationView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
    mut attributes: Attributes,
) -> Result<Answer<Document<OrganizationView>>, Problem> {
    caller.needs(Scope::Admin)?;
    caller.needs_operator()?;
    let name: Label = name.parse().map_err(|_| Problem::absent("organization", &name))?;
    let quota = attributes
        .number("quota")?
        .ok_or_else(|| Problem::invalid(&pointer("quota"), "Give a quota, or null."))?;
    let quota = quota
        .map(u32::try_from)
        .transpose()
        .map_err(|_| Problem::invalid(&pointer("quota"), format!("It is a number up to {}.", u32::MAX)))?;
    attributes.finish()?;
    api.sites.records().set_quota(&name, quota, Some(&caller.token)).await?;
    let organization = api.sites.records().organization(&name).await?;
    Ok(Answer::ok(Document { data: resource(&api, &name, organization.as_ref()) }))
}

/// Says how many hostnames an organization may have, and has.
#[utoipa::path(
    get, path = "/quota", tag = "organizations", operation_id = "get_quota",
    params(("organization" = Option<String>, Query, description = "Whose; an operator's token needs it")),
    responses(
        (status = 200, description = "The quota", body = Document<OrganizationView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn quota(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Document<OrganizationView>>, Problem> {
    let named = query.take("organization");
    query.finish()?;
    let named = named.map(|name| name.parse().map_err(|_| Problem::absent("organization", &name)));
    let name = caller.organization(named.transpose()?)?;
    let organization = api.sites.records().organization(&name).await?;
    Ok(Answer::ok(Document { data: resource(&api, &name, organization.as_ref()) }))
}
