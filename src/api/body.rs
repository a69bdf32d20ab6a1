//! Bodies of requests: JSON:API documents, read strictly, each fault with its place.

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::problem::{Blame, Problem};

/// Longest body, in octets.
pub const LONGEST: usize = 64 * 1024;

/// The attributes of a document's resource, of which each key is taken once.
#[derive(Clone, Debug)]
pub struct Attributes(Map<String, Value>);

impl Attributes {
    /// Those that came otherwise than as a document.
    pub fn of(attributes: Map<String, Value>) -> Self {
        Self(attributes)
    }

    /// Takes the value of `key`; `None` where it is absent.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// Takes a text; `Some(None)` where it is `null`.
    pub fn text(&mut self, key: &str) -> Result<Option<Option<String>>, Problem> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(Value::String(text)) => Ok(Some(Some(text))),
            Some(other) => Err(wrong_type(key, "a text", &other)),
        }
    }

    /// Takes a text that must be there.
    pub fn required(&mut self, key: &str) -> Result<String, Problem> {
        match self.text(key)? {
            Some(Some(text)) => Ok(text),
            _ => Err(Problem::invalid(&pointer(key), format!("Give {key}."))),
        }
    }

    /// Takes a number; `Some(None)` where it is `null`.
    pub fn number(&mut self, key: &str) -> Result<Option<Option<u64>>, Problem> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(Some(number))),
                None => Err(wrong_type(key, "a whole number, not below 0", &value)),
            },
        }
    }

    /// Takes a list of texts.
    pub fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, Problem> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|values| {
            values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        });
        texts.map(Some).ok_or_else(|| wrong_type(key, "a list of texts", &value))
    }

    /// Fails where there is an attribute that nobody took.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => {
                let detail = format!("There is no attribute {key:?} that could be set.");
                let problem = Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "unknown_attribute",
                    "Unknown attribute",
                    detail,
                );
                Err(problem.at(&pointer(key)))
            }
        }
    }
}

/// The JSON pointer of an attribute.
pub fn pointer(key: &str) -> String {
    format!("/data/attributes/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn wrong_type(key: &str, wanted: &str, found: &Value) -> Problem {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let detail = format!("{key} is {wanted}, and this is {found}.");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_type", "Wrong type", detail).at(&pointer(key))
}

impl<S: Send + Sync> FromRequest<S> for Attributes {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_media_type(&request)?;
        let octets = axum::body::to_bytes(request.into_body(), LONGEST).await.map_err(|_| {
            let detail = format!("A body has at most {LONGEST} octets.");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large", detail)
        })?;
        let document: Value = serde_json::from_slice(&octets).map_err(|why| {
            let detail = format!("The body is no JSON: {why}.");
            Problem::new(StatusCode::BAD_REQUEST, "malformed_json", "Malformed JSON", detail)
        })?;
        attributes(document)
    }
}

fn check_media_type(request: &Request) -> Result<(), Problem> {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if ["application/json", super::MEDIA_TYPE].iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    let detail = format!("Send Content-Type: application/json or {}.", super::MEDIA_TYPE);
    let problem = Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "Unsupported media type",
        detail,
    );
    Err(problem.blaming(Blame::Header("Content-Type")))
}

fn attributes(document: Value) -> Result<Attributes, Problem> {
    let malformed = |pointer: &str, detail: &str| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed_document", "Malformed document", detail)
            .at(pointer)
    };
    let like = "A document is like {\"data\": {\"attributes\": {…}}}.";
    let Value::Object(mut document) = document else { return Err(malformed("", like)) };
    let Some(Value::Object(mut data)) = document.remove("data") else { return Err(malformed("/data", like)) };
    if document.keys().any(|key| !["jsonapi", "meta", "links"].contains(&key.as_str())) {
        return Err(malformed("", "Beside data, a document may have jsonapi, meta and links."));
    }
    let attributes = data.remove("attributes");
    if data.keys().any(|key| !["type", "id", "meta", "links"].contains(&key.as_str())) {
        return Err(malformed("/data", "Beside attributes, data may have type, id, meta and links."));
    }
    match attributes {
        Some(Value::Object(attributes)) => Ok(Attributes(attributes)),
        _ => Err(malformed("/data/attributes", like)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Attributes, Problem> {
        attributes(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_document_is_read_strictly() {
        let mut good = read(r#"{"data":{"attributes":{"a":"x","b":null,"c":7}}}"#).unwrap();
        assert_eq!(good.text("a").unwrap(), Some(Some("x".into())));
        assert_eq!(good.text("b").unwrap(), Some(None));
        assert_eq!(good.text("d").unwrap(), None);
        assert!(good.text("c").is_err());
        assert!(good.finish().is_ok(), "what was taken is taken, whatever it was");
        assert!(read(r#"{"data":{"type":"hostnames","attributes":{"x":1}}}"#).unwrap().finish().is_err());
        for bad in [
            "[]",
            "{}",
            "{\"data\":[]}",
            r#"{"data":{}}"#,
            r#"{"data":{"attributes":[]}}"#,
            r#"{"data":{"attributes":{}},"x":1}"#,
            r#"{"data":{"attributes":{},"x":1}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
