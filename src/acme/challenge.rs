//! What authorities are answered: HTTP-01 (RFC 8555 §8.3), TLS-ALPN-01 (RFC 8737), and DNS-01 (RFC 8555
//! §8.4) in the zone that we answer for ourselves.
//!
//! An answer is in memory and in the store before the authority is told, so that any machine of
//! the fleet answers for any other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use aws_lc_rs::digest;
use moka::sync::Cache;
use parking_lot::RwLock;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, SanType};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Cause;
use super::bridge::{Bridge, LookupFault};
use crate::dns::server::{Fault, Texts};
use crate::domain::certificate::PrivateKey;
use crate::domain::clock::Clock;
use crate::domain::hostname::Hostname;
use crate::store::{self, Challenge, ChallengeKind, Store};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::seldom::Seldom;

/// Store look-ups for unknown tokens at a time; beyond them a request is refused.
const STORE_LOOKUPS: usize = 64;
/// How long a question by DNS waits for its turn.
const DNS_WAIT: Duration = Duration::from_secs(1);
/// Answers of other machines that are remembered, and for how long: longer than any order takes.
const OTHERS: u64 = 10_000;
const OTHERS_FOR: Duration = Duration::from_secs(60 * 60);
/// Octets of a token: 128 random bits in base64url at least (RFC 8555 §8), and room above.
const TOKEN_OCTETS: std::ops::RangeInclusive<usize> = 22..=128;

/// All challenges this machine can answer; shared by orders and listeners.
pub struct Challenges {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    own: RwLock<Own>,
    /// Those of other machines' orders, as far as word of them came; not by DNS, where all values count.
    others: Cache<(ChallengeKind, String), Challenge>,
    lookups: Semaphore,
    /// Those by DNS have their own: a flood of one kind shall not keep the other from being answered.
    dns_lookups: Semaphore,
    /// To servers whose HTTP-01 ours answer, and that answer ours.
    bridge: ArcSwapOption<Bridge>,
}

/// The answers of this machine's own orders: by token, by hostname, by owner name.
#[derive(Default)]
struct Own {
    http01: HashMap<String, String>,
    tls_alpn01: HashMap<String, String>,
    dns01: HashMap<String, Vec<String>>,
}

impl Own {
    fn add(&mut self, kind: ChallengeKind, key: String, answer: String) {
        match kind {
            ChallengeKind::Http01 => drop(self.http01.insert(key, answer)),
            ChallengeKind::TlsAlpn01 => drop(self.tls_alpn01.insert(key, answer)),
            ChallengeKind::Dns01 => self.dns01.entry(key).or_default().push(answer),
        }
    }

    /// Takes the answer out, unless a newer one stands in its place; whether it was ours.
    fn remove(&mut self, challenge: &Challenge) -> bool {
        let Challenge { kind, key, answer, .. } = challenge;
        let answers = match kind {
            ChallengeKind::Http01 => &mut self.http01,
            ChallengeKind::TlsAlpn01 => &mut self.tls_alpn01,
            ChallengeKind::Dns01 => return self.remove_dns01(key, answer),
        };
        let ours = answers.get(key).is_some_and(|known| known == answer);
        if ours {
            answers.remove(key);
        }
        ours
    }

    fn remove_dns01(&mut self, key: &str, answer: &str) -> bool {
        let Some(answers) = self.dns01.get_mut(key) else { return false };
        let Some(place) = answers.iter().position(|known| known == answer) else { return false };
        answers.swap_remove(place);
        if answers.is_empty() {
            self.dns01.remove(key);
        }
        true
    }
}

