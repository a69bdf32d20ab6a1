//! Requests on plain HTTP: challenges are answered, everything else is redirected to HTTPS or
//! refused.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Error as PingoraError;
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::answer::{connection, fail, refuse, respond, told};
use super::connection::Listener;
use super::middleware::{Facts, Middleware, Outcome, RequestContext, Response, Steps};
use super::request::{Counters, Exchange, log_access};
use super::settings::{Settings, http_proxy_of, set_timeouts};
use super::well_known::{ChallengeAnswers, ChallengeStep};
use super::{Error, framing, page};
use crate::certs::{Refusal, Spent};
use crate::domain::hostname::Hostname;
use crate::telemetry::metrics::Metrics;

/// The port that a URL with `https` leaves out.
const HTTPS_PORT: u16 = 443;

/// Whether a hostname can be reached by HTTPS.
#[async_trait]
pub trait Reachable: Send + Sync + 'static {
    /// Succeeds once a certificate is there; may obtain it, and waits a bounded time for that.
    async fn reach(&self, hostname: &Hostname, client: IpAddr) -> Result<(), Refusal>;

    /// Whether the certificate is in memory already.
    fn is_reachable(&self, hostname: &Hostname) -> bool;
}

/// The step that sends clients to HTTPS, where there is something for them.
pub struct RedirectStep {
    reachable: Arc<dyn Reachable>,
    https_port: u16,
    metrics: Arc<Metrics>,
}

impl RedirectStep {
    /// - `https_port`: the port that clients reach HTTPS at; 443 is left out of the URL.
    pub fn new(reachable: Arc<dyn Reachable>, https_port: u16, metrics: Arc<Metrics>) -> Self {
        Self { reachable, https_port, metrics }
    }

    /// 301 for what every client repeats as it was, 308 (RFC 9110 §15.4.9) for the rest.
    fn redirect(&self, request: &RequestContext<'_>) -> Outcome {
        let status = match *request.method() {
            Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
            _ => StatusCode::PERMANENT_REDIRECT,
        };
        let target = match framing::path_and_query(request.head) {
            Ok(b"*") => b"/",
            Ok(target) => target,
            Err(error) => return refused(&error, request),
        };
        match location(request.hostname(), self.https_port, target) {
            Some(location) => {
                self.metrics.redirects.inc();
                Response::redirect(status, location).into()
            }
            None => refused(&Error::Target, request),
        }
    }

    fn refuse(&self, refusal: &Refusal, request: &RequestContext<'_>) -> Outcome {
        let hostname = request.hostname().clone();
        let error = match refusal {
            Refusal::Pending => Error::Pending(hostname),
            Refusal::Denied(_) | Refusal::Invalid(_) => Error::NotServed(hostname),
            Refusal::Failed(_) => Error::NoCertificate(hostname),
            Refusal::Budget(Spent::Depth) => Error::NotServed(hostname),
            Refusal::CouldNotAsk(_)
            | Refusal::NoRoom(_)
            | Refusal::Busy
            | Refusal::Budget(_)
            | Refusal::Fault(_) => Error::Undecided(hostname),
        };
        if !matches!(refusal, Refusal::Pending) {
            self.metrics.unknown_names_refused.with_label_values(&[refusal.label()]).inc();
        }
        refused(&error, request)
    }
}

fn refused(error: &Error, request: &RequestContext<'_>) -> Outcome {
    page::answer(error, request.headers(), request.request_id()).into()
}

