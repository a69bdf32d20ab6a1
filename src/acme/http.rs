//! The HTTP client that instant-acme speaks through.
//!
//! Unlike its own it sets TCP_NODELAY (40 ms a request otherwise), bounds time and body, follows
//! no redirect, and keeps the `Retry-After` of a refusal: an answer with an error status comes
//! back as a [`Cause`] inside [`instant_acme::Error::Other`], except a `badNonce`, which
//! instant-acme answers itself by signing anew.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::problem::harmless;
use super::{Cause, Error, Problem};
use crate::config;

/// For TCP and TLS to an authority.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one request, its answer's body included; some authorities sign within the request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read; a chain has a few KiB.
const MAX_BODY: usize = 1024 * 1024;
/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Told to authorities.
const AGENT: &str = concat!("nameplate/", env!("CARGO_PKG_VERSION"));
const BAD_NONCE: &str = "badNonce";
/// Tries of one request that is answered with `badNonce`, each of them three of instant-acme's:
/// at half of all nonces refused, one request in 10^18 fails.
pub(super) const NONCE_TRIES: usize = 20;

/// Evaluates a call of instant-acme, which signs anew each time, until its nonce is taken.
///
/// Nothing happens twice by it: a request with a refused nonce was not looked at (RFC 8555 §6.5).
macro_rules! signed {
    ($call:expr) => {{
        let mut tries = 1;
        loop {
            match $call {
                Err(error)
                    if $crate::acme::http::is_bad_nonce(&error)
                        && tries < $crate::acme::http::NONCE_TRIES =>
                {
                    tries += 1;
                }
                ended => break ended,
            }
        }
    }};
}
pub(super) use signed;

type Outcome = Result<BytesResponse, instant_acme::Error>;

/// A client for one authority; cheap to clone, with one pool of connections.
#[derive(Clone, Debug)]
pub struct Http(reqwest::Client);

impl Http {
    /// A client that trusts the system's roots and those in the authority's `ca_file`.
    ///
    /// Fails where the file cannot be read or holds no certificate, or where there is no root at all.
    pub fn new(authority: &config::Authority) -> Result<Self, Error> {
        let extra = extra_roots(authority)?;
        let client = |source| Error::Client { authority: authority.name.clone(), source };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider.clone())
            .map_err(client)?;
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(client)?
            .dangerous() // the verifier is the platform's, given by hand to add roots to it
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(AGENT)
            .build()
            .map(Self)
            .map_err(|error| client(rustls::Error::General(error.to_string())))
    }

    /// The client as instant-acme takes it.
    pub fn boxed(&self) -> Box<dyn HttpClient> {
        Box::new(self.clone())
    }
}

fn extra_roots(authority: &config::Authority) -> Result<Vec<CertificateDer<'static>>, Error> {
    let Some(path) = &authority.ca_file else { return Ok(Vec::new()) };
    let pem = std::fs::read(path).map_err(|source| Error::File {
        authority: authority.name.clone(),
        operation: "read",
        path: path.clone(),
        source,
    })?;
    let roots = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    if roots.is_empty() {
        return Err(Error::Content {
            authority: authority.name.clone(),
            path: path.clone(),
            what: "holds no certificate; ca_file wants one or more in PEM",
        });
    }
    Ok(roots)
}

impl HttpClient for Http {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            send(client, request).await.map_err(|cause| instant_acme::Error::Other(Box::new(cause)))
        })
    }
}

