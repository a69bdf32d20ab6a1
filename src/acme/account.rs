//! The accounts at one authority: each made once, kept in the store, shared by all machines.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use tokio::sync::Mutex;
use url::Url;
use zeroize::Zeroizing;

use super::http::{Http, signed};
use super::{Cause, Error};
use crate::config;
use crate::domain::hostname::CertificateName;
use crate::store::{self, Store};

/// base64url as authorities show HMAC keys, with padding or without.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Which of so many accounts orders for `name` first, counted from 0: always the same one.
pub fn of(name: &CertificateName, accounts: usize) -> usize {
    let hash = digest::digest(&digest::SHA256, name.as_str().as_bytes());
    let hash = hash.as_ref().iter().take(8).fold(0_u64, |hash, octet| hash << 8 | u64::from(*octet));
    usize::try_from(hash % accounts.max(1) as u64).unwrap_or(0)
}

/// One of our accounts at one authority, opened when it is first needed; another one in its place where
/// the authority forgot it.
pub struct Accounts {
    /// Counted from 0.
    number: u32,
    directory: Url,
    contact: Vec<String>,
    external: Option<External>,
    http: Http,
    store: Arc<dyn Store>,
    held: Mutex<Option<Held>>,
}

/// An open account.
#[derive(Clone)]
pub struct Held {
    /// For instant-acme.
    pub account: Account,
    /// 1 for the first account at this authority; grows each time the authority forgot it.
    generation: u32,
}

struct External {
    key_id: String,
    hmac_key: Zeroizing<Vec<u8>>,
}

impl Accounts {
    /// Nothing is asked yet. Fails where the HMAC key of the external account is no base64url.
    ///
    /// - `number`: which of our accounts there, counted from 0
    pub fn new(
        number: u32,
        authority: &config::Authority,
        directory: &Url,
        http: Http,
        store: Arc<dyn Store>,
    ) -> Result<Self, Error> {
        let external = match &authority.eab {
            None => None,
            Some(eab) => Some(External {
                key_id: eab.key_id.clone(),
                hmac_key: BASE64URL
                    .decode(eab.hmac_key.0.trim())
                    .map(Zeroizing::new)
                    .map_err(|_| Error::ExternalAccountKey { authority: authority.name.clone() })?,
            }),
        };
        let (directory, contact) = (directory.clone(), authority.contact.clone());
        Ok(Self { number, directory, contact, external, http, store, held: Mutex::new(None) })
    }

    /// The account: the open one, else the one in the store, else a new one.
    pub async fn open(&self) -> Result<Held, Cause> {
        // Held while opening, so that a burst of orders makes one account.
        let mut held = self.held.lock().await;
        if let Some(open) = &*held {
            return Ok(open.clone());
        }
        let generation = self.newest().await?.unwrap_or(1);
        Ok(held.insert(self.open_generation(generation).await?).clone())
    }

    /// The account, unless it was never made.
    pub async fn known(&self) -> Result<Option<Held>, Cause> {
        if self.held.lock().await.is_none() && self.newest().await?.is_none() {
            return Ok(None);
        }
        self.open().await.map(Some)
    }

    /// The newest generation that is kept.
    async fn newest(&self) -> Result<Option<u32>, Cause> {
        let mut newest = None;
        let mut generation = 1;
        while self.store.account(&self.key(generation)).await?.is_some() {
            newest = Some(generation);
            generation += 1;
        }
        Ok(newest)
    }

    /// An account in place of `lost`, which the authority no longer knows (RFC 8555 §6.7,
    /// `accountDoesNotExist`); the one that another order or machine made meanwhile, if any.
    pub async fn replace(&self, lost: &Held) -> Result<Held, Cause> {
        let mut held = self.held.lock().await;
        if let Some(open) = held.as_ref().filter(|open| open.generation > lost.generation) {
            return Ok(open.clone());
        }
        tracing::warn!(directory = %self.directory, "the authority no longer knows its account; making a new one");
        Ok(held.insert(self.open_generation(lost.generation + 1).await?).clone())
    }

    async fn open_generation(&self, generation: u32) -> Result<Held, Cause> {
        let key = self.key(generation);
        let kept = match self.store.account(&key).await? {
            Some(kept) => kept,
            None => {
                let made = self.make().await?;
                // The first one kept wins: another machine may have been quicker.
                self.store.save_account(&key, &made).await?
            }
        };
        let credentials: AccountCredentials =
            serde_json::from_slice(&kept).map_err(|error| store::Error::Record {
                what: "account",
                of: key.as_str().into(),
                why: format!("it is not what was kept ({:?})", error.classify()),
            })?;
        let account = Account::builder_with_http(self.http.boxed()).from_credentials(credentials).await?;
        Ok(Held { account, generation })
    }

    async fn make(&self) -> Result<store::AccountCredentials, Cause> {
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        let wanted =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = self
            .external
            .as_ref()
            .map(|external| ExternalAccountKey::new(external.key_id.clone(), &external.hmac_key));
        let directory = self.directory.as_str();
        let (_, credentials) = signed!(
            Account::builder_with_http(self.http.boxed())
                .create(&wanted, directory.to_owned(), external.as_ref())
                .await
        )?;
        let octets = serde_json::to_vec(&credentials).map_err(instant_acme::Error::from)?;
        Ok(Zeroizing::new(octets))
    }

    /// What the account is kept under: directory and contact; its number and its generation, each from
    /// the second on.
    fn key(&self, generation: u32) -> String {
        let mut key = format!("{} {}", self.directory, self.contact.join(" "));
        if self.number > 0 {
            key.push_str(&format!(" account {}", self.number + 1));
        }
        if generation > 1 {
            key.push_str(&format!(" #{generation}"));
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_always_the_same_accounts_and_each_gets_its_part() {
        let mut counts = [0; 4];
        for number in 0..1_000 {
            let name: CertificateName = format!("n{number}.test").parse().unwrap();
            assert_eq!(of(&name, 4), of(&name, 4));
            assert_eq!(of(&name, 1), 0);
            counts[of(&name, 4)] += 1;
        }
        assert!(counts.iter().all(|count| (200..300).contains(count)), "{counts:?}");
        // Else every name would change its account with an upgrade.
        assert_eq!(of(&"shop.test".parse().unwrap(), 100), 76);
    }
}
