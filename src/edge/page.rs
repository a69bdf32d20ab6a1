//! The small pages the edge answers with itself: HTML for people, JSON for programs.

use http::header::{ACCEPT, CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use super::Error;
use super::middleware::Response;

/// The answer that tells of `error`.
///
/// - `headers`: the request's; `Accept` chooses the form, HTML unless JSON is asked for.
/// - `id`: the request's id, for the client to quote.
pub fn answer(error: &Error, headers: &HeaderMap, id: &str) -> Response {
    let status = error.status();
    let (kind, body) = if wants_json(headers) {
        ("application/json", json(error, status, id))
    } else {
        ("text/html; charset=utf-8", html(error, status, id))
    };
    let response = Response::with_body(status, kind, body)
        .header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .header(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    match error.retry_after() {
        Some(seconds) => response.header(RETRY_AFTER, HeaderValue::from(seconds)),
        None => response,
    }
}

/// Whether `Accept` names JSON and does not name HTML before it. Weights are not read: a
/// browser names HTML first, and a program that wants JSON does not name HTML at all.
fn wants_json(headers: &HeaderMap) -> bool {
    let kinds = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|kind| kind.split(';').next().unwrap_or_default().trim());
    for kind in kinds {
        if kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml") {
            return false;
        }
        let subtype = kind.split_once('/').map_or("", |(_, subtype)| subtype);
        if subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json") {
            return true;
        }
    }
    false
}

/// A JSON:API error document, as the admin API's.
fn json(error: &Error, status: StatusCode, id: &str) -> String {
    let document = serde_json::json!({ "errors": [{
        "id": id,
        "status": status.as_str(),
        "code": error.code(),
        "title": title(error, status),
        "detail": error.to_string(),
    }] });
    document.to_string()
}

fn title(error: &Error, status: StatusCode) -> &'static str {
    match error {
        Error::Pending(_) => "Almost there",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

fn html(error: &Error, status: StatusCode, id: &str) -> String {
    let refresh = match (error, error.retry_after()) {
        (Error::Pending(_), Some(seconds)) => format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"),
        _ => String::new(),
    };
    let (code, title, text) = (status.as_str(), title(error, status), escape(&error.to_string()));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\">\
         {refresh}<title>{title}</title><style>{STYLE}</style></head>\
         <body><main><p class=\"code\">{code}</p><h1>{title}</h1><p>{text}</p>\
         <p class=\"id\">Request {id}</p></main></body></html>\n"
    )
}

const STYLE: &str = "\
    :root{color-scheme:light dark;--ink:#1c2733;--faint:#68788a;--paper:#f6f8fa;--mark:#0a6ebd}\
    @media(prefers-color-scheme:dark){:root{--ink:#e4eaf0;--faint:#8b9bad;--paper:#12181f;--mark:#6bb6f2}}\
    body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--paper);color:var(--ink);\
    font:17px/1.5 system-ui,sans-serif}\
    main{max-width:34rem;padding:2rem}h1{font-size:1.7rem;line-height:1.2;margin:.2rem 0 1rem}\
    p{margin:.5rem 0}.code{color:var(--mark);font-weight:600;letter-spacing:.08em}\
    .id{color:var(--faint);font:13px ui-monospace,monospace;margin-top:2rem;overflow-wrap:anywhere}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_form() {
        let json = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            wants_json(&headers)
        };
        assert!(json("application/json"));
        assert!(json("application/vnd.api+json;q=0.9, */*"));
        assert!(!json("text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"));
        assert!(!json("*/*"));
        assert!(!wants_json(&HeaderMap::new()));
    }

    #[test]
    fn a_page_is_small_and_needs_nothing_from_elsewhere() {
        let page = html(&Error::Fault, StatusCode::INTERNAL_SERVER_ERROR, "0123");
        assert!(page.len() < 2_000, "{}", page.len());
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
        assert!(page.contains("Request 0123"));
    }
}
