//! The platform's approval endpoint: one GET a question.
//!
//! `200`–`299` mean yes; `403`, `404` and `410` no; everything else, redirects among it, means
//! that it could not be asked, which is never a denial.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;
use crate::config::{ApprovalUrl, OnDemand};
use crate::domain::approval::{DenyReason, Verdict};
use crate::domain::hostname::Hostname;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// Carries the address of the client whose handshake or request asked for the hostname.
pub const CLIENT_HEADER: &str = "x-nameplate-client";
/// Most of an answer's body that is read; what it says does not matter.
const MAX_BODY: usize = 64 * 1024;
/// Tries of one question: a fault is met once more.
const TRIES: usize = 2;
/// While the endpoint is down, every new name meets the same fault.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
const AGENT: &str = concat!("nameplate/", env!("CARGO_PKG_VERSION"));

/// The approval endpoint.
pub struct Endpoint {
    url: ApprovalUrl,
    site: Arc<str>,
    timeout: Duration,
    in_flight: Arc<Semaphore>,
    client: reqwest::Client,
    complaints: Seldom,
    metrics: Arc<Metrics>,
}

/// What the endpoint said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The decision.
    pub verdict: Verdict,
    /// How long it says that it holds (`Cache-Control`, RFC 9111 §5.2.2); zero: do not keep it.
    pub max_age: Option<Duration>,
    /// It was not asked, as too many questions were in flight.
    pub shed: bool,
}

impl Answer {
    fn unknown(why: impl Into<Arc<str>>) -> Self {
        Self { verdict: Verdict::Unknown(why.into()), max_age: None, shed: false }
    }
}

impl Endpoint {
    /// An endpoint at the configured URL; `None` where none is configured.
    ///
    /// Fails where an HTTP client cannot be made.
    pub fn new(on_demand: &OnDemand, metrics: Arc<Metrics>) -> Result<Option<Self>, Error> {
        let Some(url) = on_demand.approval.clone() else { return Ok(None) };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(&url)?)
            .tcp_nodelay(true)
            .connect_timeout(on_demand.approval_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(AGENT)
            .build()
            .map_err(Error::Client)?;
        Ok(Some(Self {
            url,
            site: on_demand.site.clone(),
            timeout: on_demand.approval_timeout,
            in_flight: Arc::new(Semaphore::new(on_demand.approval_concurrency)),
            client,
            complaints: Seldom::new(COMPLAIN_EVERY),
            metrics,
        }))
    }

    /// Whether `other` asks the same question on behalf of the same site.
    pub fn asks_as(&self, other: &Self) -> bool {
        (&self.url, &self.site) == (&other.url, &other.site)
    }

    /// Asks about `hostname`; at most twice, each time for the configured time-out.
    ///
    /// - `client`: told to the endpoint in [`CLIENT_HEADER`]
    pub async fn ask(&self, hostname: &Hostname, client: Option<IpAddr>) -> Answer {
        let Ok(permit) = self.in_flight.clone().try_acquire_owned() else {
            self.metrics.approvals.with_label_values(&["shed"]).inc();
            return Answer { shed: true, ..Answer::unknown("too many questions to the approval endpoint") };
        };
        let started = Instant::now();
        let answer = self.try_twice(hostname, client, Arc::new(permit)).await;
        self.metrics.approval_seconds.observe(started.elapsed().as_secs_f64());
        let result = match &answer.verdict {
            Verdict::Approved { .. } => "approved",
            Verdict::Denied(_) => "denied",
            Verdict::Unknown(why) => {
                if let Some(unsaid) = self.complaints.permit() {
                    tracing::warn!(%hostname, %why, unsaid, "the approval endpoint could not be asked");
                }
                "unknown"
            }
        };
        self.metrics.approvals.with_label_values(&[result]).inc();
        answer
    }

