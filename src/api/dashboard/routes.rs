//! Where the dashboard's pages are, and what browsers are told with each.

use axum::Router;
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use super::super::listener::Tls;
use super::super::problem::Problem;
use super::super::routes::Api;
use super::refusal::Refusal;
use super::{certificates, events, hostname, hostnames, register, remove, sign_in};

/// Where somebody signs in.
pub const SIGN_IN: &str = "/sign-in";
/// Where somebody signs out.
pub const SIGN_OUT: &str = "/sign-out";

/// A file of ours that pages load.
pub struct Asset {
    /// Its path.
    pub path: &'static str,
    /// What it has.
    pub text: &'static str,
    media_type: &'static str,
}

/// How pages look.
pub const STYLE: Asset = Asset {
    path: "/assets/style.css",
    text: include_str!("style.css"),
    media_type: "text/css; charset=utf-8",
};
/// Loads pages again.
pub const SCRIPT: Asset = Asset {
    path: "/assets/script.js",
    text: include_str!("script.js"),
    media_type: "text/javascript; charset=utf-8",
};
/// The sign in a browser's tab.
pub const ICON: Asset =
    Asset { path: "/assets/icon.svg", text: include_str!("icon.svg"), media_type: "image/svg+xml" };

/// A page may load our own files alone, and nothing may load a page into itself.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// What every answer has.
const HEADERS: [(&str, &str); 5] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// What all pages share.
#[derive(Clone)]
pub struct Dashboard {
    /// What they show.
    pub api: Api,
    /// The listener's TLS.
    pub tls: Tls,
}

impl Dashboard {
    /// Whether browsers come by TLS.
    pub fn tls(&self) -> bool {
        self.tls.load().is_some()
    }
}

/// All pages.
pub fn router(dashboard: Dashboard) -> Router {
    const HOSTNAME: &str = "/sites/{site}/hostnames/{hostname}";
    Router::new()
        .route("/", get(hostnames::show))
        .route("/certificates", get(certificates::show))
        .route("/events", get(events::show))
        .route("/register", get(register::show).post(register::register))
        .route(HOSTNAME, get(hostname::show))
        .route(&format!("{HOSTNAME}/check"), post(hostname::check))
        .route(&format!("{HOSTNAME}/delete"), get(remove::ask).post(remove::remove))
        .route(SIGN_IN, get(sign_in::show).post(sign_in::sign_in))
        .route(SIGN_OUT, post(sign_in::sign_out))
        .route(STYLE.path, get(async || asset(&STYLE)))
        .route(SCRIPT.path, get(async || asset(&SCRIPT)))
        .route(ICON.path, get(async || asset(&ICON)))
        .fallback(absent)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(fault))
        .layer(axum::middleware::map_response(guard))
        .with_state(dashboard)
}

/// Pages name a file's version, so that it may be kept.
fn asset(asset: &Asset) -> Response {
    let kept = "public, max-age=86400";
    ([(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, kept)], asset.text).into_response()
}

async fn guard(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn absent() -> Refusal {
    let detail = "There is no such page here.";
    Problem::new(StatusCode::NOT_FOUND, "no_such_page", "No such page", detail).into()
}

async fn wrong_method() -> Refusal {
    let detail = "This page does not take what was sent to it.";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "Wrong method", detail).into()
}

fn fault(_: Box<dyn std::any::Any + Send>) -> Response {
    let detail = "Something went wrong on our side. Nothing is lost; try again.";
    Refusal::from(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "Fault", detail)).into_response()
}
