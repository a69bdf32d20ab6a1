//! Signing in by a token, and out.

use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::form::{Fields, Form};
use super::frame::{self, Frame, Page};
use super::refusal::Refusal;
use super::routes::{Dashboard, SIGN_IN};
use super::session::Visitor;

/// Shows the form; whoever is signed in is led to the hostnames.
pub async fn show(State(dashboard): State<Dashboard>, headers: HeaderMap) -> Result<Response, Refusal> {
    match Visitor::of(&dashboard, &headers).await {
        Ok(_) => Ok(led("/").into_response()),
        Err(Refusal::SignIn) => Ok(page(None).into_response()),
        Err(problem) => Err(problem),
    }
}

fn led(to: &'static str) -> impl IntoResponse {
    (StatusCode::SEE_OTHER, [(LOCATION, to)])
}

fn page(wrong: Option<&str>) -> Page {
    let main = html! {
        div.narrow {
            h1 { "Sign in" }
            @if let Some(wrong) = wrong { (frame::trouble(wrong)) }
            form.card method="post" action=(SIGN_IN) {
                div.field {
                    label for="token" { "Token" }
                    input #token name="token" type="password" required autocomplete="current-password" spellcheck="false" autofocus;
                }
                button.main type="submit" { "Sign in" }
            }
            p.faint {
                "Any token of the API will do; what you see and may do here is what it allows. Make one with "
                code { "nameplate token create" } "."
            }
        }
    };
    Frame { title: "Sign in", ..Frame::default() }.page(&main)
}

/// Begins a session where the token is good.
pub async fn sign_in(State(dashboard): State<Dashboard>, mut fields: Fields) -> Result<Response, Refusal> {
    let token = fields.take("token").unwrap_or_default();
    match dashboard.api.caller(&token).await {
        Ok(caller) => {
            let cookie = dashboard.api.sessions.begin(&caller, dashboard.tls());
            Ok(([(SET_COOKIE, cookie)], led("/")).into_response())
        }
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => {
            Ok((StatusCode::UNAUTHORIZED, page(Some(problem.detail()))).into_response())
        }
        Err(problem) => Err(problem.into()),
    }
}

/// Ends the session.
pub async fn sign_out(State(dashboard): State<Dashboard>, headers: HeaderMap, _: Form) -> Response {
    let cookie = dashboard.api.sessions.end(&headers, dashboard.tls());
    ([(SET_COOKIE, cookie)], led(SIGN_IN)).into_response()
}
