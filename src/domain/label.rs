//! Names of organizations and sites.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name.
pub const MAX_OCTETS: usize = 64;

/// The name of an organization or a site: 1 to [`MAX_OCTETS`] letters, digits, hyphens, underscores
/// and dots, so that it stands in a path, a header or a log line as it is.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Arc<str>);

/// A text is no such name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("use 1 to {MAX_OCTETS} letters, digits, hyphens, underscores and dots")]
pub struct InvalidLabel;

impl Label {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let dots = text.chars().all(|c| c == '.');
        if dots || text.len() > MAX_OCTETS || !text.chars().all(plain) {
            return Err(InvalidLabel);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Label {
    type Error = InvalidLabel;

    fn try_from(text: String) -> Result<Self, InvalidLabel> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.to_string()
    }
}

impl Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_need_escaping_somewhere_is_no_name() {
        for good in ["a", "cool-cats", "Site_1", "status.example.com", &"a".repeat(64)] {
            assert_eq!(good.parse::<Label>().map(|label| label.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "*", "a\n", &"a".repeat(65)] {
            assert_eq!(bad.parse::<Label>(), Err(InvalidLabel), "{bad:?}");
        }
    }
}
