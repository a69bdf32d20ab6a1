//! The octets of a certificate: its chain as a database column, and the whole of it as one piece.

use zeroize::Zeroizing;

use crate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use crate::domain::clock::UnixTime;

/// Form of a whole certificate that this version writes.
const VERSION: u8 = 1;

/// The chain as octets: for each certificate its length (4, big-endian) and its DER.
pub fn chain_octets(chain: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(chain.iter().map(|der| 4 + der.len()).sum());
    for der in chain {
        put(&mut octets, der);
    }
    octets
}

/// Reads what [`chain_octets`] wrote; the error says what is wrong with it.
pub fn read_chain(octets: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut rest = octets;
    let mut chain = Vec::new();
    while !rest.is_empty() {
        chain.push(take(&mut rest)?.to_vec());
    }
    if chain.is_empty() {
        return Err("its chain is empty".into());
    }
    Ok(chain)
}

/// The word for a key type, as in the configuration: `p256`, `rsa2048`, …
pub fn key_type_word(key_type: KeyType) -> Result<String, String> {
    match serde_json::to_value(key_type) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Err(format!("the key type {other} has no word")),
        Err(error) => Err(format!("the key type has no word: {error}")),
    }
}

/// Reads what [`key_type_word`] wrote.
pub fn read_key_type(word: &str) -> Result<KeyType, String> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|_| format!("its key type {word:?} is unknown to this version"))
}

/// The source as JSON.
pub fn source_text(source: &Source) -> Result<String, String> {
    serde_json::to_string(source).map_err(|error| format!("its source cannot be written: {error}"))
}

/// Reads what [`source_text`] wrote.
pub fn read_source(text: &str) -> Result<Source, String> {
    serde_json::from_str(text).map_err(|_| format!("its source {text:?} is unknown to this version"))
}

/// The whole certificate, private key included: seal it before it goes anywhere.
pub fn certificate_octets(certificate: &Certificate) -> Result<Zeroizing<Vec<u8>>, String> {
    let (key_type, source) = (key_type_word(certificate.key_type)?, source_text(&certificate.source)?);
    let (name, key) = (certificate.name.as_str(), certificate.key.der());
    let chain = chain_octets(&certificate.chain);
    // Sized in advance: a buffer that grows would leave copies of the key behind.
    let lengths = name.len() + key_type.len() + source.len() + key.len() + chain.len();
    let mut octets = Zeroizing::new(Vec::with_capacity(1 + 7 * 4 + 2 * 8 + lengths));
    octets.push(VERSION);
    put(&mut octets, name.as_bytes());
    put(&mut octets, key_type.as_bytes());
    put(&mut octets, source.as_bytes());
    put(&mut octets, &certificate.validity.not_before.0.to_be_bytes());
    put(&mut octets, &certificate.validity.not_after.0.to_be_bytes());
    put(&mut octets, key);
    put(&mut octets, &chain);
    Ok(octets)
}

/// Reads what [`certificate_octets`] wrote; the error says what is wrong with it.
pub fn read_certificate(octets: &[u8]) -> Result<Certificate, String> {
    let (&version, mut rest) = octets.split_first().ok_or("it is empty")?;
    if version != VERSION {
        return Err(format!("it has the form {version}, this version reads the form {VERSION}"));
    }
    let rest = &mut rest;
    let certificate = Certificate {
        name: take_text(rest)?.parse().map_err(|error| format!("its name is invalid: {error}"))?,
        key_type: read_key_type(take_text(rest)?)?,
        source: read_source(take_text(rest)?)?,
        validity: Validity { not_before: take_time(rest)?, not_after: take_time(rest)? },
        key: PrivateKey::from_der(take(rest)?.to_vec()),
        chain: read_chain(take(rest)?)?,
    };
    if !rest.is_empty() {
        return Err(format!("{} octets follow its end", rest.len()));
    }
    Ok(certificate)
}

fn put(octets: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("a certificate's parts are far below 4 GiB");
    octets.extend_from_slice(&length.to_be_bytes());
    octets.extend_from_slice(part);
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let cut_short = || "it is cut short".to_owned();
    let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut_short)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut_short())?;
    let (part, after) = after.split_at_checked(length).ok_or_else(cut_short)?;
    *rest = after;
    Ok(part)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(take(rest)?).map_err(|_| "a text in it is no UTF-8".to_owned())
}

fn take_time(rest: &mut &[u8]) -> Result<UnixTime, String> {
    let octets = take(rest)?.try_into().map_err(|_| "a time in it has not 8 octets".to_owned())?;
    Ok(UnixTime(i64::from_be_bytes(octets)))
}
