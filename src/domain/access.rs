//! Who may do what by the API.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::label::{InvalidLabel, Label};

/// What a token allows; each scope holds those before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To look.
    Read,
    /// To change hostnames.
    Write,
    /// To change sites, tokens and webhooks.
    Admin,
}

/// Why a text is no [`Scope`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a scope is one of read, write and admin")]
pub struct InvalidScope;

impl Scope {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let all = [Self::Read, Self::Write, Self::Admin];
        all.into_iter().find(|scope| scope.word() == text).ok_or(InvalidScope)
    }
}

/// Whose hostnames are meant.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reach {
    /// Those of one organization.
    Organization(Label),
    /// Everybody's: an operator. Written `*`.
    All,
}

impl Reach {
    /// Whether it covers `organization`.
    pub fn covers(&self, organization: &Label) -> bool {
        match self {
            Self::Organization(own) => own == organization,
            Self::All => true,
        }
    }

    /// The organization, where it is one.
    pub fn organization(&self) -> Option<&Label> {
        match self {
            Self::Organization(organization) => Some(organization),
            Self::All => None,
        }
    }
}

impl FromStr for Reach {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        match text {
            "*" => Ok(Self::All),
            text => text.parse().map(Self::Organization),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(organization) => organization.fmt(f),
            Self::All => f.write_str("*"),
        }
    }
}
