//! `Idempotency-Key`: a POST that comes twice is done once, and answered twice.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use moka::sync::Cache;
use tokio::sync::Mutex;

use super::access::Caller;
use super::body::LONGEST;
use super::problem::{Blame, Problem};
use super::routes::Api;
use crate::domain::clock::UnixTime;
use crate::store::answers::{Answer, Keyed, Turn};
use crate::telemetry::seldom::Seldom;

const HEADER: &str = "idempotency-key";
const REPLAYED: &str = "idempotency-replayed";
/// Longest key.
const KEY_OCTETS: usize = 255;
/// How many keys are in use at once in this process, and how long one is taken to be. What goes
/// beyond is answered as a request that another machine is at.
const AT_ONCE: u64 = 10_000;
const IN_USE: Duration = Duration::from_secs(60);

/// The keys in use: who comes with the same one waits here for the first one's answer.
#[derive(Clone)]
pub struct Queues(Cache<(String, String), Arc<Mutex<()>>>);

impl Default for Queues {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(AT_ONCE).time_to_idle(IN_USE).build())
    }
}

/// Lets a POST with a key through once; whoever comes with the same key waits, and gets its answer.
pub async fn once(State(api): State<Api>, request: Request, next: Next) -> Response {
    let key = request.headers().get(HEADER).cloned();
    let Some(key) = key.filter(|_| *request.method() == Method::POST) else { return next.run(request).await };
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
    let key = read_key(key)?;
    let body = to_bytes(body, LONGEST).await.map_err(|_| {
        let detail = format!("A body has at most {LONGEST} octets.");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large", detail)
    })?;
    let asked = parts.uri.path_and_query().map_or("", |asked| asked.as_str());
    let keyed = Keyed { caller: &caller.token, key, fingerprint: fingerprint(asked, &body) };
    let queue = api.queues.0.get_with((caller.token.clone(), key.to_owned()), Arc::default);
    let _turn = queue.lock().await;
    match api.sites.records().take_turn(keyed).await? {
        Turn::Ours => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            Ok(keep(api, keyed, response).await)
        }
        Turn::Answered(answer) => Ok(restore(answer)),
        Turn::Theirs(until) => Err(under_way(until, api.sites.now())),
        Turn::OtherRequest => {
            let detail = "This key was sent with another request before; take a fresh one for each.";
            Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "Idempotency-Key reused",
                detail,
            )
            .blaming(Blame::Header("Idempotency-Key")))
        }
    }
}

fn read_key(key: &HeaderValue) -> Result<&str, Problem> {
    key.to_str().ok().filter(|key| (1..=KEY_OCTETS).contains(&key.len())).ok_or_else(|| {
        let detail = format!("It is 1 to {KEY_OCTETS} visible ASCII characters.");
        Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", "Invalid Idempotency-Key", detail)
            .blaming(Blame::Header("Idempotency-Key"))
    })
}

fn under_way(until: UnixTime, now: UnixTime) -> Problem {
    let seconds = u64::try_from(until.0 - now.0).unwrap_or_default().max(1);
    let detail = format!(
        "A request with this key is under way, or ended with the machine that was at it; it can come again \
         in {seconds} seconds at the latest."
    );
    Problem::new(StatusCode::CONFLICT, "request_under_way", "Request under way", detail)
        .blaming(Blame::Header("Idempotency-Key"))
        .retry_after(seconds)
}

/// Keeps the answer, unless it may come out otherwise next time.
async fn keep(api: &Api, keyed: Keyed<'_>, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let records = api.sites.records();
    let passing = parts.status.is_server_error() || parts.status == StatusCode::TOO_MANY_REQUESTS;
    let kept = match String::from_utf8(body.to_vec()) {
        Ok(body) if !passing => {
            let answer = Answer { status: parts.status.as_u16(), headers: texts(&parts.headers), body };
            records.keep_answer(keyed, &answer).await
        }
        _ => records.give_turn_back(keyed).await,
    };
    if let Err(error) = kept {
        static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(10));
        if let Some(unsaid) = COMPLAINTS.permit() {
            tracing::warn!(%error, unsaid, "an answer of the API is not kept for when its request comes again");
        }
    }
    Response::from_parts(parts, Body::from(body))
}

/// All header fields; those of this API are text.
fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

fn restore(answer: Answer) -> Response {
    let mut response = Bytes::from(answer.body).into_response();
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.clear();
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn fingerprint(asked: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    hash.update(asked.as_bytes());
    hash.update(&[0]);
    hash.update(body);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(hash.finish().as_ref());
    fingerprint
}
