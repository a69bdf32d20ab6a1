//! The Redis of servers with lua-resty-auto-ssl, while they and ours are at work for the same
//! hostnames: answers to challenges, certificates, and who orders just now.
//!
//! It is the store of that fleet, not of ours: what is served never waits for it, and a fault of it is
//! never taken for "not there".

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::Error;
use crate::config::LuaRestyAutoSsl;
use crate::domain::certificate::Certificate;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::peers::connection::{Address, Value};
use crate::peers::layout::MAX_OCTETS;
use crate::peers::link::Link;
use crate::peers::{self, Texts, lua_resty_auto_ssl as layout};
use crate::telemetry::metrics::Metrics;

/// Look-ups of tokens at a time; beyond them a request is refused.
const LOOKUPS: usize = 64;
/// Longest key authorization that is read: a token and a thumbprint (RFC 8555 §8.1).
const ANSWER_OCTETS: u64 = 256;

/// The bridge to the servers that ours take over from.
pub struct Bridge {
    link: Arc<Link>,
    prefix: Option<String>,
    write_back: bool,
    lookups: Semaphore,
    metrics: Arc<Metrics>,
}

/// Why an answer to a challenge is not known.
#[derive(Debug, thiserror::Error)]
pub enum LookupFault {
    /// Too many look-ups are under way.
    #[error("too many look-ups are under way")]
    Shed,
    /// Redis failed.
    #[error(transparent)]
    Redis(peers::Error),
}

impl Bridge {
    /// Nothing is connected yet, so that a start never waits for Redis. Fails where the address cannot
    /// be used.
    pub fn new(config: &LuaRestyAutoSsl, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let address = Address::new(&config.redis.0, None, config.roots.clone()).map_err(Error::Bridge)?;
        Ok(Self {
            link: Arc::new(Link::new(address, config.timeout)),
            prefix: config.prefix.clone(),
            write_back: config.write_back,
            lookups: Semaphore::new(LOOKUPS),
            metrics,
        })
    }

    /// Whether certificates that are obtained are put there too.
    pub fn writes_back(&self) -> bool {
        self.write_back
    }

    /// Host and port of Redis, or its socket's path.
    pub fn place(&self) -> &str {
        self.link.place()
    }

    /// What the other servers answer HTTP-01 with.
    ///
    /// - `token`: of the characters that a token may have
    ///
    /// Only a key authorization of this very token is taken, so that nothing else that lies in Redis
    /// is shown to anybody.
    pub async fn answer(&self, hostname: &Hostname, token: &str) -> Result<Option<String>, LookupFault> {
        let Ok(_permit) = self.lookups.try_acquire() else {
            self.count("answer", "shed");
            return Err(LookupFault::Shed);
        };
        let key = layout::challenge_key(self.prefix(), hostname.as_str(), token);
        let value = self.link.value(&key, ANSWER_OCTETS).await;
        let (result, outcome) = match value.map(|value| is_answer(token, &value)) {
            Ok(Some(answer)) => ("ok", Ok(Some(answer))),
            Ok(None) | Err(peers::Error::NoString) => ("none", Ok(None)),
            Err(error) => ("error", Err(LookupFault::Redis(error))),
        };
        self.count("answer", result);
        outcome
    }

    /// Puts our answer where the other servers find it, for `lifetime` at most.
    pub async fn publish(
        &self,
        hostname: &str,
        token: &str,
        answer: &str,
        lifetime: Duration,
    ) -> Result<(), peers::Error> {
        let key = layout::challenge_key(self.prefix(), hostname, token);
        let outcome = self.link.put(&key, answer.as_bytes(), Some(lifetime)).await;
        self.count("publish", if outcome.is_ok() { "ok" } else { "error" });
        outcome
    }

    /// Takes our answer back. What is left there by a fault ends by itself.
    pub async fn withdraw(&self, hostname: &str, token: &str, answer: &str) {
        let key = layout::challenge_key(self.prefix(), hostname, token);
        if let Err(error) = self.link.remove(&key, answer).await {
            tracing::debug!(%error, "an answer in the Redis of the bridge could not be removed; it ends by itself");
        }
    }

