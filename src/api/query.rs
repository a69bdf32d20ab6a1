//! Parameters of a request's query: filters and pages.

use std::collections::HashMap;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::problem::{Blame, Problem};
use crate::store::records::Cursor;

/// Entries of a page, unless a request says otherwise, and at most.
pub const PAGE: (u32, u32) = (50, 200);

/// The parameters, of which each is taken once.
#[derive(Debug)]
pub struct Query(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let mut pairs = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if pairs.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(bad(&name, "Give it once."));
            }
        }
        Ok(Self(pairs))
    }
}

/// A parameter that is not as it should be.
pub fn bad(parameter: &str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", "Invalid parameter", detail)
        .blaming(Blame::Parameter(parameter.to_owned()))
}

impl Query {
    /// Takes the parameter `name`; an empty one counts as absent.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// Takes the parameter `name`, whose values are few: an empty one is none of them.
    pub fn given(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes `page[size]`.
    pub fn size(&mut self) -> Result<u32, Problem> {
        let Some(size) = self.given("page[size]") else { return Ok(PAGE.0) };
        match size.parse() {
            Ok(size) if (1..=PAGE.1).contains(&size) => Ok(size),
            _ => Err(bad("page[size]", format!("It is a number from 1 to {}.", PAGE.1))),
        }
    }

    /// Takes `page[after]`, a place in a list of hostnames.
    pub fn cursor(&mut self) -> Result<Option<Cursor>, Problem> {
        let Some(text) = self.take("page[after]") else { return Ok(None) };
        let cursor = read_cursor(&text);
        cursor.map(Some).ok_or_else(|| bad("page[after]", "It is what links.next of the page before has."))
    }

    /// Takes a text that is one of `words`.
    pub fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.given(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad(name, "It is true or false.")),
        }
    }

    /// Fails where there is a parameter that nobody took.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.into_iter().find(|(_, value)| !value.is_empty()) {
            None => Ok(()),
            Some((name, _)) => Err(bad(&name, "There is no such parameter here.")),
        }
    }
}

/// A place in a list, as a parameter.
pub fn cursor_text(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{}", cursor.name, cursor.id))
}

fn read_cursor(text: &str) -> Option<Cursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (name, id) = text.rsplit_once('/')?;
    Some(Cursor { name: name.to_owned(), id: id.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_list_is_read_as_it_was_given() {
        let cursor = Cursor { name: "*.shop.example".into(), id: 7 };
        assert_eq!(read_cursor(&cursor_text(&cursor)), Some(cursor));
        for bad in ["", "%", "YQ", "YS9i"] {
            assert_eq!(read_cursor(bad), None, "{bad:?}");
        }
    }
}
