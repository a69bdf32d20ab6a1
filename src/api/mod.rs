//! The admin listener: the API, the dashboard, metrics and health; webhooks.

pub mod access;
pub mod admin;
pub mod body;
pub mod certificates;
pub mod dashboard;
pub mod document;
pub mod events;
pub mod explain;
pub mod hostname;
pub mod hostnames;
pub mod idempotency;
pub mod listener;
pub mod obtained;
pub mod openapi;
pub mod organizations;
pub mod own;
pub mod problem;
pub mod query;
pub mod routes;
pub mod sites;
pub mod tokens;
pub mod webhooks;

/// The media type of answers (JSON:API §5).
pub const MEDIA_TYPE: &str = "application/vnd.api+json";
