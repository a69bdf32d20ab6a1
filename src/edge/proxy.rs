//! Requests on HTTPS: checked, routed, sent to an origin or answered with a file.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error as PingoraError, ErrorSource};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::answer::{connection, fail, refuse, respond, told};
use super::connection::Listener;
use super::files;
use super::headers::{self, ForwardedHeaders, StrictTransportSecurity};
use super::listed::{HostnameSettings, Previews};
use super::middleware::{Facts, Middleware, Steps, without_case};
use super::request::{Counters, Exchange, log_access};
use super::route::{Route, Routes};
use super::settings::{Settings, http_proxy_of, set_timeouts};
use super::well_known::{ChallengeAnswers, ChallengeStep};
use super::{Error, framing};
use crate::domain::hostname::InvalidHostname;
use crate::telemetry::metrics::Metrics;

/// The request path of the HTTPS listener.
#[derive(Clone)]
pub struct EdgeProxy {
    routes: Arc<Routes>,
    steps: Steps,
    metrics: Arc<Metrics>,
    /// Of requests that no site has.
    unrouted: Counters,
    settings: Settings,
}

impl EdgeProxy {
    /// - `added`: steps that run after the edge's own (challenge answers, what is set for single
    ///   hostnames, forwarded headers, HSTS).
    pub fn new(
        routes: Arc<Routes>,
        challenges: Arc<dyn ChallengeAnswers>,
        added: Vec<Arc<dyn Middleware>>,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let own: Vec<Arc<dyn Middleware>> = vec![
            Arc::new(ChallengeStep::new(challenges, metrics.clone())),
            Arc::new(Previews),
            Arc::new(ForwardedHeaders),
            Arc::new(HostnameSettings::new(settings.https_port)),
            Arc::new(StrictTransportSecurity),
        ];
        let unrouted = Counters::new(&metrics, Listener::Https, "");
        Self { routes, steps: Steps::new(own, added), metrics, unrouted, settings }
    }

    /// Who asks, for which hostname, of which site.
    fn facts(&self, session: &Session, exchange: &Exchange) -> Result<Facts, Error> {
        let connection = connection(session)?;
        framing::check(session)?;
        let host = framing::host(session.req_header())?;
        let hostname = match framing::hostname(host, connection.sni.as_ref()) {
            // Hosts all the same, which no certificate of ours is for.
            Err(Error::Host(InvalidHostname::IpAddress | InvalidHostname::SingleLabel)) => {
                return Err(Error::Misdirected);
            }
            hostname => hostname?,
        };
        if !connection.presents(&hostname) {
            return Err(Error::Misdirected);
        }
        let found = self.routes.find(&hostname);
        Ok(Facts { connection, hostname, found, id: exchange.id })
    }

