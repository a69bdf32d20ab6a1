//! Calls about tokens.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::{Caller, NewToken};
use super::body::{Attributes, pointer};
use super::document::{Answer, Document, Errors, Page, Resource};
use super::problem::Problem;
use super::query::Query;
use super::routes::{Api, BASE};
use super::sites::read_name;
use crate::domain::access::{Reach, Scope};
use crate::domain::clock::UnixTime;
use crate::store::records::Token;

/// Longest note, in octets.
const NOTE: usize = 200;
/// Longest life of a token that has an end, in seconds.
const LONGEST: u64 = 10 * 365 * 24 * 60 * 60;

/// A document that makes a token.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": { "scope": "write", "expires_in": 7776000, "note": "backend" } } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct TokenInput {
    data: TokenInputData,
}

/// The token that is made.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct TokenInputData {
    attributes: TokenInputAttributes,
}

/// What can be said of it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct TokenInputAttributes {
    /// What it allows.
    scope: Scope,
    /// Seconds that it is good for; without it, it has no end.
    #[schema(minimum = 1, maximum = 315360000)]
    expires_in: Option<u64>,
    /// What its maker wants to remember.
    #[schema(max_length = 200)]
    note: Option<String>,
    /// Its organization; an operator's token needs it.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    organization: Option<String>,
}

/// A token, without its text.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// Whose hostnames it opens; `*`: everybody's.
    pub organization: String,
    /// What it allows.
    pub scope: Scope,
    /// What its maker wanted to remember.
    pub note: String,
    /// When it was made (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Until when it is good (RFC 3339).
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Since when it is no longer good (RFC 3339).
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
}

/// A token that was just made.
#[derive(Serialize, ToSchema)]
pub struct MadeToken {
    /// What is kept of it.
    #[serde(flatten)]
    pub view: TokenView,
    /// The token itself; shown this once.
    pub token: String,
}

/// A token as the API shows it.
pub fn view(token: &Token) -> TokenView {
    TokenView {
        organization: token.reach.to_string(),
        scope: token.scope,
        note: token.note.clone(),
        created_at: token.created_at.to_string(),
        expires_at: token.expires_at.map(|at| at.to_string()),
        revoked_at: token.revoked_at.map(|at| at.to_string()),
    }
}

/// Lists tokens, those that are no longer good too.
#[utoipa::path(
    get, path = "/tokens", tag = "tokens", operation_id = "list_tokens",
    params(
        ("page[after]" = Option<String>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<TokenView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Page<TokenView>>, Problem> {
    caller.needs(Scope::Admin)?;
    let (after, size) = (query.take("page[after]").unwrap_or_default(), query.size()?);
    query.finish()?;
    let found = api.sites.records().tokens(&caller.reach, &after, size + 1).await?;
    let place = |last: &Token| vec![("page[after]", last.id.clone())];
    let resource = |token: &Token| Resource { kind: "tokens", id: token.id.clone(), attributes: view(token) };
    Ok(Answer::ok(Page::of(found, size, &format!("{BASE}/tokens"), place, resource)))
}

/// Makes a token, whose text is shown this once. It allows no more than the one that makes it.
#[utoipa::path(
    post, path = "/tokens", tag = "tokens", operation_id = "create_token",
    request_body(content((TokenInput = "application/json"), (TokenInput = "application/vnd.api+json"))),
    responses(
        (status = 201, description = "It is made", body = Document<MadeToken>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    mut attributes: Attributes,
) -> Result<Answer<Document<MadeToken>>, Problem> {
    caller.needs(Scope::Admin)?;
    let scope = attributes.required("scope")?;
    let scope: Scope =
        scope.parse().map_err(|why| Problem::invalid(&pointer("scope"), format!("This is none: {why}.")))?;
    let now = api.sites.now();
    let expires_at = read_end(&mut attributes, now)?;
    let note = attributes.text("note")?.flatten().unwrap_or_default();
    if note.len() > NOTE {
        return Err(Problem::invalid(&pointer("note"), format!("A note has at most {NOTE} octets.")));
    }
    let organization = caller.organization(read_name(&mut attributes, "organization")?)?;
    attributes.finish()?;
    let made = NewToken::draw(Reach::Organization(organization), scope, note, now, expires_at);
    api.sites.records().add_token(&made.token, Some(&caller.token)).await?;
    let id = made.token.id.clone();
    let attributes = MadeToken { view: view(&made.token), token: made.text.to_string() };
    let location = format!("{BASE}/tokens/{id}");
    Ok(Answer::created(Document { data: Resource { kind: "tokens", id, attributes } }, &location))
}

fn read_end(attributes: &mut Attributes, now: UnixTime) -> Result<Option<UnixTime>, Problem> {
    const KEY: &str = "expires_in";
    match attributes.number(KEY)?.flatten() {
        None => Ok(None),
        Some(seconds @ 1..=LONGEST) => Ok(Some(now.plus(Duration::from_secs(seconds)))),
        Some(_) => {
            let detail = format!("It is a number of seconds from 1 to {LONGEST}.");
            Err(Problem::invalid(&pointer(KEY), detail))
        }
    }
}

/// Revokes a token; in force at once.
#[utoipa::path(
    delete, path = "/tokens/{token}", tag = "tokens", operation_id = "revoke_token",
    params(("token" = String, Path, description = "The token's identifier")),
    responses(
        (status = 204, description = "It is no longer good"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.needs(Scope::Admin)?;
    match api.sites.records().revoke_token(&caller.reach, &id, Some(&caller.token)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::absent("good token", &id)),
    }
}
