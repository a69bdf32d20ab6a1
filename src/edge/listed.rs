//! What was set for single hostnames: redirects, metadata, previews.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::middleware::{Middleware, Outcome, Outgoing, RequestContext, Response, ResponseHeaders};
use super::plain::location;
use super::{Error, framing, page};

/// The header by which an origin gets a hostname's metadata.
pub const METADATA: &str = "X-Nameplate-Metadata";
const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");

/// The step that does what was set for the hostname. Runs after the one that takes away what a client
/// claims.
pub struct HostnameSettings {
    https_port: u16,
}

impl HostnameSettings {
    /// - `https_port`: the port that clients reach HTTPS at; 443 is left out of a URL.
    pub fn new(https_port: u16) -> Self {
        Self { https_port }
    }
}

impl Middleware for HostnameSettings {
    fn request(&self, request: &RequestContext<'_>) -> Outcome {
        let redirect =
            request.found().and_then(|found| found.listed.as_ref()?.custom.as_ref()?.redirect.as_ref());
        let Some(redirect) = redirect else { return Outcome::Continue };
        let target = match framing::path_and_query(request.head) {
            Ok(b"*") => b"/".as_slice(),
            Ok(target) => target,
            Err(error) => return page::answer(&error, request.headers(), request.request_id()).into(),
        };
        let status = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
        match location(&redirect.to, self.https_port, target) {
            Some(location) => Response::redirect(status, location).into(),
            None => page::answer(&Error::Target, request.headers(), request.request_id()).into(),
        }
    }

    fn outgoing(&self, request: &RequestContext<'_>, outgoing: &mut Outgoing<'_>) {
        let custom = request.found().and_then(|found| found.listed.as_ref()?.custom.as_ref());
        if let Some(metadata) = custom.and_then(|custom| custom.metadata.as_ref()) {
            outgoing.set(METADATA, metadata.clone());
        }
    }
}

/// The step that shows a site by a preview hostname as its own hostname will show it. Runs before those
/// that tell the origin what it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Previews;

impl Middleware for Previews {
    fn outgoing(&self, request: &RequestContext<'_>, outgoing: &mut Outgoing<'_>) {
        if let Some(found) = request.found().filter(|found| found.preview)
            && let Some(listed) = found.listed.as_ref().filter(|listed| !listed.name.is_wildcard())
            && let Ok(host) = HeaderValue::from_str(listed.name.as_str())
        {
            outgoing.set("Host", host);
        }
    }

    fn response(&self, request: &RequestContext<'_>, headers: &mut ResponseHeaders<'_>) {
        if request.found().is_some_and(|found| found.preview) {
            // Search engines are to know a site by its own hostname.
            headers.set_known("X-Robots-Tag", X_ROBOTS_TAG, HeaderValue::from_static("noindex"));
        }
    }
}