    async fn next_peer(&self, session: &Session, exchange: &mut Exchange) -> Result<Box<HttpPeer>, Error> {
        let http2 = headers::is_grpc(&session.req_header().headers);
        if let Some(chosen) = exchange.context(session).and_then(|request| self.steps.origin(request)) {
            return exchange.tries.take(chosen).peer(http2).await;
        }
        let route = exchange.facts.as_ref().and_then(|facts| facts.found.as_ref());
        let route = route.map(|found| found.route.clone()).ok_or(Error::Fault)?;
        loop {
            let target = exchange.tries.next(&route).ok_or(Error::NoOrigin)?;
            match target.peer(http2).await {
                Ok(peer) => return Ok(peer),
                Err(error) if exchange.tries.may_go_on(&route) => {
                    target.failed();
                    tracing::debug!(%error, "the next origin is tried");
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl ProxyHttp for EdgeProxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new()
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {
        // Pingora's default is a compression module that is switched off and still costs.
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> pingora_error::Result<bool> {
        set_timeouts(session, &self.settings);
        match self.facts(session, exchange) {
            Ok(mut facts) => {
                if !self.routes.is_complete() {
                    self.routes.settle(&facts.hostname).await;
                    facts.found = self.routes.find(&facts.hostname);
                }
                exchange.facts = Some(facts);
            }
            Err(error) => return Err(refuse(exchange, error)),
        }
        let Some(request) = exchange.context(session) else {
            return Err(refuse(exchange, Error::Fault));
        };
        if let Some(response) = self.steps.request(request).await {
            respond(session, exchange, &self.steps, *response).await?;
            return Ok(true);
        }
        match &exchange.facts {
            Some(Facts { found: None, hostname, .. }) => {
                let hostname = hostname.clone();
                Err(refuse(exchange, Error::NoSite(hostname)))
            }
            Some(facts) => match facts.route().and_then(|route| route.files.clone()) {
                Some(site) if self.steps.origin(request).is_none() => {
                    files::answer::answer(session, exchange, &self.steps, site).await?;
                    Ok(true)
                }
                _ => Ok(false),
            },
            None => Ok(false),
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> pingora_error::Result<()> {
        exchange.body += body.as_ref().map_or(0, |octets| octets.len() as u64);
        let least = self.settings.body_rate;
        // A body without a known length may be a stream that has nothing to say for hours.
        if end || least == 0 || !session.req_header().headers.contains_key(CONTENT_LENGTH) {
            return Ok(());
        }
        let elapsed = exchange.elapsed();
        if elapsed > self.settings.body_idle && exchange.body < least.saturating_mul(elapsed.as_secs()) {
            return Err(refuse(exchange, Error::SlowBody));
        }
        Ok(())
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> pingora_error::Result<Box<HttpPeer>> {
        match self.next_peer(session, exchange).await {
            Ok(peer) => Ok(peer),
            Err(error) => {
                if matches!(error, Error::Unresolved { .. }) {
                    tracing::warn!(%error, site = site(exchange), "no origin has an address");
                    return Err(refuse(exchange, Error::Unreachable));
                }
                Err(refuse(exchange, error))
            }
        }
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: std::os::fd::RawFd,
        _: Option<&Digest>,
        exchange: &mut Exchange,
    ) -> pingora_error::Result<()> {
        exchange.asked_origin = Some(Instant::now());
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> pingora_error::Result<()> {
        let Some(request) = exchange.context(session) else {
            return Err(refuse(exchange, Error::Fault));
        };
        // An origin gets the origin form, whatever the client sent (RFC 9112 §3.2.1).
        if head.version != Version::HTTP_2 && !matches!(head.raw_path().first(), Some(b'/' | b'*')) {
            let path = framing::path_and_query(request.head).map(<[u8]>::to_vec);
            head.set_raw_path(&path.unwrap_or_else(|_| b"/".to_vec()))?;
        }
        self.steps.outgoing(request, head);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> pingora_error::Result<()> {
        // The version is of our connection, not of the origin's (RFC 9110 §2.5).
        if head.version < Version::HTTP_11 {
            head.set_version(Version::HTTP_11);
        }
        if session.is_http2() {
            without_case(head, |_| ());
        }
        let upgraded = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if head.status.is_informational() && !upgraded {
            headers::remove_hop_by_hop(head);
            return Ok(());
        }
        if let Some(asked) = exchange.asked_origin.take() {
            self.metrics.upstream_seconds.observe(asked.elapsed().as_secs_f64());
        }
        headers::remove_hop_by_hop(head);
        if session.req_header().version < Version::HTTP_11 && head.remove_header(&TRANSFER_ENCODING).is_some()
        {
            // It knows no transfer coding (RFC 9112 §6.1): the end of the connection ends the answer.
            session.set_keepalive(None);
        }
        if let Some(request) = exchange.context(session) {
            self.steps.response(request, head);
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<PingoraError>,
    ) -> Box<PingoraError> {
        if let Some(target) = exchange.tries.last() {
            target.failed();
        }
        let chosen = exchange.context(session).and_then(|request| self.steps.origin(request)).is_some();
        let route = exchange.facts.as_ref().and_then(|facts| facts.route());
        // Nothing was sent, so any method may try the next origin.
        let again = !chosen && route.is_some_and(|route| exchange.tries.may_go_on(route));
        error.set_retry(again);
        if again {
            tracing::debug!(site = site(exchange), origin = %peer._address, %error, "the next origin is tried");
        }
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<PingoraError>,
        _: &mut Exchange,
        reused: bool,
    ) -> Box<PingoraError> {
        // The origin may have acted on what it got: only a request that changes nothing is sent
        // again, and only where a kept connection turned out to be dead.
        let safe = session.req_header().method.is_safe();
        if safe && !session.retry_buffer_truncated() {
            error.retry.decide_reuse(reused);
        } else {
            error.set_retry(false);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &PingoraError,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let refused = exchange.refused.take().or_else(|| told(error));
        if *error.esource() == ErrorSource::Upstream {
            let origin = exchange.tries.last().map(tracing::field::display);
            tracing::warn!(site = site(exchange), origin, %error, id = exchange.id.as_str(), "an origin failed");
        }
        fail(session, exchange, &self.steps, refused).await
    }

    async fn logging(&self, session: &mut Session, _: Option<&PingoraError>, exchange: &mut Exchange) {
        let status = session.response_written().map(|head| head.status);
        let route = exchange.facts.as_ref().and_then(|facts| facts.route());
        route.map_or(&self.unrouted, |route| &route.counters).count(status);
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

fn site(exchange: &Exchange) -> Option<&str> {
    exchange.facts.as_ref()?.route().map(Route::name)
}

/// Pingora's side of the HTTPS listener.
pub fn https_proxy(edge: EdgeProxy) -> HttpProxy<EdgeProxy> {
    let settings = edge.settings.clone();
    http_proxy_of(edge, &settings)
}
