//! The request path as a list of steps, which a program that uses this library can add to.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Method, StatusCode};
use pingora_http::{RequestHeader, ResponseHeader};

use super::connection::{Connection, Listener};
use super::origin::Target;
use super::request::RequestId;
use super::route::{Found, Route};
use crate::domain::hostname::Hostname;

/// One step of the request path. Every hook does nothing unless it is overridden; a hook that
/// is not overridden costs a call.
///
/// Hooks run in the order of the list: first [`request`](Self::request) of every step (and
/// [`later`](Self::later) where it asks for that) until one responds, then
/// [`origin`](Self::origin) until one chooses, then [`outgoing`](Self::outgoing) of every step
/// for each try at an origin, then [`response`](Self::response) of every step, for answers of the
/// origin and for our own.
#[async_trait]
pub trait Middleware: Send + Sync + 'static {
    /// Looks at a request whose hostname is known; may answer it. Must not block.
    fn request(&self, request: &RequestContext<'_>) -> Outcome {
        let _ = request;
        Outcome::Continue
    }

    /// The part of [`request`](Self::request) that waits for something; runs only where that
    /// said [`Outcome::Later`], as it costs an allocation. Saying `Later` here continues.
    async fn later(&self, request: &RequestContext<'_>) -> Outcome {
        let _ = request;
        Outcome::Continue
    }

    /// Chooses where the request goes; `None` leaves it to the steps after it, in the end to
    /// the site's origins in turn. A target chosen here is tried once.
    fn origin(&self, request: &RequestContext<'_>) -> Option<Arc<Target>> {
        let _ = request;
        None
    }

    /// Changes what is sent to the origin.
    fn outgoing(&self, request: &RequestContext<'_>, outgoing: &mut Outgoing<'_>) {
        let _ = (request, outgoing);
    }

    /// Changes the header that is sent to the client. Not called for 1xx.
    fn response(&self, request: &RequestContext<'_>, headers: &mut ResponseHeaders<'_>) {
        let _ = (request, headers);
    }
}

/// What a step decided.
#[derive(Debug)]
pub enum Outcome {
    /// The next step is asked.
    Continue,
    /// This is the answer; no further step is asked and no origin.
    Respond(Box<Response>),
    /// [`Middleware::later`] is asked.
    Later,
}

/// An answer of our own.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status; not 1xx.
    pub status: StatusCode,
    /// Its header, without Content-Length, Date and Connection.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// An answer without a body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// An answer with a body of the media type `content_type`.
    pub fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::new(status).header(CONTENT_TYPE, HeaderValue::from_static(content_type)).body(body)
    }

    /// A redirect to `location`.
    pub fn redirect(status: StatusCode, location: HeaderValue) -> Self {
        Self::new(status).header(LOCATION, location)
    }

    /// Adds a header field.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Self {
        Self::Respond(Box::new(response))
    }
}

/// What is known of a request once its host is read.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) connection: Arc<Connection>,
    pub(super) hostname: Hostname,
    pub(super) found: Option<Found>,
    pub(super) id: RequestId,
}

impl Facts {
    pub(super) fn route(&self) -> Option<&Route> {
        self.found.as_ref().map(|found| &*found.route)
    }
}

/// A request as a step sees it.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    pub(super) facts: &'a Facts,
    pub(super) head: &'a RequestHeader,
}

impl<'a> RequestContext<'a> {
    /// The hostname the client asked for: of the Host header, without the port.
    pub fn hostname(&self) -> &'a Hostname {
        &self.facts.hostname
    }

    /// The name of the hostname's site; `None` where no site has it, and on plain HTTP.
    pub fn site(&self) -> Option<&'a str> {
        self.route().map(Route::name)
    }

    pub(super) fn route(&self) -> Option<&'a Route> {
        self.facts.route()
    }

    pub(super) fn found(&self) -> Option<&'a Found> {
        self.facts.found.as_ref()
    }

    /// The client's address, by the PROXY protocol where that is trusted.
    pub fn client(&self) -> SocketAddr {
        self.facts.connection.client
    }

    /// Our address that the client connected to.
    pub fn local(&self) -> SocketAddr {
        self.facts.connection.local
    }

    /// The listener it came in by.
    pub fn listener(&self) -> Listener {
        self.facts.connection.listener
    }

    /// 32 hexadecimal digits, fresh for each request; also in the answer's `X-Request-Id`.
    pub fn request_id(&self) -> &'a str {
        self.facts.id.as_str()
    }

    /// Its method.
    pub fn method(&self) -> &'a Method {
        &self.head.method
    }

    /// Path of the target, `*` for `OPTIONS *`; not decoded.
    pub fn path(&self) -> &'a str {
        self.head.uri.path()
    }

    /// Query of the target, without `?`; not decoded.
    pub fn query(&self) -> Option<&'a str> {
        self.head.uri.query()
    }

    /// The first header field of this name.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&'a HeaderValue> {
        self.head.headers.get(name)
    }

    /// All header fields, as the client sent them.
    pub fn headers(&self) -> &'a HeaderMap {
        &self.head.headers
    }
}

/// The request as it goes to the origin.
#[derive(Debug)]
pub struct Outgoing<'a>(pub(super) &'a mut RequestHeader);

