//! Nameplate: custom hostnames with automatic HTTPS for SaaS platforms.
//!
//! # Words
//! - *hostname*: a DNS name that a client may ask for.
//! - *site*: where a hostname's requests go; an *origin* is a server of it.
//! - *platform domain*: the platform's own domain, covered by one wildcard certificate.
//! - *authority*: an ACME CA, or the internal one.
//! - *order*, *authorization*, *challenge*: as in RFC 8555.
//! - *approval*: the decision whether a certificate may be obtained for a hostname.
//! - *lease*: the right, bounded in time and fenced by a token, to work on one name.
//! - *store*: the durable state; the *local tier* is this machine's own copy of what it served.
//!
//! # Floors
//! Imports run downwards only: `cli` → `app` → `api`, `edge` → `sites` → `certs` → `acme`,
//! `approval` → `dns`, `store` → `config`, `telemetry` → `domain`.

pub mod acme;
pub mod api;
pub mod app;
pub mod approval;
pub mod certs;
pub mod cli;
pub mod config;
pub mod dns;
pub mod domain;
pub mod edge;
pub mod peers;
pub mod sites;
pub mod store;
pub mod telemetry;
