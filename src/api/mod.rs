//! The admin listener: metrics and health; webhooks.

pub mod admin;
pub mod webhooks;
