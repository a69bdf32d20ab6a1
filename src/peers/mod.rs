//! How other servers keep certificates: under which keys or in which files, in which form, and the
//! Redis that some of them share. What is said here is what those servers do; whether a certificate
//! is of use is for others to judge.

pub mod caddy;
pub mod certbot;
pub mod connection;
pub mod kong;
pub mod layout;
pub mod link;
pub mod lua_resty_acme;
pub mod lua_resty_auto_ssl;

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

/// A certificate with its chain and its private key, as PEM texts.
pub struct Texts {
    /// Leaf first, as a rule.
    pub chain: String,
    /// The private key.
    pub key: Zeroizing<String>,
}

/// Why something that another server kept cannot be read. It never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address of Redis that cannot be used. It is not shown, as there may be a password in it.
    #[error(
        "the address of Redis cannot be used: {why}; write it as redis://HOST:6379/0, rediss://… for TLS, or \
         redis+unix:///PATH"
    )]
    Address {
        /// What is wrong with it.
        why: String,
    },
    /// Redis cannot be reached, or refuses.
    #[error("{place}: could not {doing}{cure}")]
    Redis {
        /// Host and port, or the socket's path.
        place: Arc<str>,
        /// What was tried, as a verb.
        doing: &'static str,
        /// What the user can do, where there is something; begins with `; `.
        cure: &'static str,
        /// What it said.
        #[source]
        source: redis::RedisError,
    },
    /// Redis does not answer in time.
    #[error(
        "{place}: could not {doing}: no answer within {after:?}; check that it runs there, or raise timeout"
    )]
    Late {
        /// Host and port, or the socket's path.
        place: Arc<str>,
        /// What was tried, as a verb.
        doing: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// Redis was not reached a moment ago and is left alone until the next try.
    #[error(
        "{place}: could not {doing}: it was not reached a moment ago and is tried again within seconds ({why})"
    )]
    Away {
        /// Host and port, or the socket's path.
        place: Arc<str>,
        /// What was wanted, as a verb.
        doing: &'static str,
        /// What was met a moment ago.
        why: Arc<str>,
    },
    /// A value cannot be written as JSON.
    #[error("its value cannot be written: {why}")]
    Unwritable {
        /// What the library said.
        why: String,
    },
    /// A key's value is no string.
    #[error("its value is of another kind than a string, so it is not what was looked for")]
    NoString,
    /// A value, or its certificate and key, are empty.
    #[error("its value is empty, or it was removed meanwhile")]
    Empty,
    /// A value is longer than any certificate is.
    #[error("its value is larger than 1 MiB, so it is no certificate")]
    TooLarge,
    /// A value is no JSON of the expected shape.
    #[error("its value is not the JSON that {server} writes: {why}")]
    Json {
        /// Who writes such values.
        server: &'static str,
        /// What the parser said; it shows no part of the value.
        why: String,
    },
    /// A field of a value is missing or empty.
    #[error("its value has no {field}")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// What a key is for is no hostname.
    #[error("{domain:?} in its key is no hostname: {why}{cure}")]
    Domain {
        /// What stands where the hostname should.
        domain: String,
        /// What is wrong with it.
        why: crate::domain::hostname::InvalidHostname,
        /// What the user can do, where there is something; begins with `; `.
        cure: &'static str,
    },
    /// A renewal configuration of certbot lacks what certbot needs.
    #[error("{file} {why}")]
    Renewal {
        /// Its name below certbot's folder.
        file: String,
        /// What is wrong with it.
        why: String,
    },
}