impl Challenges {
    /// None published yet.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (lookups, dns_lookups) = (Semaphore::new(STORE_LOOKUPS), Semaphore::new(STORE_LOOKUPS));
        let (own, bridge) = (RwLock::default(), ArcSwapOption::empty());
        let others = Cache::builder().max_capacity(OTHERS).time_to_live(OTHERS_FOR).build();
        Arc::new(Self { store, clock, metrics, own, others, lookups, dns_lookups, bridge })
    }

    /// Publishes an answer in memory and in the store, for `lifetime` at most.
    ///
    /// - `key`: token or hostname, as [`ChallengeKind`] says
    /// - `answer`: the key authorization (RFC 8555 §8.1)
    ///
    /// It is withdrawn with the value that is returned, also when that is dropped. On an error
    /// nothing is left behind in memory.
    pub async fn publish(
        self: &Arc<Self>,
        kind: ChallengeKind,
        key: String,
        answer: String,
        lifetime: Duration,
    ) -> Result<Published, store::Error> {
        let expires = self.clock.now().plus(lifetime);
        self.own.write().add(kind, key.clone(), answer.clone());
        let challenge = Challenge { kind, key, answer, expires };
        // From here on a caller that goes away withdraws it too.
        let published = Published { challenges: self.clone(), challenge, across: None, withdrawn: false };
        self.store.publish_challenge(&published.challenge).await?;
        Ok(published)
    }

    /// Lets `bridge` be crossed from now on; `None`: there is none.
    pub fn set_bridge(&self, bridge: Option<Arc<Bridge>>) {
        self.bridge.store(bridge);
    }

    /// Whether other servers share the answers of HTTP-01.
    pub fn has_bridge(&self) -> bool {
        self.bridge.load().is_some()
    }

    /// The key authorization for an HTTP-01 token: from memory, else from the store, else from
    /// the servers that ours take over from.
    ///
    /// What cannot be a token never reaches the store, and no more than a few look-ups run at a
    /// time, so that a flood of invented tokens costs the store nothing.
    ///
    /// - `hostname`: whom the authority asks
    pub async fn http01(&self, hostname: &Hostname, token: &str) -> Option<String> {
        let known = self.own.read().http01.get(token).cloned();
        let found = match known.or_else(|| self.of_another(ChallengeKind::Http01, token)) {
            Some(answer) => Lookup::Found(answer),
            None if is_token(token) => match self.look_up(ChallengeKind::Http01, token).await {
                missing @ (Lookup::Unknown | Lookup::Fault) => self.across(hostname, token, missing).await,
                found => found,
            },
            None => Lookup::Unknown,
        };
        self.count("http-01", found)
    }

    /// What the servers on the other side of the bridge answer; `missing` where they have nothing.
    async fn across(&self, hostname: &Hostname, token: &str, missing: Lookup) -> Lookup {
        static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(10));
        let Some(bridge) = self.bridge.load_full() else { return missing };
        match bridge.answer(hostname, token).await {
            Ok(Some(answer)) => Lookup::Found(answer),
            Ok(None) => missing,
            Err(LookupFault::Shed) => Lookup::Shed,
            Err(LookupFault::Redis(error)) => {
                if let Some(unsaid) = COMPLAINTS.permit() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        unsaid,
                        "a challenge could not be looked up in the Redis of the bridge"
                    );
                }
                Lookup::Fault
            }
        }
    }

    /// The key authorization for TLS-ALPN-01: of this machine's own order, else from the store. What was
    /// heard of another machine's counts where the store cannot be asked: it is found by its hostname, and
    /// may be of an order that was broken off, with a newer one in its place.
    pub async fn tls_alpn01(&self, hostname: &Hostname) -> Option<String> {
        let (kind, key) = (ChallengeKind::TlsAlpn01, hostname.as_str());
        let own = self.own.read().tls_alpn01.get(key).cloned();
        let found = match own {
            Some(answer) => Lookup::Found(answer),
            None => match self.look_up(kind, key).await {
                unasked @ (Lookup::Shed | Lookup::Fault) => {
                    self.of_another(kind, key).map_or(unasked, Lookup::Found)
                }
                said => said,
            },
        };
        self.count("tls-alpn-01", found)
    }

    /// The values of TXT records for an owner name (lower-case, without a trailing dot) in the zone that
    /// we answer for ourselves: those of this machine's own orders and those in the store.
    ///
    /// Fails where neither memory knows any nor the store can be asked now.
    pub async fn dns01(&self, owner: &str) -> Result<Vec<String>, Fault> {
        let mut values = self.own.read().dns01.get(owner).cloned().unwrap_or_default();
        // Who asks by DNS is bounded already, and a resolver takes a refusal for the end of it.
        let result = match timeout(DNS_WAIT, self.dns_lookups.acquire()).await {
            Err(_) | Ok(Err(_)) => Err(Fault::Busy),
            Ok(Ok(_permit)) => self.store.dns_answers(owner).await.map_err(Fault::Store),
        };
        let (counted, outcome) = match result {
            Ok(stored) => {
                values.extend(stored.into_iter().filter(|value| !values.contains(value)).collect::<Vec<_>>());
                (if values.is_empty() { "unknown" } else { "answered" }, Ok(values))
            }
            Err(_) if !values.is_empty() => ("answered", Ok(values)),
            Err(fault) => (if matches!(fault, Fault::Busy) { "shed" } else { "error" }, Err(fault)),
        };
        self.metrics.challenges_answered.with_label_values(&["dns-01", counted]).inc();
        outcome
    }

    /// Takes over what the store has under `key` now, as another machine published or withdrew it.
    pub async fn look_again(&self, kind: ChallengeKind, key: String) -> Result<(), store::Error> {
        if kind == ChallengeKind::Dns01 {
            return Ok(());
        }
        match self.store.challenge(kind, &key).await? {
            Some(challenge) => self.others.insert((kind, key), challenge),
            None => self.others.invalidate(&(kind, key)),
        }
        Ok(())
    }

    fn of_another(&self, kind: ChallengeKind, key: &str) -> Option<String> {
        let challenge = self.others.get(&(kind, key.to_owned()))?;
        (challenge.expires > self.clock.now()).then_some(challenge.answer)
    }

    async fn look_up(&self, kind: ChallengeKind, key: &str) -> Lookup {
        let Ok(_permit) = self.lookups.try_acquire() else { return Lookup::Shed };
        match self.store.challenge(kind, key).await {
            Ok(Some(challenge)) => Lookup::Found(challenge.answer),
            Ok(None) => Lookup::Unknown,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a challenge could not be looked up"
                );
                Lookup::Fault
            }
        }
    }

    fn count(&self, kind: &str, found: Lookup) -> Option<String> {
        self.metrics.challenges_answered.with_label_values(&[kind, found.label()]).inc();
        match found {
            Lookup::Found(answer) => Some(answer),
            Lookup::Unknown | Lookup::Shed | Lookup::Fault => None,
        }
    }

    /// Takes the answer out of the store. What is left there by a fault expires by itself.
    async fn forget_in_store(&self, challenge: &Challenge) {
        if let Err(error) = self.store.withdraw_challenge(challenge).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "a challenge's answer could not be withdrawn; it expires by itself");
        }
    }
}