    /// The certificate that the other servers have for `hostname`, unread; `None` where they have none.
    pub async fn certificate(&self, hostname: &Hostname) -> Result<Option<Value>, peers::Error> {
        let key = layout::key(self.prefix(), hostname.as_str());
        match self.link.value(&key, MAX_OCTETS).await {
            Ok(value) if value.is_empty() => {
                self.count("read", "none");
                Ok(None)
            }
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                self.count("read", "error");
                Err(error)
            }
        }
    }

    /// The texts in what [`Bridge::certificate`] gave.
    pub fn texts(&self, value: &[u8]) -> Result<Texts, peers::Error> {
        if value.len() as u64 > MAX_OCTETS {
            return Err(peers::Error::TooLarge);
        }
        layout::texts(value)
    }

    /// Counts what [`Bridge::certificate`] gave: ok, none, unusable.
    pub fn count_read(&self, result: &'static str) {
        self.count("read", result);
    }

    /// Takes the lock that keeps the other servers from ordering for `hostname`; `None` while one of
    /// them has it.
    pub async fn lock(&self, hostname: &Hostname) -> Result<Option<Lock>, peers::Error> {
        let key = layout::lock_key(self.prefix(), hostname.as_str());
        let value: String = rand::random::<[u8; 32]>().iter().map(|octet| format!("{octet:02x}")).collect();
        let taken = self.link.put_new(&key, &value, layout::LOCK_TTL).await;
        self.count(
            "lock",
            match &taken {
                Ok(true) => "ok",
                Ok(false) => "none",
                Err(_) => "error",
            },
        );
        Ok(taken?.then(|| Lock::keep(self.link.clone(), key, value)))
    }

    /// Puts `certificate` where the other servers have theirs for `name`, its private key in plain.
    pub async fn write(&self, name: &CertificateName, certificate: &Certificate) -> Result<(), peers::Error> {
        let not_after = certificate.validity.not_after.0;
        let value = layout::value(&certificate.chain, certificate.key.der(), not_after)?;
        let outcome = self.link.put(&layout::key(self.prefix(), name.as_str()), &value, None).await;
        self.count("write", if outcome.is_ok() { "ok" } else { "error" });
        outcome
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn count(&self, operation: &str, result: &str) {
        self.metrics.bridge_operations.with_label_values(&[operation, result]).inc();
    }
}

/// `value` where it is a key authorization of `token` (RFC 8555 §8.1).
fn is_answer(token: &str, value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let thumbprint = text.strip_prefix(token)?.strip_prefix('.')?;
    let base64url = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    (!thumbprint.is_empty() && thumbprint.bytes().all(base64url)).then(|| text.to_owned())
}

/// The lock on orders of the other servers for one hostname, renewed for as long as this value lives;
/// dropping it gives it back.
#[must_use = "dropping it gives the lock back"]
pub struct Lock {
    link: Arc<Link>,
    key: String,
    value: String,
    renewal: AbortHandle,
}

impl Lock {
    fn keep(link: Arc<Link>, key: String, value: String) -> Self {
        let (renewed, its_key, its_value) = (link.clone(), key.clone(), value.clone());
        let renewal = tokio::spawn(async move {
            let mut tick = tokio::time::interval(layout::LOCK_TTL / 3);
            tick.tick().await;
            loop {
                tick.tick().await;
                // Where it was lost the order goes on: our own lease is what it stands on.
                if let Err(error) = renewed.prolong(&its_key, &its_value, layout::LOCK_TTL).await {
                    tracing::debug!(%error, "the lock in the Redis of the bridge could not be renewed");
                }
            }
        });
        Self { link, key, value, renewal: renewal.abort_handle() }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
        // Outside a runtime the process is stopping, and the lock ends by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (link, key, value) = (self.link.clone(), self.key.clone(), self.value.clone());
        runtime.spawn(async move {
            if let Err(error) = link.remove(&key, &value).await {
                tracing::debug!(%error, "the lock in the Redis of the bridge could not be given back; it runs out");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_authorization_of_the_token_is_shown() {
        let token = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
        let good = format!("{token}.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI");
        assert_eq!(is_answer(token, good.as_bytes()), Some(good));
        for other in ["", token, "other.9jg46WB3", "{\"privkey_pem\":\"…\"}"] {
            assert_eq!(is_answer(token, other.as_bytes()), None, "{other}");
        }
        for ending in [".", ".a b", ".a.b", ".\n"] {
            assert_eq!(is_answer(token, format!("{token}{ending}").as_bytes()), None, "{ending}");
        }
    }
}
