//! Taking a hostname away, once it is confirmed.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::super::hostnames;
use super::form::Form;
use super::frame::{self, Frame, Page};
use super::refusal::Refusal;
use super::routes::Dashboard;
use super::session::Visitor;
use super::words;

/// Asks whether it is meant.
pub async fn ask(
    State(dashboard): State<Dashboard>,
    visitor: Visitor,
    Path((site, name)): Path<(String, String)>,
) -> Result<Page, Refusal> {
    visitor.needs_write()?;
    let registration = hostnames::find(&dashboard.api, &visitor.caller, &site, &name).await?;
    let path = words::path(&site, registration.name.as_str());
    let main = html! {
        h1 { "Delete " (words::name(&registration.name)) "?" }
        p {
            "It is no longer served, on every machine within seconds. Its certificate is kept for the case that \
             it comes back, and so are its preview and its TXT record."
        }
        form.buttons method="post" action={ (path) "/delete" } {
            (frame::form_token(&visitor))
            button.danger type="submit" { "Delete it" }
            a.button href=(path) { "Keep it" }
        }
    };
    Ok(Frame { title: "Delete", visitor: Some(&visitor), ..Frame::default() }.page(&main))
}

/// Takes it away, then shows the others.
pub async fn remove(
    State(dashboard): State<Dashboard>,
    Path((site, name)): Path<(String, String)>,
    form: Form,
) -> Result<Response, Refusal> {
    hostnames::remove(State(dashboard.api), form.visitor.caller, Path((site, name))).await?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, "/?deleted=1")]).into_response())
}
