//! What a visitor is shown where a page cannot be.

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::super::problem::Problem;
use super::frame::{self, Frame};
use super::routes::SIGN_IN;

/// Why a page cannot be shown.
#[derive(Debug)]
pub enum Refusal {
    /// Somebody must sign in first.
    SignIn,
    /// The same as a caller of the API is told.
    Problem(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<crate::store::Error> for Refusal {
    fn from(error: crate::store::Error) -> Self {
        Self::Problem(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn => (StatusCode::SEE_OTHER, [(LOCATION, SIGN_IN)]).into_response(),
            Self::Problem(problem) => shown(&problem),
        }
    }
}

fn shown(problem: &Problem) -> Response {
    let frame = Frame { title: problem.title(), ..Frame::default() };
    let main = html! {
        h1 { (problem.title()) }
        (frame::trouble(problem.detail()))
        p { a href="/" { "To the hostnames" } }
    };
    let mut response = (problem.status(), frame.page(&main)).into_response();
    if let Some(seconds) = problem.seconds_to_wait() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
