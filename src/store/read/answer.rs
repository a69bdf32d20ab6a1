//! Kept answers, sealed, as some hold a secret.

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

use super::sealed;
use crate::domain::clock::UnixTime;
use crate::store::Error;
use crate::store::answers::{Answer, Keyed, Turn};
use crate::store::seal::{SealingKey, hexadecimal};

/// A row: of the request, its sealed answer, its end.
pub type Row = (Vec<u8>, Option<Vec<u8>>, i64);

/// What a request is filed under.
pub fn id(request: Keyed<'_>) -> String {
    let mut hash = Context::new(&SHA256);
    hash.update(&(request.caller.len() as u64).to_be_bytes());
    hash.update(request.caller.as_bytes());
    hash.update(request.key.as_bytes());
    hexadecimal(hash.finish().as_ref())
}

/// What a request finds that came before, or whose key was used before.
pub fn turn(key: &SealingKey, request: Keyed<'_>, row: Row) -> Result<Turn, Error> {
    let (fingerprint, octets, until) = row;
    if fingerprint != request.fingerprint {
        return Ok(Turn::OtherRequest);
    }
    let Some(octets) = octets else { return Ok(Turn::Theirs(UnixTime(until))) };
    let id = id(request);
    let opened = key.open(sealed::answer(&id, &fingerprint), &octets)?;
    Ok(Turn::Answered(serde_json::from_slice(&opened).map_err(|why| unusable(&id, &why))?))
}

/// The answer to a request, sealed.
pub fn sealed(key: &SealingKey, request: Keyed<'_>, answer: &Answer) -> Result<Vec<u8>, Error> {
    let id = id(request);
    let octets = serde_json::to_vec(answer).map_err(|why| unusable(&id, &why))?;
    let octets = Zeroizing::new(octets);
    Ok(key.seal(sealed::answer(&id, &request.fingerprint), &octets))
}

fn unusable(id: &str, why: &serde_json::Error) -> Error {
    Error::Record { what: "answer", of: id.into(), why: why.to_string() }
}
