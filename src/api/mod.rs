//! The admin listener: metrics and health.

pub mod admin;
