//! The answer with a file, sent in pieces as fast as the client takes them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, LAST_MODIFIED, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use pingora_error::{Error as PingoraError, ErrorType};
use pingora_proxy::Session;
use tokio::task::spawn_blocking;

use super::Error;
use super::accepted::Accepted;
use super::look::{Found, Look, Sending};
use super::path::{FilePath, Unfit};
use super::place;
use super::precondition::{Asked, Part};
use crate::domain::files::Files;
use crate::edge::answer::{begin, refuse, respond};
use crate::edge::middleware::{RequestContext, Response, Steps};
use crate::edge::request::Exchange;
use crate::edge::{Error as Refusal, framing, page};
use crate::telemetry::seldom::Seldom;

/// What is in a folder whose files never change: kept for a year, and not even asked about on a reload
/// (RFC 8246).
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// A disk that fails does so for every request.
static FAULTS: Seldom = Seldom::new(Duration::from_secs(1));
/// A file that may not be read can be asked for by anybody, as often as they like.
static CLOSED: Seldom = Seldom::new(Duration::from_secs(1));

/// Answers a request with a file of `site`, or says why not.
pub(in crate::edge) async fn answer(
    session: &mut Session,
    exchange: &mut Exchange,
    steps: &Steps,
    site: Arc<Files>,
) -> pingora_error::Result<()> {
    let Some(request) = exchange.context(session) else {
        return Err(refuse(exchange, Refusal::Fault));
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(session, exchange, steps, wrong_method()).await;
    }
    let look = match look_of(request, site.clone()) {
        Ok(look) => look,
        Err(refusal) => return Err(refuse(exchange, refusal)),
    };
    let path = look.path.clone();
    let found = match spawn_blocking(|| look.find()).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            let refusal = refusal(&error, request);
            return Err(refuse(exchange, refusal));
        }
        Err(error) => return Err(refuse(exchange, fault(&error, request))),
    };
    match (found, path) {
        (Found::File(file), _) => {
            let headers = headers(&file, &site);
            send(session, exchange, steps, *file, headers).await
        }
        (Found::NoSlash, Some(path)) => {
            let response = redirect(&path, request);
            respond(session, exchange, steps, response).await
        }
        (Found::NoSlash, None) => Err(refuse(exchange, Refusal::Fault)),
    }
}

fn wrong_method() -> Response {
    let words = "A file can be asked for by GET and HEAD.\n";
    Response::with_body(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", words)
        .header(ALLOW, HeaderValue::from_static("GET, HEAD"))
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

/// What is to be looked for.
fn look_of(request: RequestContext<'_>, files: Arc<Files>) -> Result<Look, Refusal> {
    let target = framing::path_and_query(request.head)?;
    let raw = target.split(|&octet| octet == b'?').next().unwrap_or_default();
    let path = match FilePath::of(raw) {
        Ok(path) => Some(path),
        Err(Unfit::Hidden) => None,
        Err(Unfit::Malformed) => return Err(Refusal::BadPath),
    };
    let found = request.found();
    let listed = found.and_then(|found| found.listed.as_ref());
    // A preview shows what the hostname itself will show.
    let preview = found.filter(|found| found.preview).and_then(|_| listed?.name.hostname());
    let hostname = preview.as_ref().unwrap_or(request.hostname());
    let metadata = listed.and_then(|listed| listed.custom.as_ref()?.metadata.as_ref()?.to_str().ok());
    let below = place::below(&files.root, hostname, metadata).map_err(|why| refusal(&why.into(), request))?;
    Ok(Look {
        files,
        below,
        path,
        accepted: Accepted::of(request.headers()),
        asked: Asked::of(request.method(), request.headers()),
    })
}

/// What a client is told, and the log.
fn refusal(error: &Error, request: RequestContext<'_>) -> Refusal {
    let (hostname, site, path) = (request.hostname(), request.site(), request.head.raw_path().escape_ascii());
    let told = error as &dyn std::error::Error;
    match error {
        Error::Absent => Refusal::NoFile,
        Error::NoPlace(_) => {
            tracing::debug!(%hostname, site, error = told, "a hostname of a static site has no folder");
            Refusal::NoFile
        }
        Error::Forbidden => {
            if let Some(not_written) = CLOSED.permit() {
                tracing::warn!(%hostname, site, %path, error = told, not_written, "a file of a static site may not be read");
            }
            Refusal::ClosedFile
        }
        Error::Root { .. } | Error::Kernel(_) | Error::Read(_) => fault(told, request),
    }
}

fn fault(error: &(dyn std::error::Error + 'static), request: RequestContext<'_>) -> Refusal {
    let (hostname, site, path) = (request.hostname(), request.site(), request.head.raw_path().escape_ascii());
    if let Some(not_written) = FAULTS.permit() {
        tracing::error!(%hostname, site, %path, error, not_written, "a static site could not be read");
    }
    Refusal::Fault
}

/// To the same path with a slash behind it, at the same host, with the same query.
fn redirect(path: &FilePath, request: RequestContext<'_>) -> Response {
    let mut location = path.with_slash();
    if let Some(query) = request.query().filter(|query| !query.is_empty()) {
        location.push('?');
        location.push_str(query);
    }
    match HeaderValue::from_maybe_shared(Bytes::from(location)) {
        Ok(location) => Response::redirect(StatusCode::MOVED_PERMANENTLY, location),
        Err(_) => page::answer(&Refusal::BadPath, request.headers(), request.request_id()),
    }
}

fn headers(file: &Sending, site: &Files) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(10);
    let mut add =
        |name: HeaderName, text: &str| headers.extend(HeaderValue::from_str(text).ok().map(|v| (name, v)));
    add(X_CONTENT_TYPE_OPTIONS, "nosniff");
    if file.varies {
        add(VARY, "Accept-Encoding");
    }
    if file.part == Part::Unsatisfiable {
        add(CONTENT_RANGE, &format!("bytes */{}", file.length));
        return headers;
    }
    if file.part == Part::Failed {
        return headers;
    }
    add(CACHE_CONTROL, cache_control(&file.path, site));
    if let Some(validator) = &file.validator {
        add(ETAG, &validator.etag);
        add(LAST_MODIFIED, &validator.last_modified());
    }
    if file.part == Part::NotModified {
        return headers;
    }
    add(CONTENT_TYPE, &content_type(&file.path));
    if let Some(coding) = file.coding {
        add(CONTENT_ENCODING, coding.word());
    }
    if file.validator.is_some() {
        add(ACCEPT_RANGES, "bytes");
    }
    if let Part::From { first, length } = file.part {
        add(CONTENT_RANGE, &format!("bytes {first}-{}/{}", first + length - 1, file.length));
    }
    headers
}

fn cache_control<'a>(path: &[u8], site: &'a Files) -> &'a str {
    let within = |folder: &Arc<str>| {
        // A path has no slash before it.
        folder.strip_prefix('/').is_some_and(|folder| path.starts_with(folder.as_bytes()))
    };
    if site.immutable.iter().any(within) { IMMUTABLE } else { &site.cache_control }
}