/// `https://HOSTNAME[:PORT]TARGET`; the hostname is a parsed one and `target` begins with `/`, so
/// it leads nowhere else. `None`: `target` holds what no URL may.
pub(super) fn location(hostname: &Hostname, port: u16, target: &[u8]) -> Option<HeaderValue> {
    const SCHEME: &str = "https://";
    const COLON_AND_PORT: usize = 6;
    let octets = SCHEME.len() + hostname.as_str().len() + COLON_AND_PORT + target.len();
    let mut url = String::with_capacity(octets);
    url.push_str(SCHEME);
    url.push_str(hostname.as_str());
    if port != HTTPS_PORT {
        url.push_str(&format!(":{port}"));
    }
    for &octet in target {
        match octet {
            0x21..=0x7e => url.push(char::from(octet)),
            // A few clients send raw octets; in a URL they are escaped (RFC 3986 §2.1).
            0x80.. => url.push_str(&format!("%{octet:02X}")),
            _ => return None,
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(url)).ok()
}

#[async_trait]
impl Middleware for RedirectStep {
    fn request(&self, request: &RequestContext<'_>) -> Outcome {
        if self.reachable.is_reachable(request.hostname()) {
            return self.redirect(request);
        }
        Outcome::Later
    }

    async fn later(&self, request: &RequestContext<'_>) -> Outcome {
        let client = request.client().ip().to_canonical();
        match self.reachable.reach(request.hostname(), client).await {
            Ok(()) => self.redirect(request),
            Err(refusal) => self.refuse(&refusal, request),
        }
    }
}

/// The request path of the plain HTTP listener.
#[derive(Clone)]
pub struct PlainProxy {
    steps: Steps,
    metrics: Arc<Metrics>,
    counters: Counters,
    settings: Settings,
}

impl PlainProxy {
    /// - `https_port`: see [`RedirectStep::new`].
    pub fn new(
        challenges: Arc<dyn ChallengeAnswers>,
        reachable: Arc<dyn Reachable>,
        https_port: u16,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let own: Vec<Arc<dyn Middleware>> = vec![
            Arc::new(ChallengeStep::new(challenges, metrics.clone())),
            Arc::new(RedirectStep::new(reachable, https_port, metrics.clone())),
        ];
        let counters = Counters::new(&metrics, Listener::Http, "");
        Self { steps: Steps::new(own, Vec::new()), metrics, counters, settings }
    }

    fn facts(session: &Session, exchange: &Exchange) -> Result<Facts, Error> {
        let connection = connection(session)?;
        framing::check(session)?;
        let hostname = framing::hostname(framing::host(session.req_header())?, None)?;
        Ok(Facts { connection, hostname, found: None, id: exchange.id })
    }
}

#[async_trait]
impl ProxyHttp for PlainProxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new()
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> pingora_error::Result<bool> {
        set_timeouts(session, &self.settings);
        match Self::facts(session, exchange) {
            Ok(facts) => exchange.facts = Some(facts),
            Err(error) => return Err(refuse(exchange, error)),
        }
        let answer = match exchange.context(session) {
            Some(request) => self.steps.request(request).await,
            None => None,
        };
        let Some(response) = answer else {
            return Err(refuse(exchange, Error::Fault));
        };
        respond(session, exchange, &self.steps, *response).await?;
        Ok(true)
    }

    /// Never reached: the redirect step answers whatever the others leave.
    async fn upstream_peer(
        &self,
        _: &mut Session,
        exchange: &mut Exchange,
    ) -> pingora_error::Result<Box<HttpPeer>> {
        Err(refuse(exchange, Error::Fault))
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &PingoraError,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let refused = exchange.refused.take().or_else(|| told(error));
        fail(session, exchange, &self.steps, refused).await
    }

    async fn logging(&self, session: &mut Session, _: Option<&PingoraError>, exchange: &mut Exchange) {
        let status = session.response_written().map(|head| head.status);
        self.counters.count(status);
        self.metrics.http_request_seconds.observe(exchange.elapsed().as_secs_f64());
        if self.settings.access_log {
            log_access(session, exchange, status);
        }
    }

    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &PingoraError) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        _: &PingoraError,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// Pingora's side of the plain HTTP listener.
pub fn http_proxy(plain: PlainProxy) -> HttpProxy<PlainProxy> {
    let settings = plain.settings.clone();
    http_proxy_of(plain, &settings)
}
