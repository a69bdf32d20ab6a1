//! Forms that come back: from these pages alone, and with what their session gave them.

use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use zeroize::Zeroizing;

use super::super::body::LONGEST;
use super::super::problem::Problem;
use super::refusal::Refusal;
use super::routes::Dashboard;
use super::session::Visitor;

/// The field that carries the session's word.
pub const FORM_TOKEN: &str = "form_token";

/// The fields of a form, of which each is taken once. It came from these pages, by whomever.
pub struct Fields(HashMap<String, Zeroizing<String>>);

impl Fields {
    /// Takes the field `name` without what is blank around it; an empty one counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Zeroizing<String>> {
        let text = self.0.remove(name)?;
        let text = Zeroizing::new(text.trim().to_owned());
        (!text.is_empty()).then_some(text)
    }

    /// The same as a text that is no secret.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|text| text.to_string())
    }
}

impl FromRequest<Dashboard> for Fields {
    type Rejection = Refusal;

    async fn from_request(request: Request, dashboard: &Dashboard) -> Result<Self, Refusal> {
        if !from_here(request.headers(), dashboard.tls()) {
            return Err(foreign().into());
        }
        let form = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !form.is_some_and(|form| form.starts_with("application/x-www-form-urlencoded")) {
            let detail = "This is not one of the dashboard's forms.";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "no_form", "No form", detail).into());
        }
        let octets = to_bytes(request.into_body(), LONGEST).await.map_err(|_| {
            let detail = format!("A form has at most {LONGEST} octets.");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "form_too_large", "Form too large", detail)
        })?;
        let fields = url::form_urlencoded::parse(&octets);
        Ok(Self(
            fields.map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned()))).collect(),
        ))
    }
}

/// A form of somebody who is signed in.
pub struct Form {
    /// Who sent it.
    pub visitor: Visitor,
    /// What it says.
    pub fields: Fields,
}

impl FromRequest<Dashboard> for Form {
    type Rejection = Refusal;

    async fn from_request(request: Request, dashboard: &Dashboard) -> Result<Self, Refusal> {
        let visitor = Visitor::of(dashboard, request.headers()).await?;
        let mut fields = Fields::from_request(request, dashboard).await?;
        let token = fields.take(FORM_TOKEN);
        let told = token.as_ref().map(|token| token.as_bytes()).unwrap_or_default();
        if verify_slices_are_equal(told, visitor.form_token.as_bytes()).is_err() {
            return Err(foreign().into());
        }
        Ok(Self { visitor, fields })
    }
}

fn foreign() -> Problem {
    let detail = "The form did not come from this page, or from before you signed in. Nothing was changed. \
                  Go back, load the page again and retry.";
    Problem::new(StatusCode::FORBIDDEN, "foreign_form", "Not from this page", detail)
}

/// Whether a browser says that one of our own pages sent this request (Fetch Metadata §2.3, and for
/// browsers without it RFC 6454 §7). Every browser says one or the other with a POST; where both
/// are there the first decides, as the second is `null` under our referrer policy.
fn from_here(headers: &HeaderMap, tls: bool) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if tls { "https" } else { "http" };
    match (text(ORIGIN), text(HOST)) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(&format!("{scheme}://{host}")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_form_of_our_own_pages_is_from_here() {
        let says = |pairs: &[(&'static str, &str)], tls| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, "127.0.0.1:9443".parse().unwrap());
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            from_here(&headers, tls)
        };
        assert!(says(&[("sec-fetch-site", "same-origin"), ("origin", "null")], false));
        assert!(says(&[("origin", "http://127.0.0.1:9443")], false));
        assert!(says(&[("origin", "https://127.0.0.1:9443")], true));
        assert!(!says(&[("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:9443")], false));
        assert!(!says(&[("sec-fetch-site", "none")], false));
        for origin in ["null", "http://127.0.0.1:9444", "https://127.0.0.1:9443", "http://evil.test"] {
            assert!(!says(&[("origin", origin)], false), "{origin}");
        }
        assert!(!says(&[], false));
    }
}
