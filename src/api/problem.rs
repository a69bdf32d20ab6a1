//! What a caller of the API is told where a request fails: JSON:API error objects.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::MEDIA_TYPE;
use crate::domain::label::InvalidLabel;
use crate::sites::input::InvalidInput;
use crate::store::Error as StoreError;
use crate::telemetry::seldom::Seldom;

/// Seconds after which a request that found the store away may come again.
const STORE_AWAY: u64 = 5;

/// The part of a request that is to blame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Blame {
    /// A value in the body, as a JSON pointer (RFC 6901).
    Pointer(String),
    /// A parameter of the query or the path.
    Parameter(String),
    /// A header field.
    Header(&'static str),
}

/// Why a request failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    blame: Option<Blame>,
    retry_after: Option<u64>,
}

impl Problem {
    /// A problem of this status.
    ///
    /// - `code`: a word for programs
    /// - `title`: the same for every problem of this code
    /// - `detail`: a sentence, with what to do
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, code, title, detail: detail.into(), blame: None, retry_after: None }
    }

    /// With the part of the request that is to blame.
    pub fn blaming(self, blame: Blame) -> Self {
        Self { blame: Some(blame), ..self }
    }

    /// With a value in the body that is to blame.
    pub fn at(self, pointer: &str) -> Self {
        self.blaming(Blame::Pointer(pointer.to_owned()))
    }

    /// With the seconds after which the request may come again.
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What all problems of its code are called.
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// Its sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Seconds after which the request may come again.
    pub fn seconds_to_wait(&self) -> Option<u64> {
        self.retry_after
    }

    /// There is no such thing, or it is somebody else's, which is the same to the caller.
    pub fn absent(what: &str, name: &str) -> Self {
        let detail = format!("There is no {what} {name:?} here.");
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail)
    }

    /// A value of the body is not as it should be.
    pub fn invalid(pointer: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", "Invalid value", detail).at(pointer)
    }

    /// The thing was changed since the version that the request is based on.
    pub fn newer(version: i64) -> Self {
        let detail = format!("It was changed meanwhile; its ETag is \"v{version}\". Get it again and retry.");
        Self::new(StatusCode::PRECONDITION_FAILED, "changed_meanwhile", "Changed meanwhile", detail)
            .blaming(Blame::Header("If-Match"))
    }

    /// Somebody must say who they are.
    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "No valid token", detail)
            .blaming(Blame::Header("Authorization"))
    }

    /// The error object (JSON:API §11).
    fn object(&self) -> serde_json::Value {
        let mut object = json!({
            "status": self.status.as_u16().to_string(),
            "code": self.code,
            "title": self.title,
            "detail": self.detail,
        });
        object["source"] = match &self.blame {
            Some(Blame::Pointer(pointer)) => json!({ "pointer": pointer }),
            Some(Blame::Parameter(parameter)) => json!({ "parameter": parameter }),
            Some(Blame::Header(header)) => json!({ "header": header }),
            None => return object,
        };
        object
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "errors": [self.object()] }).to_string();
        let mut response = (self.status, [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        static COMPLAINTS: Seldom = Seldom::new(std::time::Duration::from_secs(10));
        if let Some(unsaid) = COMPLAINTS.permit() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                unsaid,
                "the API could not be answered"
            );
        }
        if error.is_of_the_record() {
            let detail = "A stored record cannot be read by this version; the log says which one and why.";
            return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged_record", "Damaged record", detail);
        }
        let detail = "The store cannot be reached at the moment. Hostnames are served all the same; \
                      nothing was changed. Try again in a few seconds.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "Store unavailable", detail)
            .retry_after(STORE_AWAY)
    }
}

impl From<InvalidInput> for Problem {
    fn from(why: InvalidInput) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, why.code(), "Not a hostname to register", why.to_string())
    }
}

impl From<InvalidLabel> for Problem {
    fn from(why: InvalidLabel) -> Self {
        let detail = format!("This is no name: {why}.");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_name", "Invalid name", detail)
    }
}
