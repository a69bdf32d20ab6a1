//! `Idempotency-Key`: a POST that comes twice is done once, and answered twice.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use moka::future::Cache;

use super::access::Caller;
use super::body::LONGEST;
use super::problem::{Blame, Problem};
use super::routes::Api;

const HEADER: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
/// Longest key.
const KEY_OCTETS: usize = 255;
/// How long an answer is kept, and how many are.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
const ANSWERS: u64 = 10_000;
/// Calls whose answers hold a secret, which is not kept.
const SECRET: [&str; 2] = ["/api/v1/tokens", "/api/v1/webhooks"];

/// The answers of this process to requests with a key, by token and key.
#[derive(Clone)]
pub struct Answers(Cache<(String, String), Arc<Kept>>);

struct Kept {
    /// Of the request.
    fingerprint: Vec<u8>,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Default for Answers {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(ANSWERS).time_to_live(KEPT).build())
    }
}

/// Lets a POST with a key through once; whoever comes with the same key waits, and gets its answer.
pub async fn once(State(api): State<Api>, request: Request, next: Next) -> Response {
    let key = request.headers().get(HEADER).cloned();
    let Some(key) = key.filter(|_| *request.method() == Method::POST) else { return next.run(request).await };
    if SECRET.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    // Goes on without a client that goes away, who comes again for the answer.
    match tokio::spawn(async move { replay(&api, &key, request, next).await }).await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(ended) => {
            let detail = format!("The request was broken off on our side: {ended}.");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "Fault", detail).into_response()
        }
    }
}

async fn replay(api: &Api, key: &HeaderValue, request: Request, next: Next) -> Result<Response, Problem> {
    // Whoever has no token hears of that first.
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, api).await?;
    let blame = Blame::Header("Idempotency-Key");
    let key = key.to_str().ok().filter(|key| (1..=KEY_OCTETS).contains(&key.len())).ok_or_else(|| {
        let detail = format!("It is 1 to {KEY_OCTETS} visible ASCII characters.");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", "Invalid Idempotency-Key", detail)
            .blaming(blame.clone())
    })?;
    let body = to_bytes(body, LONGEST).await.map_err(|_| {
        let detail = format!("A body has at most {LONGEST} octets.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large", detail)
    })?;
    let fingerprint = fingerprint(parts.uri.path(), &body);
    let mut fresh = false;
    let entry = api.answers.0.entry((caller.token, key.to_owned()));
    let kept = entry
        .or_try_insert_with(async {
            fresh = true;
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            keep(fingerprint.clone(), response).await
        })
        .await;
    let kept = match kept {
        Ok(entry) => entry.into_value(),
        // Not kept: it may come out otherwise next time.
        Err(response) => return Ok(restore(&response)),
    };
    if kept.fingerprint != fingerprint {
        let detail = "This key was sent with another request before; take a fresh one for each.";
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "Idempotency-Key reused",
            detail,
        )
        .blaming(blame));
    }
    let mut response = restore(&kept);
    if !fresh {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What is kept of an answer; not of one that may come out otherwise next time.
async fn keep(fingerprint: Vec<u8>, response: Response) -> Result<Arc<Kept>, Arc<Kept>> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let (status, headers) = (parts.status, parts.headers);
    let kept = Arc::new(Kept { fingerprint, status, headers, body });
    let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    if passing { Err(kept) } else { Ok(kept) }
}

fn restore(kept: &Kept) -> Response {
    (kept.status, kept.headers.clone(), kept.body.clone()).into_response()
}

fn fingerprint(path: &str, body: &[u8]) -> Vec<u8> {
    let mut hash = Context::new(&SHA256);
    hash.update(path.as_bytes());
    hash.update(&[0]);
    hash.update(body);
    hash.finish().as_ref().to_vec()
}
