//! What servers that keep certificates under keys have in common.

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{Error, Texts, kong, lua_resty_acme, lua_resty_auto_ssl};
use crate::domain::hostname::CertificateName;

/// Largest value that is read, in octets; a certificate with its chain has some thousand.
pub const MAX_OCTETS: u64 = 1 << 20;

/// Whose keys and values they are.
#[derive(Clone, Debug)]
pub enum Layout {
    /// lua-resty-auto-ssl's.
    LuaRestyAutoSsl {
        /// What its `redis.prefix` is set to.
        prefix: Option<String>,
    },
    /// lua-resty-acme's.
    LuaRestyAcme {
        /// What its storage's `namespace` is set to.
        namespace: String,
    },
    /// Kong's.
    Kong {
        /// What its keys begin with; [`kong::PREFIX`] as a rule.
        prefix: String,
    },
}

impl Layout {
    /// A pattern of Redis (`SCAN … MATCH`) that every key of a certificate fits, and few others.
    pub fn pattern(&self) -> String {
        match self {
            Self::LuaRestyAutoSsl { prefix } => literally(&lua_resty_auto_ssl::key(prefix.as_deref(), "\0")),
            Self::LuaRestyAcme { namespace } if namespace.is_empty() => literally("domain:\0"),
            Self::LuaRestyAcme { namespace } => literally(&format!("{namespace}\0domain:\0")),
            Self::Kong { prefix } => literally(&kong::key(prefix, "\0")),
        }
    }

    /// What `key` has a certificate for, as it stands there; `None` where it is no key of a
    /// certificate.
    pub fn domain<'a>(&self, key: &'a str) -> Option<&'a str> {
        match self {
            Self::LuaRestyAutoSsl { prefix } => lua_resty_auto_ssl::domain(prefix.as_deref(), key),
            Self::LuaRestyAcme { namespace } => lua_resty_acme::domain(namespace, key),
            Self::Kong { prefix } => kong::domain(prefix, key),
        }
    }

    /// Reads `domain`, as [`Layout::domain`] gave it.
    pub fn name(&self, domain: &str) -> Result<CertificateName, Error> {
        let cure = match self {
            Self::LuaRestyAutoSsl { prefix: None } if domain.contains(':') => {
                "; if what stands before the last ':' of it is lua-resty-auto-ssl's prefix, give --prefix"
            }
            _ => "",
        };
        domain.parse().map_err(|why| Error::Domain { domain: domain.to_owned(), why, cure })
    }

    /// Reads the value under a key of a certificate.
    pub fn texts(&self, value: &[u8]) -> Result<Texts, Error> {
        if value.len() as u64 > MAX_OCTETS {
            return Err(Error::TooLarge);
        }
        match self {
            Self::LuaRestyAutoSsl { .. } => lua_resty_auto_ssl::texts(value),
            Self::LuaRestyAcme { .. } => lua_resty_acme::texts(value),
            Self::Kong { .. } => kong::texts(value),
        }
    }
}

/// A pattern of Redis: NUL stands for anything, and all else for itself.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(if character == '\0' { '*' } else { character });
    }
    pattern
}

/// Reads the JSON in `value`, which `server` wrote.
pub(super) fn json<T: DeserializeOwned>(value: &[u8], server: &'static str) -> Result<T, Error> {
    if value.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Empty);
    }
    serde_json::from_slice(value).map_err(|error| {
        // serde's own words can show a piece of the value.
        let what = match error.classify() {
            serde_json::error::Category::Data => "a field is of another kind",
            serde_json::error::Category::Eof => "it ends too soon",
            _ => "it is no JSON",
        };
        Error::Json { server, why: format!("{what} (column {} of line {})", error.column(), error.line()) }
    })
}

/// Both texts, unless one is empty; `fields` are their names.
pub(super) fn filled(
    chain: String,
    key: Zeroizing<String>,
    fields: [&'static str; 2],
) -> Result<Texts, Error> {
    match (chain.trim().is_empty(), key.trim().is_empty()) {
        (true, true) => Err(Error::Empty),
        (true, false) => Err(Error::Missing { field: fields[0] }),
        (false, true) => Err(Error::Missing { field: fields[1] }),
        (false, false) => Ok(Texts { chain, key }),
    }
}
