//! All calls of the API, with what they share.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Pace;
use super::dashboard::session::Sessions;
use super::idempotency::{self, Queues};
use super::problem::Problem;
use super::webhooks::calls as webhooks;
use super::webhooks::deliver::Deliveries;
use super::{certificates, events, explain, hostnames, openapi, organizations, own, sites, tokens};
use crate::config::Config;
use crate::domain::approval::Approver;
use crate::sites::service::Sites;
use crate::store::Ledger;

/// Where the API is.
pub const BASE: &str = "/api/v1";
/// How often callers that no longer call are forgotten.
const TIDY: Duration = Duration::from_secs(300);

/// What all calls share.
#[derive(Clone)]
pub struct Api {
    /// Sites and hostnames.
    pub sites: Arc<Sites>,
    /// How authorities do.
    pub ledger: Arc<dyn Ledger>,
    /// Whether certificates may be obtained.
    pub approver: Arc<dyn Approver>,
    /// What is on its way to webhooks.
    pub deliveries: Arc<Deliveries>,
    pub(super) pace: Arc<ArcSwap<Pace>>,
    pub(super) queues: Queues,
    pub(super) sessions: Sessions,
}

impl Api {
    /// By `config`, over `sites`.
    pub fn new(
        config: &Config,
        sites: Arc<Sites>,
        ledger: Arc<dyn Ledger>,
        deliveries: Arc<Deliveries>,
        approver: Arc<dyn Approver>,
    ) -> Self {
        let pace = Arc::new(ArcSwap::from_pointee(Pace::new(config.api.requests_per_token)));
        let (queues, sessions) = (Queues::default(), Sessions::default());
        Self { sites, ledger, deliveries, approver, pace, queues, sessions }
    }

    /// Goes by `config` from now on.
    pub fn follow(&self, config: &Config) {
        self.pace.store(Arc::new(Pace::new(config.api.requests_per_token)));
    }

    /// Forgets what is no longer needed, for ever.
    pub async fn tidy(self) {
        loop {
            tokio::time::sleep(TIDY).await;
            self.pace.load().tidy();
        }
    }
}

/// The calls, and their description.
pub fn described() -> OpenApiRouter<Api> {
    let calls = OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(hostnames::list, hostnames::create))
        .routes(routes!(hostnames::get, hostnames::change, hostnames::remove))
        .routes(routes!(hostnames::check))
        .routes(routes!(own::set, own::remove))
        .routes(routes!(hostnames::list_all))
        .routes(routes!(explain::explain))
        .routes(routes!(sites::list, sites::create))
        .routes(routes!(sites::get, sites::change, sites::remove))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::remove))
        .routes(routes!(organizations::list))
        .routes(routes!(organizations::change))
        .routes(routes!(organizations::quota))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::get, webhooks::change, webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(webhooks::redeliver_all))
        .routes(routes!(events::list))
        .routes(routes!(certificates::list))
        .routes(routes!(certificates::authorities));
    OpenApiRouter::new().nest(BASE, calls)
}

/// Everything below [`BASE`].
pub fn router(api: Api) -> Router {
    let (calls, mut description) = described().split_for_parts();
    openapi::close(&mut description);
    let description = description.to_json().unwrap_or_default();
    let describe = async move || ([("content-type", "application/json")], description);
    calls
        .route(&format!("{BASE}/openapi.json"), get(describe))
        .route(&format!("{BASE}/{{*rest}}"), axum::routing::any(absent))
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(api.clone(), idempotency::once))
        .layer(CatchPanicLayer::custom(fault))
        .with_state(api)
}

async fn absent(uri: Uri) -> Problem {
    let detail = format!("There is no call {}; {BASE}/openapi.json lists all.", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "no_such_call", "No such call", detail)
}

async fn wrong_method(uri: Uri) -> Problem {
    let detail = format!("{} does not take this method; {BASE}/openapi.json lists all.", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "Wrong method", detail)
}

fn fault(_: Box<dyn std::any::Any + Send>) -> Response {
    let detail = "Something went wrong on our side. Nothing is lost; try again.";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "Fault", detail).into_response()
}
