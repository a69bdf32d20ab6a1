//! Webhooks (Standard Webhooks 1.0): who may be told, how a message is signed, and its delivery.

pub mod address;
pub mod back_off;
pub mod calls;
pub mod client;
pub mod create;
pub mod deliver;
pub mod sign;

use crate::domain::webhook::InvalidSecret;

/// Why something is no webhook. None of them shows a secret or a URL.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Invalid {
    /// Nothing could be sent there.
    #[error("the URL cannot be used: {why}")]
    Url {
        /// Why not.
        why: &'static str,
    },
    /// Its host is an address that is not public.
    #[error(
        "the URL leads to an address that is not public; an operator may allow it in [webhooks] allow_private"
    )]
    Private,
    /// Plain HTTP, which only addresses that an operator allowed are spoken to by.
    #[error("the URL must begin with https://")]
    Plain,
    /// There is no such event, or none that a webhook may ask for.
    #[error("{word:?} is no event that a webhook may ask for")]
    Event {
        /// What was written, cut short.
        word: String,
    },
    /// The secret has another form.
    #[error("the secret cannot be used: {0}")]
    Secret(#[from] InvalidSecret),
}

/// Why webhooks cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up.
    #[error("TLS to webhooks cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be made.
    #[error("the HTTP client for webhooks cannot be made")]
    Client(#[from] reqwest::Error),
}
