//! Kong's ACME plugin, in Redis: certificates under `kong_acme:cert_key:HOST`.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Error, Texts};

/// What Kong's keys begin with, unless its storage has a namespace.
pub const PREFIX: &str = "kong_acme";

/// The value under `kong_acme:cert_key:HOST`.
#[derive(Deserialize, Serialize)]
pub struct Record {
    /// The private key (PEM).
    pub key: Option<String>,
    /// Leaf and chain (PEM).
    pub cert: Option<String>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// The key of `hostname`'s certificate.
pub fn key(prefix: &str, hostname: &str) -> String {
    format!("{prefix}:cert_key:{hostname}")
}

/// The hostname whose certificate lies under `key`; `None` for what is there to renew, accounts and
/// pauses.
pub fn domain<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    key.strip_prefix(prefix)?.strip_prefix(":cert_key:")
}

/// Reads a value.
pub fn texts(value: &[u8]) -> Result<Texts, Error> {
    let mut record: Record = super::layout::json(value, "Kong")?;
    let key = Zeroizing::new(record.key.take().unwrap_or_default());
    super::layout::filled(record.cert.take().unwrap_or_default(), key, ["cert", "key"])
}
