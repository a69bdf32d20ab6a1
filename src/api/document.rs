//! JSON:API documents of answers.

use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::MEDIA_TYPE;
use super::problem::{Blame, Problem};

/// One resource.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Resource<T> {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its identifier, unique among those of its type that the caller sees.
    pub id: String,
    /// All about it.
    pub attributes: T,
}

/// A document with one resource.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Document<T> {
    /// The resource.
    pub data: Resource<T>,
}

/// A document with a page of resources.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The resources, in order.
    pub data: Vec<Resource<T>>,
    /// Where the next page is.
    pub links: Links,
}

impl<T> Page<T> {
    /// The page of `found`, which holds one entry more than `size` where there is a next page.
    ///
    /// - `path`: where the list is
    /// - `place`: the parameters that lead behind an entry
    pub fn of<F>(
        mut found: Vec<F>,
        size: u32,
        path: &str,
        place: impl FnOnce(&F) -> Vec<(&'static str, String)>,
        resource: impl Fn(&F) -> Resource<T>,
    ) -> Self {
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let next = found.last().filter(|_| more).map(|last| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(place(last)).append_pair("page[size]", &size.to_string());
            format!("{path}?{}", query.finish())
        });
        Self { data: found.iter().map(resource).collect(), links: Links { next } }
    }
}

/// Links of a page.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Links {
    /// Path and query of the next page; `null` at the end.
    pub next: Option<String>,
}

/// One error (JSON:API §11).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorObject {
    /// The HTTP status, as a text.
    #[schema(example = "422")]
    pub status: String,
    /// A word for programs.
    #[schema(example = "hostname_is_a_public_suffix")]
    pub code: String,
    /// The same for every error of this code.
    #[schema(example = "Not a hostname to register")]
    pub title: String,
    /// A sentence, with what to do.
    pub detail: String,
    /// The part of the request that is to blame.
    #[schema(nullable = false)]
    pub source: Option<ErrorSource>,
}

/// The part of a request that is to blame; one of them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorSource {
    /// A value in the body, as a JSON pointer (RFC 6901).
    #[schema(nullable = false, example = "/data/attributes/hostname")]
    pub pointer: Option<String>,
    /// A parameter of the query.
    #[schema(nullable = false)]
    pub parameter: Option<String>,
    /// A header field.
    #[schema(nullable = false)]
    pub header: Option<String>,
}

/// A document with errors.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Errors {
    /// At least one.
    pub errors: Vec<ErrorObject>,
}

/// An answer with a document.
#[derive(Debug)]
pub struct Answer<T> {
    status: StatusCode,
    headers: HeaderMap,
    document: T,
}

impl<T: Serialize> Answer<T> {
    /// 200 with `document`.
    pub fn ok(document: T) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), document }
    }

    /// 201 with `document`, which is found at `location` from now on.
    pub fn created(document: T, location: &str) -> Self {
        let answer = Self { status: StatusCode::CREATED, ..Self::ok(document) };
        answer.header(LOCATION, location)
    }

    /// With the version that changes can be based on.
    pub fn version(self, version: i64) -> Self {
        self.header(ETAG, &format!("\"v{version}\""))
    }

    fn header(mut self, name: axum::http::HeaderName, value: &str) -> Self {
        // Names and numbers hold nothing that a field value may not.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.document) {
            Ok(body) => (self.status, self.headers, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response(),
            Err(why) => {
                let detail = format!("The answer could not be written: {why}.");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "Fault", detail).into_response()
            }
        }
    }
}

/// The version that `If-Match` names (RFC 9110 §13.1.1); `None`: any.
pub fn based_on(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(axum::http::header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix("\"v").and_then(|text| text.strip_suffix('"')).map(str::parse);
    match version {
        Some(Ok(version)) => Ok(Some(version)),
        _ => {
            let detail = "If-Match is the ETag of an earlier answer, such as \"v3\".";
            let problem =
                Problem::new(StatusCode::PRECONDITION_FAILED, "unknown_etag", "Unknown ETag", detail);
            Err(problem.blaming(Blame::Header("If-Match")))
        }
    }
}
