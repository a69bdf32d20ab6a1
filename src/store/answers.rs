//! Answers that are kept for requests that come again (`Idempotency-Key`).

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::domain::clock::UnixTime;

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// After how long a request without an answer is taken to have ended with its process.
pub const UNDER_WAY: Duration = Duration::from_secs(60);
/// How many answers of one caller are kept; the oldest go first.
pub const PER_CALLER: u32 = 10_000;

/// A request that may come again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keyed<'a> {
    /// The identifier of the caller's token.
    pub caller: &'a str,
    /// What the caller calls the request by.
    pub key: &'a str,
    /// SHA-256 of what is asked for.
    pub fingerprint: [u8; 32],
}

/// An answer as it was given. It may hold a secret, so there is no `Debug`.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header fields: names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// What is to be done about a request with a key.
#[derive(Clone, Eq, PartialEq)]
pub enum Turn {
    /// It is new: it is to be carried out, and the answer kept.
    Ours,
    /// It is under way, until then at most.
    Theirs(UnixTime),
    /// It was carried out, with this answer.
    Answered(Answer),
    /// The key was used for another request.
    OtherRequest,
}

/// Answers to requests with a key.
///
/// Law, kept by every implementation: of all that come with one key before its answer is forgotten
/// one is told [`Turn::Ours`], until that one gives the turn back or [`UNDER_WAY`] is over.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// Takes the turn to carry the request out, or says why not.
    async fn take_turn(&self, request: Keyed<'_>) -> Result<Turn, Error>;

    /// Keeps the answer for [`KEPT`], unless there is one, and forgets those beyond [`PER_CALLER`].
    async fn keep_answer(&self, request: Keyed<'_>, answer: &Answer) -> Result<(), Error>;

    /// Gives a turn back that led to no answer worth keeping.
    async fn give_turn_back(&self, request: Keyed<'_>) -> Result<(), Error>;

    /// Forgets answers that have been kept for long enough.
    async fn trim_answers(&self) -> Result<(), Error>;
}
