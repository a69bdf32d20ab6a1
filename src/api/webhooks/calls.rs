//! Calls about webhooks and what was delivered to them.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Invalid;
use super::create::{self, Wanted};
use crate::api::access::Caller;
use crate::api::body::{Attributes, pointer};
use crate::api::document::{Answer, Document, Errors, Page, Resource, based_on};
use crate::api::problem::Problem;
use crate::api::query::{Query, bad};
use crate::api::routes::{Api, BASE};
use crate::api::sites::read_name;
use crate::domain::access::Scope;
use crate::domain::clock::UnixTime;
use crate::domain::event::EventKind;
use crate::domain::webhook::KINDS;
use crate::store::records::Changed;
use crate::store::webhooks::{Delivery, DeliveryFilter, PER_ORGANIZATION, Webhook};

/// A document that makes a webhook.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": { "url": "https://api.example.com/hooks", "events": ["hostname.serving"] } } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct WebhookInput {
    data: WebhookInputData,
}

/// The webhook that is made.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct WebhookInputData {
    attributes: WebhookInputAttributes,
}

/// What can be said of it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct WebhookInputAttributes {
    /// Where messages are sent by POST.
    url: String,
    /// What it wants to know; all there is, unless given.
    events: Option<Vec<String>>,
    /// What messages are signed with (`whsec_` and base64 of 24 to 64 octets); made unless given.
    secret: Option<String>,
    /// Its organization; an operator's token needs it.
    organization: Option<String>,
}

/// A document that changes a webhook.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": { "enabled": true } } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct WebhookPatch {
    data: WebhookPatchData,
}

/// The webhook that is changed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct WebhookPatchData {
    attributes: WebhookPatchAttributes,
}

/// What can be changed; what is left out stays.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct WebhookPatchAttributes {
    /// Where messages are sent by POST.
    url: Option<String>,
    /// What it wants to know.
    events: Option<Vec<String>>,
    /// What messages are signed with.
    secret: Option<String>,
    /// Whether messages are sent.
    enabled: Option<bool>,
}

/// A webhook, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WebhookView {
    /// Where messages are sent by POST.
    pub url: String,
    /// What it wants to know.
    pub events: Vec<EventKind>,
    /// Whose events it gets.
    pub organization: String,
    /// Whether messages are sent.
    pub enabled: bool,
    /// Why not, where they are not.
    pub disabled_reason: Option<String>,
    /// When it was made (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was changed (RFC 3339).
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// A webhook that was just made.
#[derive(Serialize, ToSchema)]
pub struct MadeWebhook {
    /// What is shown of it later too.
    #[serde(flatten)]
    pub view: WebhookView,
    /// What its messages are signed with; shown this once.
    pub secret: String,
}

/// One event on its way to a webhook.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// The message's `webhook-id`, the same at each try.
    pub message: String,
    /// What happened.
    pub kind: EventKind,
    /// The hostname that is concerned.
    pub hostname: String,
    /// `pending`, `delivered` or `given_up`.
    #[schema(example = "delivered")]
    pub state: &'static str,
    /// Failed tries.
    pub failures: u32,
    /// The status of the receiver's last answer.
    pub status: Option<u16>,
    /// What came of the last try.
    pub report: String,
    /// What is sent.
    #[schema(value_type = Object)]
    pub body: Value,
    /// When it was made (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When the receiver took it (RFC 3339).
    #[schema(format = DateTime)]
    pub delivered_at: Option<String>,
    /// The next try (RFC 3339).
    #[schema(format = DateTime)]
    pub next_at: Option<String>,
}

fn view(webhook: &Webhook) -> WebhookView {
    let events = if webhook.events.is_empty() { KINDS.to_vec() } else { webhook.events.clone() };
    WebhookView {
        url: webhook.url.to_string(),
        events,
        organization: webhook.organization.to_string(),
        enabled: webhook.disabled.is_none(),
        disabled_reason: webhook.disabled.clone(),
        created_at: webhook.created_at.to_string(),
        updated_at: webhook.updated_at.to_string(),
    }
}

fn resource(webhook: &Webhook) -> Resource<WebhookView> {
    Resource { kind: "webhooks", id: webhook.id.clone(), attributes: view(webhook) }
}

fn of_delivery(delivery: &Delivery) -> Resource<DeliveryView> {
    let state = match (delivery.delivered_at, delivery.next_at) {
        (Some(_), _) => "delivered",
        (None, Some(_)) => "pending",
        (None, None) => "given_up",
    };
    let attributes = DeliveryView {
        message: delivery.message.clone(),
        kind: delivery.kind,
        hostname: delivery.hostname.to_string(),
        state,
        failures: delivery.failures,
        status: delivery.status,
        report: delivery.report.clone(),
        body: serde_json::from_str(&delivery.body).unwrap_or_default(),
        created_at: delivery.created_at.to_string(),
        delivered_at: delivery.delivered_at.map(|at| at.to_string()),
        next_at: delivery.next_at.map(|at| at.to_string()),
    };
    Resource { kind: "deliveries", id: delivery.id.to_string(), attributes }
}

