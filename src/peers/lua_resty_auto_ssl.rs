//! lua-resty-auto-ssl 0.13 and before, in Redis and in files.
//!
//! A hostname's certificate lies under `HOSTNAME:latest`, in Redis after `PREFIX:` where one is set,
//! on a disk in `storage/file/` under the key as `ngx.escape_uri` writes it. Beside it lie
//! challenges, locks and, of versions before 0.13, backups under `HOSTNAME:MILLISECONDS`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Error, Texts};

/// Where the files lie below the server's `dir`, `/etc/resty-auto-ssl` unless it is set.
pub const FOLDER: &str = "storage/file";

const LATEST: &str = ":latest";

/// How long the lock on an order stands unless its holder renews it, as that server has it.
pub const LOCK_TTL: Duration = Duration::from_secs(30);

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
    prefixed(prefix, format!("{hostname}{LATEST}"))
}

/// The key of what HTTP-01 is answered with for `token` of `hostname`: the key authorization alone.
pub fn challenge_key(prefix: Option<&str>, hostname: &str, token: &str) -> String {
    prefixed(prefix, format!("{hostname}:challenge:{token}"))
}

/// The key of the lock that whoever orders for `hostname` holds: 64 hexadecimal digits of its own,
/// for [`LOCK_TTL`].
pub fn lock_key(prefix: Option<&str>, hostname: &str) -> String {
    prefixed(prefix, format!("{hostname}:issue_cert_lock"))
}

fn prefixed(prefix: Option<&str>, key: String) -> String {
    match prefix {
        Some(prefix) => format!("{prefix}:{key}"),
        None => key,
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

/// The value for a certificate, leaf first.
///
/// - `key`: PKCS#8
/// - `not_after`: the leaf's end, in seconds since 1970
pub fn value(chain: &[Vec<u8>], key: &[u8], not_after: i64) -> Result<Zeroizing<Vec<u8>>, Error> {
    let pem = |der: &Vec<u8>| pem_of("CERTIFICATE", der).to_string();
    let record = Record {
        fullchain_pem: Some(chain.iter().map(pem).collect()),
        privkey_pem: Some(std::mem::take(&mut *pem_of("PRIVATE KEY", key))),
        cert_pem: chain.first().map(pem),
        // Exact for some hundred million years.
        expiry: Some(not_after as f64),
    };
    serde_json::to_vec(&record)
        .map(Zeroizing::new)
        .map_err(|error| Error::Unwritable { why: error.to_string() })
}

/// A block of PEM (RFC 7468).
fn pem_of(label: &str, der: &[u8]) -> Zeroizing<String> {
    const LINE: usize = 64;
    let base64 = Zeroizing::new(STANDARD.encode(der));
    // Sized in advance, so that growing leaves no copy of a key behind.
    let mut pem =
        Zeroizing::new(String::with_capacity(base64.len() + base64.len() / LINE + 2 * label.len() + 64));
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// Reads a value.
pub fn texts(value: &[u8]) -> Result<Texts, Error> {
    let mut record: Record = super::layout::json(value, "lua-resty-auto-ssl")?;
    let key = Zeroizing::new(record.privkey_pem.take().unwrap_or_default());
    let filled = |text: &String| !text.trim().is_empty();
    let chain = record.fullchain_pem.take().filter(filled).or(record.cert_pem.take()).unwrap_or_default();
    super::layout::filled(chain, key, ["fullchain_pem", "privkey_pem"])
}
