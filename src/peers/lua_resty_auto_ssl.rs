//! lua-resty-auto-ssl 0.13 and before, in Redis and in files.
//!
//! A hostname's certificate lies under `HOSTNAME:latest`, in Redis after `PREFIX:` where one is set,
//! on a disk in `storage/file/` under the key as `ngx.escape_uri` writes it. Beside it lie
//! challenges, locks and, of versions before 0.13, backups under `HOSTNAME:MILLISECONDS`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Error, Texts};

/// Where the files lie below the server's `dir`, `/etc/resty-auto-ssl` unless it is set.
pub const FOLDER: &str = "storage/file";

const LATEST: &str = ":latest";

/// What `ngx.escape_uri` escapes: all but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The value under `HOSTNAME:latest`.
#[derive(Default, Deserialize, Serialize)]
pub struct Record {
    /// Leaf and chain (PEM).
    pub fullchain_pem: Option<String>,
    /// The private key (PEM).
    pub privkey_pem: Option<String>,
    /// The leaf alone (PEM); old values have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_pem: Option<String>,
    /// The leaf's end, in seconds since 1970; old values have none. The leaf itself says it better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry: Option<f64>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.privkey_pem.zeroize();
    }
}

/// The key of `hostname`'s certificate.
pub fn key(prefix: Option<&str>, hostname: &str) -> String {
    match prefix {
        Some(prefix) => format!("{prefix}:{hostname}{LATEST}"),
        None => format!("{hostname}{LATEST}"),
    }
}

/// The hostname whose certificate lies under `key`; `None` for challenges, locks and backups.
pub fn domain<'a>(prefix: Option<&str>, key: &'a str) -> Option<&'a str> {
    let key = match prefix {
        Some(prefix) => key.strip_prefix(prefix)?.strip_prefix(':')?,
        None => key,
    };
    key.strip_suffix(LATEST)
}

/// The name of the file that holds `key`'s value.
pub fn file_name(key: &str) -> String {
    utf8_percent_encode(key, ESCAPED).to_string()
}

/// The key whose value a file of this name holds; `None` where no key gives such a name.
pub fn key_of_file(file_name: &str) -> Option<String> {
    Some(percent_decode_str(file_name).decode_utf8().ok()?.into_owned())
}

/// Reads a value.
pub fn texts(value: &[u8]) -> Result<Texts, Error> {
    let mut record: Record = super::layout::json(value, "lua-resty-auto-ssl")?;
    let key = Zeroizing::new(record.privkey_pem.take().unwrap_or_default());
    let filled = |text: &String| !text.trim().is_empty();
    let chain = record.fullchain_pem.take().filter(filled).or(record.cert_pem.take()).unwrap_or_default();
    super::layout::filled(chain, key, ["fullchain_pem", "privkey_pem"])
}