#[async_trait]
impl Texts for Challenges {
    async fn texts(&self, owner: &str) -> Result<Vec<String>, Fault> {
        self.dns01(owner).await
    }

    fn is_own(&self, owner: &str) -> bool {
        self.own.read().dns01.contains_key(owner)
    }
}

/// How the search for an answer ended.
enum Lookup {
    Found(String),
    Unknown,
    /// Too many look-ups under way.
    Shed,
    /// The store failed.
    Fault,
}

impl Lookup {
    fn label(&self) -> &'static str {
        match self {
            Self::Found(_) => "answered",
            Self::Unknown => "unknown",
            Self::Shed => "shed",
            Self::Fault => "error",
        }
    }
}

/// A published answer; dropping it withdraws it.
#[must_use = "dropping it withdraws the answer"]
pub struct Published {
    challenges: Arc<Challenges>,
    challenge: Challenge,
    /// Where else it is published, and for which hostname.
    across: Option<(Arc<Bridge>, String)>,
    withdrawn: bool,
}

impl Published {
    /// Publishes an answer of HTTP-01 for `hostname` to the servers on the other side of the bridge
    /// too, where there is one. A fault there does not end the order: our own machines answer.
    pub async fn share(&mut self, hostname: &str, lifetime: Duration) {
        let Some(bridge) = self.challenges.bridge.load_full() else { return };
        let Challenge { key, answer, .. } = &self.challenge;
        // Also where it is not known whether it came there.
        self.across = Some((bridge.clone(), hostname.to_owned()));
        if let Err(error) = bridge.publish(hostname, key, answer, lifetime).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                hostname,
                error,
                "our answer to a challenge is not in the Redis of the bridge, so the old servers cannot give it"
            );
        }
    }

    /// Withdraws the answer from memory and store. To be used wherever one can wait, as a next
    /// order may publish under the same key.
    pub async fn withdraw(mut self) {
        self.challenges.own.write().remove(&self.challenge);
        if let Some((bridge, hostname)) = &self.across {
            bridge.withdraw(hostname, &self.challenge.key, &self.challenge.answer).await;
        }
        self.challenges.forget_in_store(&self.challenge).await;
        self.withdrawn = true;
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        if self.withdrawn {
            return;
        }
        self.challenges.own.write().remove(&self.challenge);
        // Outside a runtime the process is stopping, and the answer in the store expires by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (challenges, challenge) = (self.challenges.clone(), self.challenge.clone());
        let across = self.across.take();
        // An answer that another order has published under this key since is another one.
        runtime.spawn(async move {
            challenges.forget_in_store(&challenge).await;
            if let Some((bridge, hostname)) = across {
                bridge.withdraw(&hostname, &challenge.key, &challenge.answer).await;
            }
        });
    }
}

