//! ACME accounts in rows.

use super::sealed;
use crate::store::operation::Fault;
use crate::store::seal::SealingKey;
use crate::store::{AccountCredentials, Error};

/// The credentials as they are kept.
pub fn seal(key: &SealingKey, account: &str, credentials: &AccountCredentials) -> Vec<u8> {
    key.seal(sealed::account(account, b""), credentials)
}

/// What [`seal`] sealed.
pub fn open(key: &SealingKey, account: &str, sealed: &[u8]) -> Result<AccountCredentials, Fault> {
    Ok(key.open(sealed::account(account, b""), sealed).map_err(Error::from)?)
}
