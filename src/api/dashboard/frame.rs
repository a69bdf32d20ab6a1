//! What all pages share: head, ways to the others, marks.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{DOCTYPE, Markup, html};

use super::form::FORM_TOKEN;
use super::routes::{ICON, SCRIPT, SIGN_OUT, STYLE};
use super::session::Visitor;

/// How much slower than the script a page without it loads itself again.
const WITHOUT_SCRIPT: u32 = 6;
/// The pages that lead to each other.
const WAYS: [(&str, &str); 4] =
    [("/", "Hostnames"), ("/certificates", "Certificates"), ("/events", "Events"), ("/register", "Register")];

/// Tells browsers that style and script are those of another version.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let both = digest(&SHA256, [STYLE.text, SCRIPT.text].concat().as_bytes());
    URL_SAFE_NO_PAD.encode(both.as_ref().get(..9).unwrap_or_default())
});

/// What stands around a page.
#[derive(Default)]
pub struct Frame<'a> {
    /// What it is about.
    pub title: &'a str,
    /// Its path, where it is one of those that lead to each other.
    pub here: &'a str,
    /// Who sees it; `None`: whoever it may be.
    pub visitor: Option<&'a Visitor>,
    /// Loads itself again after so many seconds.
    pub refresh: Option<u32>,
}

/// A page, whole.
pub struct Page(Markup);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "text/html; charset=utf-8")], self.0.into_string()).into_response()
    }
}

impl Frame<'_> {
    /// The page with `main` in it.
    pub fn page(&self, main: &Markup) -> Page {
        Page(html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " – Nameplate" }
                    link rel="icon" type="image/svg+xml" href=(ICON.path);
                    link rel="stylesheet" href={ (STYLE.path) "?v=" (*VERSION) };
                    script src={ (SCRIPT.path) "?v=" (*VERSION) } defer {}
                    @if let Some(seconds) = self.refresh {
                        noscript { meta http-equiv="refresh" content=(seconds * WITHOUT_SCRIPT); }
                    }
                }
                body data-refresh=[self.refresh] {
                    a.skip href="#main" { "Skip to the page" }
                    (self.header())
                    main #main tabindex="-1" { (main) }
                }
            }
        })
    }

    fn header(&self) -> Markup {
        html! {
            header.bar {
                a.brand href="/" { (mark()) "Nameplate" }
                @if let Some(visitor) = self.visitor {
                    nav aria-label="Pages" {
                        ul {
                            @for (path, word) in WAYS {
                                @if path != "/register" || visitor.may_write() {
                                    li { a href=(path) aria-current=[(path == self.here).then_some("page")] { (word) } }
                                }
                            }
                        }
                    }
                    form.out method="post" action=(SIGN_OUT) {
                        (form_token(visitor))
                        span.who title="Whose hostnames this token opens" { (reach(visitor)) }
                        button.quiet type="submit" { "Sign out" }
                    }
                }
            }
        }
    }
}

fn reach(visitor: &Visitor) -> &str {
    visitor.caller.reach.organization().map_or("all organizations", |organization| organization.as_str())
}

fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" aria-hidden="true" {
            rect x="1.5" y="5.5" width="21" height="13" rx="3" {}
            path d="M7.5 12.2l3 3 6-6.4" {}
        }
    }
}

/// What each form of a visitor carries.
pub fn form_token(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name=(FORM_TOKEN) value=(visitor.form_token); }
}

/// What went wrong.
pub fn trouble(text: &str) -> Markup {
    html! { p.note.bad role="alert" { (text) } }
}

/// What was done.
pub fn done(text: &Markup) -> Markup {
    html! { p.note.good role="status" { (text) } }
}