/// By the end of the name; text is UTF-8.
fn content_type(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let name = path.rsplit('/').next().unwrap_or_default();
    let essence = match mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream") {
        // Names of before RFC 9239 and RFC 8081.
        "application/javascript" => "text/javascript",
        "application/font-woff" => "font/woff",
        essence => essence,
    };
    let charset = if essence.starts_with("text/") { "; charset=utf-8" } else { "" };
    format!("{essence}{charset}")
}

async fn send(
    session: &mut Session,
    exchange: &mut Exchange,
    steps: &Steps,
    file: Sending,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> pingora_error::Result<()> {
    let length = match file.part {
        Part::Whole => file.length,
        Part::From { length, .. } => length,
        Part::NotModified | Part::Failed | Part::Unsatisfiable => 0,
    };
    if !begin(session, exchange, steps, file.status, headers, length).await? {
        return Ok(());
    }
    let (mut piece, mut rest) = (file.first, file.rest);
    loop {
        let last = rest.left() == 0;
        // The next piece is read while the client takes this one.
        let next = (!last).then(|| spawn_blocking(move || rest.read().map(|piece| (piece, rest))));
        session.write_response_body(Some(piece), last).await?;
        let Some(next) = next else { return Ok(()) };
        (piece, rest) = match next.await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Err(broken_off(&error, session, exchange)),
            Err(error) => return Err(broken_off(&error, session, exchange)),
        };
    }
}

/// The connection's end tells the client that the file is not whole.
fn broken_off(
    error: &(dyn std::error::Error + 'static),
    session: &Session,
    exchange: &mut Exchange,
) -> Box<PingoraError> {
    if let Some(request) = exchange.context(session) {
        let _told = fault(error, request);
    }
    PingoraError::explain(ErrorType::InternalError, "a file could not be read to its end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_the_end_of_the_name_and_text_is_utf_8() {
        for (path, wanted) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.CSS", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "text/javascript; charset=utf-8"),
            ("data.json", "application/json"),
            ("app.wasm", "application/wasm"),
            ("font.woff2", "font/woff2"),
            ("font.woff", "font/woff"),
            ("picture.svg", "image/svg+xml"),
            ("picture.avif", "image/avif"),
            ("site.webmanifest", "application/manifest+json"),
            ("LICENSE", "application/octet-stream"),
            ("a.html/b", "application/octet-stream"),
            ("archive.tar.gz", "application/gzip"),
        ] {
            assert_eq!(content_type(path.as_bytes()), wanted, "{path}");
        }
    }
}
