//! Challenge answers under `/.well-known/acme-challenge/` (RFC 8555 §8.3): never proxied, never
//! redirected, on both listeners.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};

use super::middleware::{Middleware, Outcome, RequestContext, Response};
use super::{Error, page};
use crate::domain::hostname::Hostname;
use crate::telemetry::metrics::Metrics;

const PREFIX: &str = "/.well-known/acme-challenge/";
/// Longest token looked up; those of known authorities have 43 octets.
const MAX_TOKEN_OCTETS: usize = 128;

/// Knows the key authorizations of the challenges under way, this machine's and the fleet's.
#[async_trait]
pub trait ChallengeAnswers: Send + Sync + 'static {
    /// The key authorization that `token` is answered with for `hostname`; `None`: nobody laid one
    /// down.
    async fn http01(&self, hostname: &Hostname, token: &str) -> Option<String>;
}

/// The step that answers challenges.
pub struct ChallengeStep {
    answers: Arc<dyn ChallengeAnswers>,
    metrics: Arc<Metrics>,
}

impl ChallengeStep {
    /// Answers from `answers`.
    pub fn new(answers: Arc<dyn ChallengeAnswers>, metrics: Arc<Metrics>) -> Self {
        Self { answers, metrics }
    }
}

#[async_trait]
impl Middleware for ChallengeStep {
    fn request(&self, request: &RequestContext<'_>) -> Outcome {
        if is_challenge(request.path().as_bytes()) { Outcome::Later } else { Outcome::Continue }
    }

    async fn later(&self, request: &RequestContext<'_>) -> Outcome {
        let token = request.path().strip_prefix(PREFIX).filter(|token| is_token(token));
        let asks = matches!(*request.method(), Method::GET | Method::HEAD);
        let answer = match token.filter(|_| asks) {
            // Counted there.
            Some(token) => self.answers.http01(request.hostname(), token).await,
            None => {
                self.metrics.challenges_answered.with_label_values(&["http-01", "unknown"]).inc();
                None
            }
        };
        match answer {
            // RFC 8555 §8.3 leaves the type open and shows this one.
            Some(answer) => Response::with_body(StatusCode::OK, "application/octet-stream", answer).into(),
            None => page::answer(&Error::NoChallenge, request.headers(), request.request_id()).into(),
        }
    }
}

/// Whether a request for `path` is a challenge's, whose answer is neither proxied nor redirected.
pub(super) fn is_challenge(path: &[u8]) -> bool {
    path.starts_with(PREFIX.as_bytes())
}

/// base64url without padding (RFC 8555 §8.3).
fn is_token(text: &str) -> bool {
    let octet = |o: u8| o.is_ascii_alphanumeric() || o == b'-' || o == b'_';
    (1..=MAX_TOKEN_OCTETS).contains(&text.len()) && text.bytes().all(octet)
}
