//! What the admin listener answers: the API, the dashboard, `/metrics`, `/healthz` and `/readyz`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::dashboard;
use super::dashboard::routes::Dashboard;
use super::listener::{Listener, Tls};
use super::routes::{self, Api};
use crate::telemetry::metrics::Metrics;

/// The type of Prometheus's text form.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the admin listener tells of.
#[derive(Clone)]
pub struct Admin {
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// Listeners are bound, and no stop has begun.
    pub ready: Arc<AtomicBool>,
    /// The API, and the dashboard over it; the listener for the scraper alone has none.
    pub api: Option<Api>,
    /// Its TLS.
    pub tls: Tls,
}

impl Admin {
    /// The part that a scraper needs, without TLS.
    pub fn for_scrapers(&self) -> Self {
        Self { api: None, tls: Tls::default(), ..self.clone() }
    }
}

/// Serves until `stop` resolves.
pub async fn serve(socket: TcpListener, admin: Admin, stop: impl Future<Output = ()> + Send + 'static) {
    let listener = match Listener::new(socket, admin.tls.clone()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin listener cannot be served"),
    };
    let api = admin.api.clone().map(routes::router).unwrap_or_default();
    let dashboard = admin.api.clone().map(|api| Dashboard { api, tls: admin.tls.clone() });
    let dashboard = dashboard.map(dashboard::routes::router).unwrap_or_default();
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(admin)
        .merge(api)
        .merge(dashboard);
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the admin listener stopped");
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], admin.metrics.render()).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    if admin.ready.load(Ordering::Relaxed) {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response()
}