impl Outgoing<'_> {
    /// All header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Sets a header field; every other of this name goes.
    pub fn set(&mut self, name: &'static str, value: HeaderValue) {
        if let Err(error) = self.0.insert_header(name, value) {
            tracing::debug!(%error, name, "a header field for the origin was refused");
        }
    }

    /// Sets header fields, each by its name as written and as compared. Much cheaper than one by
    /// one where names keep no case, as those of HTTP/2 do not.
    pub(super) fn set_all<const N: usize>(&mut self, fields: [(&'static str, HeaderName, HeaderValue); N]) {
        if !self.is_its_parts() {
            return fields.into_iter().for_each(|(written, _, value)| self.set(written, value));
        }
        let end_stream = self.0.send_end_stream();
        let nothing = RequestHeader::from(http::Request::new(()).into_parts().0);
        let mut parts = http::request::Parts::from(std::mem::replace(self.0, nothing));
        parts.headers.reserve(N);
        for (_, name, value) in fields {
            parts.headers.insert(name, value);
        }
        *self.0 = RequestHeader::from(parts);
        if let Some(end_stream) = end_stream {
            self.0.set_send_end_stream(end_stream);
        }
    }

    /// Whether Pingora keeps nothing beside its parts: neither the case of names nor a target that
    /// differs from the URI's.
    fn is_its_parts(&self) -> bool {
        let target = self.0.uri.path_and_query().map(|target| target.as_str().as_bytes());
        !self.0.has_case() && target == Some(self.0.raw_path())
    }

    /// Removes all header fields of this name.
    pub fn remove(&mut self, name: &str) {
        self.0.remove_header(name);
    }

    /// Sets path and query. Returns whether `target` begins with `/` and could be taken.
    pub fn set_target(&mut self, target: &str) -> bool {
        target.starts_with('/') && self.0.set_raw_path(target.as_bytes()).is_ok()
    }
}

/// The header of an answer as it goes to the client.
#[derive(Debug)]
pub struct ResponseHeaders<'a>(pub(super) &'a mut ResponseHeader);

impl ResponseHeaders<'_> {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// All header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// Sets a header field; every other of this name goes.
    pub fn set(&mut self, name: &'static str, value: HeaderValue) {
        if let Err(error) = self.0.insert_header(name, value) {
            tracing::debug!(%error, name, "a header field for the client was refused");
        }
    }

    /// As [`set`](Self::set), for the name as written and as compared. Much cheaper where names
    /// keep no case.
    pub(super) fn set_known(&mut self, written: &'static str, name: HeaderName, value: HeaderValue) {
        if self.0.has_case() || self.0.get_reason_phrase() != self.0.status.canonical_reason() {
            return self.set(written, value);
        }
        without_case(self.0, |parts| drop(parts.headers.insert(name, value)));
    }

    /// Adds a header field beside those of this name, as `Set-Cookie` needs it.
    pub fn append(&mut self, name: &'static str, value: HeaderValue) {
        if let Err(error) = self.0.append_header(name, value) {
            tracing::debug!(%error, name, "a header field for the client was refused");
        }
    }

    /// Removes all header fields of this name.
    pub fn remove(&mut self, name: &str) {
        self.0.remove_header(name);
    }
}

/// Changes the parts of a header of which Pingora then keeps nothing else: neither how its names
/// were written nor a reason phrase of its own, neither of which HTTP/2 can carry.
pub(super) fn without_case(head: &mut ResponseHeader, change: impl FnOnce(&mut http::response::Parts)) {
    let nothing = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let mut parts = http::response::Parts::from(std::mem::replace(head, nothing));
    change(&mut parts);
    *head = ResponseHeader::from(parts);
}

/// The steps of one listener, in order.
#[derive(Clone)]
pub struct Steps(Arc<[Arc<dyn Middleware>]>);

impl Steps {
    /// `own` first, then `added`.
    pub(super) fn new(own: Vec<Arc<dyn Middleware>>, added: Vec<Arc<dyn Middleware>>) -> Self {
        Self(own.into_iter().chain(added).collect())
    }

    /// The first answer that a step gives.
    pub(super) async fn request(&self, request: RequestContext<'_>) -> Option<Box<Response>> {
        for step in self.0.iter() {
            let mut outcome = step.request(&request);
            if matches!(outcome, Outcome::Later) {
                outcome = step.later(&request).await;
            }
            if let Outcome::Respond(response) = outcome {
                return Some(response);
            }
        }
        None
    }

    pub(super) fn origin(&self, request: RequestContext<'_>) -> Option<Arc<Target>> {
        self.0.iter().find_map(|step| step.origin(&request))
    }

    pub(super) fn outgoing(&self, request: RequestContext<'_>, head: &mut RequestHeader) {
        let mut outgoing = Outgoing(head);
        self.0.iter().for_each(|step| step.outgoing(&request, &mut outgoing));
    }

    pub(super) fn response(&self, request: RequestContext<'_>, head: &mut ResponseHeader) {
        let mut headers = ResponseHeaders(head);
        self.0.iter().for_each(|step| step.response(&request, &mut headers));
    }
}