    async fn try_twice(
        &self,
        hostname: &Hostname,
        client: Option<IpAddr>,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Answer {
        let mut fault = String::new();
        for _ in 0..TRIES {
            match self.try_once(hostname, client, permit.clone()).await {
                Ok(answer) => return answer,
                Err(why) => fault = why,
            }
        }
        Answer::unknown(fault)
    }

    /// `Err` is a fault that another try may not meet.
    async fn try_once(
        &self,
        hostname: &Hostname,
        client: Option<IpAddr>,
        permit: Arc<OwnedSemaphorePermit>,
    ) -> Result<Answer, String> {
        let mut request = self.client.get(self.url_for(hostname));
        if let Some(client) = client {
            request = request.header(CLIENT_HEADER, client.to_canonical().to_string());
        }
        let response = match tokio::time::timeout(self.timeout, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(told(&error)),
            Err(_) => {
                return Err(format!(
                    "no answer from the approval endpoint in {} s",
                    self.timeout.as_secs_f32()
                ));
            }
        };
        let status = response.status();
        let max_age = max_age(response.headers());
        // The status decides. The body is read beside it, so that the connection can be used again.
        tokio::spawn(drain(response, self.timeout, permit));
        if status.is_server_error() {
            return Err(format!("the approval endpoint answered {}", status.as_u16()));
        }
        Ok(Answer { verdict: self.verdict(status), max_age, shed: false })
    }

    fn verdict(&self, status: StatusCode) -> Verdict {
        match status.as_u16() {
            200..=299 => Verdict::Approved { site: self.site.clone() },
            status @ (403 | 404 | 410) => Verdict::Denied(DenyReason::Endpoint { status }),
            status @ 300..=399 => Verdict::Unknown(
                format!("the approval endpoint answered {status}; redirects are not followed").into(),
            ),
            status => Verdict::Unknown(format!("the approval endpoint answered {status}").into()),
        }
    }

    fn url_for(&self, hostname: &Hostname) -> String {
        let escaped: String = url::form_urlencoded::byte_serialize(hostname.as_str().as_bytes()).collect();
        match &self.url {
            ApprovalUrl::Template { before, after } => format!("{before}{escaped}{after}"),
            ApprovalUrl::Query(url) => {
                let mut url = url.clone();
                url.query_pairs_mut().append_pair("domain", hostname.as_str());
                url.into()
            }
        }
    }
}

/// Over HTTPS the machine's roots are needed; a plain endpoint works on a machine without any.
fn tls(url: &ApprovalUrl) -> Result<rustls::ClientConfig, Error> {
    let secure = match url {
        ApprovalUrl::Template { before, .. } => before.starts_with("https:"),
        ApprovalUrl::Query(url) => url.scheme() == "https",
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::Roots)?;
    if !secure {
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let verifier = rustls_platform_verifier::Verifier::new(provider).map_err(Error::Roots)?;
    let mut tls = builder
        .dangerous() // the verifier is the platform's own
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// Reads the body to its end, up to [`MAX_BODY`] and `timeout`; then the connection is closed.
/// The question counts as in flight until then, which bounds these tasks too.
async fn drain(mut response: reqwest::Response, timeout: Duration, permit: Arc<OwnedSemaphorePermit>) {
    let read = async {
        let mut octets = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            octets += chunk.len();
            if octets > MAX_BODY {
                break;
            }
        }
    };
    // Out of time or not, the verdict is given.
    let _elapsed = tokio::time::timeout(timeout, read).await;
    drop(permit);
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut found = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            match directive.split_once('=') {
                None if directive == "no-store" || directive == "no-cache" => return Some(Duration::ZERO),
                Some(("max-age", seconds)) => {
                    found = seconds.trim_matches('"').parse().ok().map(Duration::from_secs).or(found);
                }
                _ => {}
            }
        }
    }
    found
}

/// What went wrong, without the URL, which may hold a token.
fn told(error: &reqwest::Error) -> String {
    let mut text = "no connection to the approval endpoint".to_owned();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cache_control_says_how_long() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
            max_age(&headers)
        };
        assert_eq!(of("public, max-age=60"), Some(Duration::from_secs(60)));
        assert_eq!(of("Max-Age=\"7\""), Some(Duration::from_secs(7)));
        assert_eq!(of("max-age=60, no-store"), Some(Duration::ZERO));
        assert_eq!(of("max-age=soon"), None);
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