fn invalid(why: &Invalid) -> Problem {
    let key = match why {
        Invalid::Url { .. } | Invalid::Private | Invalid::Plain => "url",
        Invalid::Event { .. } => "events",
        Invalid::Secret(_) => "secret",
    };
    Problem::invalid(&pointer(key), format!("It cannot be taken: {why}."))
}

/// Lists webhooks.
#[utoipa::path(
    get, path = "/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    params(
        ("page[after]" = Option<String>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<WebhookView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn list(
    State(api): State<Api>,
    caller: Caller,
    mut query: Query,
) -> Result<Answer<Page<WebhookView>>, Problem> {
    caller.needs(Scope::Admin)?;
    let (after, size) = (query.take("page[after]").unwrap_or_default(), query.size()?);
    query.finish()?;
    let found = api.sites.records().webhooks(&caller.reach, &after, size + 1).await?;
    let place = |last: &Webhook| vec![("page[after]", last.id.clone())];
    Ok(Answer::ok(Page::of(found, size, &format!("{BASE}/webhooks"), place, resource)))
}

/// Makes a webhook; its secret is shown this once. It gets what happens from now on.
#[utoipa::path(
    post, path = "/webhooks", tag = "webhooks", operation_id = "create_webhook",
    request_body(content((WebhookInput = "application/json"), (WebhookInput = "application/vnd.api+json"))),
    responses(
        (status = 201, description = "It is made", body = Document<MadeWebhook>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn create(
    State(api): State<Api>,
    caller: Caller,
    mut attributes: Attributes,
) -> Result<Answer<Document<MadeWebhook>>, Problem> {
    caller.needs(Scope::Admin)?;
    let url = attributes.required("url")?;
    let events = attributes.texts("events")?.unwrap_or_default();
    let secret = attributes.text("secret")?.flatten();
    let organization = caller.organization(read_name(&mut attributes, "organization")?)?;
    attributes.finish()?;
    let wanted = Wanted { url: &url, events: &events, secret: secret.as_deref() };
    let client = api.deliveries.client();
    let made = create::create(&organization, &wanted, client.addresses(), api.sites.now());
    let made = made.map_err(|why| invalid(&why))?;
    if !api.sites.records().add_webhook(&made, Some(&caller.token)).await? {
        let detail = format!("The organization has {PER_ORGANIZATION} webhooks, which is all it may have.");
        return Err(Problem::new(StatusCode::CONFLICT, "too_many_webhooks", "Too many webhooks", detail));
    }
    let attributes = MadeWebhook { view: view(&made), secret: made.secret.written().to_string() };
    let location = format!("{BASE}/webhooks/{}", made.id);
    let data = Resource { kind: "webhooks", id: made.id.clone(), attributes };
    Ok(Answer::created(Document { data }, &location).version(made.version))
}

async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Webhook, Problem> {
    caller.needs(Scope::Admin)?;
    let found = api.sites.records().webhook(&caller.reach, id).await?;
    found.ok_or_else(|| Problem::absent("webhook", id))
}

/// Shows a webhook.
#[utoipa::path(
    get, path = "/webhooks/{webhook}", tag = "webhooks", operation_id = "get_webhook",
    params(("webhook" = String, Path, description = "The webhook's identifier")),
    responses(
        (status = 200, description = "All about it", body = Document<WebhookView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn get(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Document<WebhookView>>, Problem> {
    let webhook = find(&api, &caller, &id).await?;
    Ok(Answer::ok(Document { data: resource(&webhook) }).version(webhook.version))
}

/// Changes a webhook; what is left out stays. One that was disabled is enabled by `enabled: true`.
#[utoipa::path(
    patch, path = "/webhooks/{webhook}", tag = "webhooks", operation_id = "change_webhook",
    params(
        ("webhook" = String, Path, description = "The webhook's identifier"),
        ("If-Match" = Option<String>, Header, description = "The ETag that the change is based on"),
    ),
    request_body(content((WebhookPatch = "application/json"), (WebhookPatch = "application/vnd.api+json"))),
    responses(
        (status = 200, description = "It is changed", body = Document<WebhookView>, content_type = "application/vnd.api+json"),
        (status = 412, description = "It was changed meanwhile", body = Errors, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    mut attributes: Attributes,
) -> Result<Answer<Document<WebhookView>>, Problem> {
    let mut webhook = find(&api, &caller, &id).await?;
    if based_on(&headers)?.is_some_and(|version| version != webhook.version) {
        return Err(Problem::newer(webhook.version));
    }
    if let Some(text) = attributes.text("url")?.flatten() {
        let client = api.deliveries.client();
        webhook.url = create::url(&text, client.addresses()).map_err(|why| invalid(&why))?;
    }
    if let Some(words) = attributes.texts("events")? {
        webhook.events = create::events(&words).map_err(|why| invalid(&why))?;
    }
    if let Some(text) = attributes.text("secret")?.flatten() {
        webhook.secret = text.parse().map_err(|why| invalid(&Invalid::Secret(why)))?;
    }
    match attributes.take("enabled") {
        None => {}
        Some(Value::Bool(true)) => webhook.disabled = None,
        Some(Value::Bool(false)) => webhook.disabled = Some("It was disabled by a call of the API.".into()),
        Some(_) => return Err(Problem::invalid(&pointer("enabled"), "It is true or false.")),
    }
    attributes.finish()?;
    let based_on = Some(webhook.version);
    match api.sites.records().change_webhook(&webhook, based_on, Some(&caller.token)).await? {
        Changed::Done(webhook) => {
            Ok(Answer::ok(Document { data: resource(&webhook) }).version(webhook.version))
        }
        Changed::Absent => Err(Problem::absent("webhook", &id)),
        Changed::Newer(version) => Err(Problem::newer(version)),
    }
}

/// Takes a webhook away, with all that was on its way to it.
#[utoipa::path(
    delete, path = "/webhooks/{webhook}", tag = "webhooks", operation_id = "delete_webhook",
    params(("webhook" = String, Path, description = "The webhook's identifier")),
    responses(
        (status = 204, description = "It is gone"),
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
    match api.sites.records().remove_webhook(&caller.reach, &id, Some(&caller.token)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::absent("webhook", &id)),
    }
}

/// Lists what was delivered to a webhook, or is on its way, the newest first.
#[utoipa::path(
    get, path = "/webhooks/{webhook}/deliveries", tag = "webhooks", operation_id = "list_deliveries",
    params(
        ("webhook" = String, Path, description = "The webhook's identifier"),
        ("page[before]" = Option<i64>, Query, description = "From `links.next` of the page before"),
        ("page[size]" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Entries of a page; 50 unless given"),
    ),
    responses(
        (status = 200, description = "A page of them", body = Page<DeliveryView>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn deliveries(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Answer<Page<DeliveryView>>, Problem> {
    let webhook = find(&api, &caller, &id).await?;
    let before = query.take("page[before]");
    let before = before
        .map(|text| {
            text.parse().map_err(|_| bad("page[before]", "It is what links.next of the page before has."))
        })
        .transpose()?;
    let size = query.size()?;
    query.finish()?;
    let reach = caller.reach;
    let filter = DeliveryFilter { reach, webhook: Some(webhook.id.clone()), before, limit: size + 1 };
    let found = api.sites.records().deliveries(&filter).await?;
    let place = |last: &Delivery| vec![("page[before]", last.id.to_string())];
    let path = format!("{BASE}/webhooks/{}/deliveries", webhook.id);
    Ok(Answer::ok(Page::of(found, size, &path, place, of_delivery)))
}

/// Sends a message again, with the same `webhook-id`.
#[utoipa::path(
    post, path = "/webhooks/{webhook}/deliveries/{delivery}/redeliver", tag = "webhooks", operation_id = "redeliver",
    params(
        ("webhook" = String, Path, description = "The webhook's identifier"),
        ("delivery" = i64, Path, description = "The delivery's number"),
    ),
    responses(
        (status = 202, description = "It is on its way"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn redeliver(
    State(api): State<Api>,
    caller: Caller,
    Path((id, number)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let webhook = find(&api, &caller, &id).await?;
    let absent = || Problem::absent("delivery", &number);
    let number: i64 = number.parse().map_err(|_| absent())?;
    let delivery = api.sites.records().delivery(&caller.reach, number).await?;
    delivery.filter(|delivery| delivery.webhook == webhook.id).ok_or_else(absent)?;
    refuse_disabled(&webhook)?;
    if !api.sites.records().redeliver(&caller.reach, number).await? {
        return Err(absent());
    }
    api.deliveries.wake();
    Ok(StatusCode::ACCEPTED)
}

/// Sends again all that was given up for a webhook, or what was since a moment.
#[utoipa::path(
    post, path = "/webhooks/{webhook}/redeliver", tag = "webhooks", operation_id = "redeliver_given_up",
    params(
        ("webhook" = String, Path, description = "The webhook's identifier"),
        ("since" = Option<i64>, Query, description = "Seconds since 1970; everything that is kept, unless given"),
    ),
    responses(
        (status = 202, description = "It is on its way"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn redeliver_all(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<StatusCode, Problem> {
    let webhook = find(&api, &caller, &id).await?;
    let since = query.take("since");
    query.finish()?;
    let since =
        since.map(|text| text.parse().map_err(|_| bad("since", "It is a number of seconds since 1970.")));
    let since = UnixTime(since.transpose()?.unwrap_or(0));
    refuse_disabled(&webhook)?;
    api.sites.records().redeliver_given_up(&caller.reach, &webhook.id, since).await?;
    api.deliveries.wake();
    Ok(StatusCode::ACCEPTED)
}

fn refuse_disabled(webhook: &Webhook) -> Result<(), Problem> {
    let Some(why) = &webhook.disabled else { return Ok(()) };
    let detail = format!("The webhook is disabled: {why} Enable it first: PATCH with enabled: true.");
    Err(Problem::new(StatusCode::CONFLICT, "webhook_disabled", "Webhook disabled", detail))
}
