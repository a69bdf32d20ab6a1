//! Before an order: what the servers that ours take over from have for a hostname, or are about to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::find::fault;
use super::import::{Skipped, item};
use super::obtain::Obtain;
use super::{Refusal, in_full};
use crate::acme::bridge::{Bridge, Lock};
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::revocation::Fingerprint;
use crate::store::Attempt;
use crate::telemetry::seldom::Seldom;
use crate::{peers, store};

/// How often to look whether an order of the other servers is through.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How long an order of theirs is waited for: their script is ended after a minute.
const PATIENCE: Duration = Duration::from_secs(60);
/// A certificate that ends sooner is not taken.
const ENOUGH: Duration = Duration::from_secs(60 * 60);
/// A renewal of what ends sooner goes on where nobody can be asked.
const URGENT: Duration = Duration::from_secs(24 * 60 * 60);
/// When it is tried again after Redis failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Whose turn it is.
pub(super) enum Turn {
    /// They have this one.
    Taken(Certificate),
    /// Ours, with the lock that keeps them from ordering, as a rule.
    Ours(Option<Lock>),
}

/// Why it could not be found out what they have.
#[derive(Debug, thiserror::Error)]
enum Unasked {
    #[error(transparent)]
    Redis(#[from] peers::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What came of a look.
enum Found {
    Usable(Certificate),
    /// Nothing, or nothing better than what is to be replaced.
    Nothing,
    /// Something that cannot be used, for this reason.
    Unusable(String),
}

impl Obtain {
    /// Whether the servers on the other side of the bridge have a certificate for `name`, else the turn
    /// to order one. Waits while one of them orders.
    ///
    /// A fault is never "they have none": it ends in a refusal, lest an outage of Redis orders again
    /// what lies there. Only what is served and ends within a day is renewed all the same.
    pub(super) async fn turn(
        &self,
        name: &CertificateName,
        earlier: Option<&Attempt>,
        replaced: Option<&Certificate>,
    ) -> Result<Turn, Refusal> {
        let (Some(bridge), Some(hostname)) = (&self.bridge, name.hostname()) else {
            return Ok(Turn::Ours(None));
        };
        let end = replaced.map(|replaced| replaced.validity.not_after);
        match self.wait(bridge, &hostname, end).await {
            Ok(turn) => Ok(turn),
            Err(Unasked::Store(error)) => Err(fault(name, &error)),
            Err(Unasked::Redis(error)) if self.is_urgent(replaced) => {
                tracing::warn!(%hostname, error = in_full(&error), "the Redis of the bridge failed; a certificate \
                    that ends within a day is renewed without it");
                Ok(Turn::Ours(None))
            }
            Err(Unasked::Redis(error)) => Err(self.note_unasked(name, earlier, bridge, &error).await),
        }
    }

    fn is_urgent(&self, replaced: Option<&Certificate>) -> bool {
        let now = self.clock.now();
        replaced.is_some_and(|replaced| {
            replaced.validity.holds(now) && now.until(replaced.validity.not_after) <= URGENT
        })
    }

    async fn wait(
        &self,
        bridge: &Arc<Bridge>,
        hostname: &Hostname,
        end: Option<UnixTime>,
    ) -> Result<Turn, Unasked> {
        let deadline = Instant::now() + PATIENCE;
        let mut tick = interval(LOOK_AGAIN);
        let mut told = false;
        loop {
            tick.tick().await;
            match self.look_across(bridge, hostname, end).await? {
                Found::Usable(certificate) => return Ok(Turn::Taken(certificate)),
                Found::Unusable(why) if !told => {
                    told = true;
                    tracing::warn!(%hostname, why, "what the Redis of the bridge has for a hostname cannot be \
                        used; a certificate is ordered");
                }
                Found::Nothing | Found::Unusable(_) => {}
            }
            if let Some(lock) = bridge.lock(hostname).await? {
                // One of them may have been through between the look and the lock.
                return Ok(match self.look_across(bridge, hostname, end).await? {
                    Found::Usable(certificate) => Turn::Taken(certificate),
                    Found::Nothing | Found::Unusable(_) => Turn::Ours(Some(lock)),
                });
            }
            if Instant::now() >= deadline {
                tracing::warn!(%hostname, after = ?PATIENCE, "the old servers' order for a hostname does not end; \
                    it is ordered here");
                return Ok(Turn::Ours(None));
            }
        }
    }

    async fn look_across(
        &self,
        bridge: &Bridge,
        hostname: &Hostname,
        end: Option<UnixTime>,
    ) -> Result<Found, Unasked> {
        let value = match bridge.certificate(hostname).await {
            Ok(Some(value)) => value,
            Ok(None) => return Ok(Found::Nothing),
            Err(error @ peers::Error::NoString) => return Ok(Found::Unusable(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let name = CertificateName::from(hostname);
        let found = match self.read_across(bridge, &name, &value) {
            Ok(certificate) if end.is_some_and(|end| certificate.validity.not_after <= end) => Found::Nothing,
            Ok(certificate) if self.is_revoked(&certificate).await? => {
                Found::Unusable("it was revoked here".to_owned())
            }
            Ok(certificate) => Found::Usable(certificate),
            Err(Skipped::Peer(peers::Error::Empty)) => Found::Nothing,
            Err(why) => Found::Unusable(in_full(&why)),
        };
        bridge.count_read(match &found {
            Found::Usable(_) => "ok",
            Found::Nothing => "none",
            Found::Unusable(_) => "unusable",
        });
        Ok(found)
    }

    /// The certificate in `value`, filed under `name`, which it covers.
    fn read_across(
        &self,
        bridge: &Bridge,
        name: &CertificateName,
        value: &[u8],
    ) -> Result<Certificate, Skipped> {
        let texts = bridge.texts(value)?;
        let text = item::joined(texts.chain.as_bytes(), texts.key.as_bytes())?;
        let enough = self.clock.now().plus(ENOUGH);
        let mut certificates = item::certificates(&text, Some(name), self.clock.now())?;
        let mut certificate = certificates.swap_remove(0);
        if certificate.validity.not_after < enough {
            let not_after = certificate.validity.not_after;
            return Err(super::PemError::Expired { not_after }.into());
        }
        // All have the same leaf, and one of its names covers this one.
        certificate.name = name.clone();
        Ok(certificate)
    }

    /// By whatever way it comes back.
    async fn is_revoked(&self, certificate: &Certificate) -> Result<bool, store::Error> {
        let Some(leaf) = certificate.chain.first() else { return Ok(false) };
        let revoked = self.store.revoked(UnixTime(0), self.clock.now()).await?;
        let leaf = Fingerprint::of(leaf);
        Ok(revoked.iter().any(|(fingerprint, ..)| *fingerprint == leaf))
    }

    /// Keeps that nothing was ordered, so that whoever looks is told why; visitors are refused from
    /// memory until the next try.
    async fn note_unasked(
        &self,
        name: &CertificateName,
        earlier: Option<&Attempt>,
        bridge: &Bridge,
        error: &peers::Error,
    ) -> Refusal {
        static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(10));
        let why = in_full(error);
        if let Some(unsaid) = COMPLAINTS.permit() {
            tracing::error!(hostname = %name, error = why, unsaid, "the Redis of the bridge failed; nothing is \
                ordered meanwhile");
        }
        let report = format!(
            "nothing was ordered, as the Redis of [bridge] at {} could not be asked whether the old servers have a \
             certificate: {why}; it is asked again within seconds. Where it is gone for good take [bridge] out of the \
             configuration",
            bridge.place()
        );
        let now = self.clock.now();
        let attempt = Attempt {
            at: now,
            failures: earlier.map_or(0, |earlier| earlier.failures).max(1),
            next: Some(now.plus(AGAIN)),
            report: report.clone(),
            failed_validations: earlier.map(|one| one.failed_validations.clone()).unwrap_or_default(),
        };
        self.record(name, &attempt).await;
        Refusal::Fault(report.into())
    }
}