fn is_token(text: &str) -> bool {
    let base64url = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    TOKEN_OCTETS.contains(&text.len()) && text.bytes().all(base64url)
}

/// The certificate that answers TLS-ALPN-01 (RFC 8737 §3): self-signed, `hostname` its only
/// subjectAltName, and the SHA-256 of the key authorization in the critical acmeIdentifier.
///
/// Returns it as DER, with its key as PKCS#8 DER.
pub fn alpn_certificate(
    hostname: &Hostname,
    key_authorization: &str,
) -> Result<(Vec<u8>, PrivateKey), Cause> {
    let key = KeyPair::generate()?;
    let sha256 = digest::digest(&digest::SHA256, key_authorization.as_bytes());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::DnsName(hostname.as_str().try_into()?)];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(sha256.as_ref())];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.der().to_vec(), PrivateKey::from_der(key.serialize_der())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_authority_would_make_is_a_token() {
        assert!(is_token("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"));
        for odd in ["", "short", "../../../../../../etc/passwd", &"a".repeat(129), "a".repeat(40).as_str()] {
            assert_eq!(is_token(odd), odd.len() == 40, "{odd}");
        }
        assert!(!is_token("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX="));
    }

    #[test]
    fn the_alpn_certificate_is_what_rfc_8737_wants() {
        let hostname = "shop.test".parse().unwrap();
        let (der, _key) = alpn_certificate(&hostname, "token.thumbprint").unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let only = x509_parser::extensions::GeneralName::DNSName("shop.test");
        assert_eq!(names.value.general_names, vec![only]);
        let acme = certificate.extensions().iter().find(|e| e.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
        let acme = acme.expect("the acmeIdentifier extension");
        assert!(acme.critical);
        let sha256 = digest::digest(&digest::SHA256, b"token.thumbprint");
        assert_eq!(acme.value, [&[0x04, 0x20], sha256.as_ref()].concat());
    }
}