async fn send(client: reqwest::Client, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Cause> {
    let (mut parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    parts.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let url = parts.uri.to_string();
    let request = client.request(parts.method, url).headers(parts.headers).body(body);
    let mut response = request.send().await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    let mut headers = std::mem::take(response.headers_mut());
    let retry_after = believable_retry_after(&mut headers);
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(Cause::Answer(format!("a body of more than {MAX_BODY} octets")));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_client_error() || status.is_server_error() {
        refusal(status, &body, retry_after)?;
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    Ok(BytesResponse { parts, body: Box::new(body.freeze()) })
}

/// The cause behind an answer with an error status; `Ok` for a `badNonce`.
fn refusal(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Result<(), Cause> {
    let mut problem = match serde_json::from_slice::<instant_acme::Problem>(body) {
        Ok(raw) => Problem::from(&raw),
        Err(_) => Problem { detail: harmless(&String::from_utf8_lossy(body)), ..Problem::default() },
    };
    problem.status = Some(status.as_u16());
    if status == StatusCode::BAD_REQUEST && problem.kind == BAD_NONCE {
        return Ok(());
    }
    let overloaded = status == StatusCode::SERVICE_UNAVAILABLE && retry_after.is_some();
    if status == StatusCode::TOO_MANY_REQUESTS || problem.kind == "rateLimited" || overloaded {
        return Err(Cause::RateLimited { problem, retry_after });
    }
    if status.is_server_error() {
        return Err(Cause::Unreachable(format!("it answered{problem}")));
    }
    Err(Cause::Refused(problem))
}

/// The header as a duration from now. A time that no clock can add up is taken out of `headers`,
/// as instant-acme adds it without a check.
fn believable_retry_after(headers: &mut HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<u64>();
    match seconds {
        Ok(seconds) if Duration::from_secs(seconds) > MAX_RETRY_AFTER => {
            headers.insert(RETRY_AFTER, HeaderValue::from(MAX_RETRY_AFTER.as_secs()));
            Some(MAX_RETRY_AFTER)
        }
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => date_from_now(headers),
    }
}

/// `Retry-After` as an HTTP date (RFC 9110 §10.2.3), against the `Date` of the same answer, so
/// that a wrong clock on this machine does no harm.
fn date_from_now(headers: &HeaderMap) -> Option<Duration> {
    let read = |name| {
        let text = headers.get(name)?.to_str().ok()?;
        jiff::fmt::rfc2822::parse(text).ok().map(|moment| moment.timestamp().as_second())
    };
    let wait = read(RETRY_AFTER)?.saturating_sub(read(http::header::DATE)?);
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)).min(MAX_RETRY_AFTER))
}

/// reqwest's error without the URL, with the causes that say something.
fn unreachable(error: &reqwest::Error) -> Cause {
    if error.is_timeout() {
        return Cause::Unreachable("it did not answer in time".into());
    }
    let mut text = String::new();
    let mut source = error.source();
    while let Some(inner) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    Cause::Unreachable(harmless(&text))
}

/// Whether the authority wants the same request with a newer nonce (RFC 8555 §6.5).
pub fn is_bad_nonce(error: &instant_acme::Error) -> bool {
    match error {
        instant_acme::Error::Api(problem) => Problem::from(problem).kind == BAD_NONCE,
        _ => false,
    }
}

impl From<instant_acme::Error> for Cause {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::Refused(Problem::from(&problem)),
            instant_acme::Error::Other(inner) => match inner.downcast::<Self>() {
                Ok(cause) => *cause,
                Err(other) => Self::Answer(harmless(&other.to_string())),
            },
            other => Self::Answer(harmless(&other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let wait = |pairs: &[_]| believable_retry_after(&mut headers(pairs));
        assert_eq!(wait(&[(RETRY_AFTER, "120")]), Some(Duration::from_secs(120)));
        let dates = [
            (RETRY_AFTER, "Sun, 22 Nov 2026 05:00:30 GMT"),
            (http::header::DATE, "Sun, 22 Nov 2026 05:00:00 GMT"),
        ];
        assert_eq!(wait(&dates), Some(Duration::from_secs(30)));
        assert_eq!(wait(&[(RETRY_AFTER, "soon")]), None);
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn an_endless_retry_after_is_cut_before_anyone_adds_it_to_a_clock() {
        let mut endless = headers(&[(RETRY_AFTER, "18446744073709551615")]);
        assert_eq!(believable_retry_after(&mut endless), Some(MAX_RETRY_AFTER));
        assert_eq!(endless[RETRY_AFTER], "604800");
    }

    #[test]
    fn a_refusal_keeps_the_words_and_the_wait() {
        let body = br#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many\ncertificates"}"#;
        let wait = Some(Duration::from_secs(60));
        let limited = refusal(StatusCode::TOO_MANY_REQUESTS, body, wait).unwrap_err();
        let Cause::RateLimited { problem, retry_after } = limited else { panic!("{limited:?}") };
        assert_eq!((problem.detail.as_str(), retry_after), ("too many certificates", wait));

        assert!(matches!(
            refusal(StatusCode::SERVICE_UNAVAILABLE, b"busy", wait),
            Err(Cause::RateLimited { .. })
        ));
        assert!(matches!(refusal(StatusCode::BAD_GATEWAY, b"<html>", None), Err(Cause::Unreachable(_))));
        assert!(matches!(refusal(StatusCode::FORBIDDEN, b"{}", None), Err(Cause::Refused(_))));
        let nonce = br#"{"type":"urn:ietf:params:acme:error:badNonce"}"#;
        assert!(refusal(StatusCode::BAD_REQUEST, nonce, None).is_ok());
    }
}
