//! Private keys, a fresh one for each certificate.

use rcgen::KeyPair;

use super::Cause;
use crate::domain::certificate::KeyType;

/// Makes a key of this type. RSA, which takes up to a second, is made off the async threads.
///
/// [`KeyType::Rsa`] and [`KeyType::Ed25519`], which stand for imported keys, give RSA with 2048
/// bits and Ed25519.
pub async fn fresh(key_type: KeyType) -> Result<KeyPair, Cause> {
    let algorithm = match key_type {
        KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyType::Ed25519 => &rcgen::PKCS_ED25519,
        KeyType::Rsa2048 | KeyType::Rsa => {
            let made = tokio::task::spawn_blocking(|| KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)).await;
            // The task ends without a result only where the runtime stops.
            return Ok(made.unwrap_or(Err(rcgen::Error::KeyGenerationUnavailable))?);
        }
    };
    Ok(KeyPair::generate_for(algorithm)?)
}
