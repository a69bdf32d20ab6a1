//! lua-resty-acme, in Redis and in files.
//!
//! A certificate lies under `domain:TYPE:HOSTNAME`, where `TYPE` is `rsa` or `ecc`, after the
//! storage's namespace; older releases write `NAMESPACE::` before the key. On a disk a file is named
//! by the base64 of its key and begins with `EPOCH::`, when it ends; older ones lack that.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Error, Texts};

const TYPES: [&str; 2] = ["rsa:", "ecc:"];

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The value under `domain:TYPE:HOSTNAME`.
#[derive(Deserialize, Serialize)]
pub struct Record {
    /// The hostname.
    pub domain: Option<String>,
    /// The private key (PEM).
    pub pkey: Option<String>,
    /// Leaf and chain (PEM).
    pub cert: Option<String>,
    /// `rsa` or `ecc`.
    pub r#type: Option<String>,
    /// When it was obtained, in seconds since 1970.
    pub updated: Option<f64>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.pkey.zeroize();
    }
}

/// The key of `hostname`'s certificate with a key of `key_type`, `rsa` or `ecc`.
pub fn key(namespace: &str, key_type: &str, hostname: &str) -> String {
    format!("{namespace}domain:{key_type}:{hostname}")
}

/// The hostname whose certificate lies under `key`; `None` for locks, accounts and challenges.
pub fn domain<'a>(namespace: &str, key: &'a str) -> Option<&'a str> {
    let key = key.strip_prefix(namespace)?;
    let older = key.strip_prefix("::").filter(|_| !namespace.is_empty());
    let key = older.unwrap_or(key).strip_prefix("domain:")?;
    TYPES.iter().find_map(|key_type| key.strip_prefix(key_type))
}

/// The name of the file that holds `key`'s value.
pub fn file_name(key: &str) -> String {
    URL_SAFE.encode(key)
}

/// The key whose value a file of this name holds; `None` where it is no base64.
pub fn key_of_file(file_name: &str) -> Option<String> {
    let octets = URL_SAFE.decode(file_name).or_else(|_| STANDARD.decode(file_name)).ok()?;
    String::from_utf8(octets).ok()
}

/// The value in a file's content, with or without its end before it.
pub fn value_of_file(content: &[u8]) -> &[u8] {
    let end = content.windows(2).position(|two| two == b"::");
    let is_number = |octets: &[u8]| {
        !octets.is_empty() && octets.iter().all(|octet| octet.is_ascii_digit() || *octet == b'.')
    };
    match end {
        Some(end) if is_number(&content[..end]) => &content[end + 2..],
        _ => content,
    }
}

/// Reads a value.
pub fn texts(value: &[u8]) -> Result<Texts, Error> {
    let mut record: Record = super::layout::json(value, "lua-resty-acme")?;
    let key = Zeroizing::new(record.pkey.take().unwrap_or_default());
    super::layout::filled(record.cert.take().unwrap_or_default(), key, ["cert", "pkey"])
}
