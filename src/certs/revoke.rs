//! Revocation: a certificate taken out of service for good, replaced, and its authority told.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::time::{sleep, timeout};

use super::find::{Certificates, fault};
use super::{Prepare, Refusal, in_full};
use crate::domain::approval::Verdict;
use crate::domain::budget::Purpose;
use crate::domain::certificate::{Certificate, Source};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::revocation::{Fingerprint, Reason};
use crate::store::{Error, Revocation, SKEW};

/// How often to look for what other machines revoked and for authorities to be told.
const LOOK: Duration = Duration::from_secs(5);
/// Authorities told between two looks, at most.
const BATCH: u32 = 100;
/// How long a replacement is waited for before the old certificate is taken out without one.
const REPLACEMENT: Duration = Duration::from_secs(120);
/// Pause before a replacement is tried again that found no room.
const AGAIN: Duration = Duration::from_millis(100);
/// First and longest pause between two tries to tell an authority.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// The certificates that are not to be served again, as far as this machine knows.
#[derive(Default)]
pub struct Revoked(RwLock<HashSet<Fingerprint>>);

impl Revoked {
    /// Whether `certificate` is one of them.
    pub fn has(&self, certificate: &Certificate) -> bool {
        let revoked = self.0.read();
        !revoked.is_empty()
            && certificate.chain.first().is_some_and(|leaf| revoked.contains(&Fingerprint::of(leaf)))
    }

    /// Takes one in; whether it is new.
    fn insert(&self, fingerprint: Fingerprint) -> bool {
        self.0.write().insert(fingerprint)
    }
}

/// What came of a revocation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The name.
    pub name: CertificateName,
    /// Why it was revoked.
    pub reason: Reason,
    /// Until when the certificate in its place is valid; else why there is none.
    pub replaced: Result<UnixTime, String>,
    /// The authority that was told; else why not, and when that is tried again.
    pub told: Result<Option<String>, String>,
}

impl Outcome {
    /// Whether nothing is left to do.
    pub fn is_through(&self) -> bool {
        self.replaced.is_ok() && self.told.is_ok()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate of {} is not served any more ({}); ", self.name, self.reason)?;
        match &self.told {
            Ok(Some(authority)) => write!(f, "{authority} has revoked it; ")?,
            Ok(None) => f.write_str("it was imported, so have it revoked where it came from; ")?,
            Err(why) => write!(f, "its authority has not revoked it yet: {why}; ")?,
        }
        match &self.replaced {
            Ok(end) => write!(f, "another one, valid until {end}, is in its place"),
            Err(why) => write!(f, "no other one is in its place: {why}"),
        }
    }
}

impl<P: Prepare> Certificates<P> {
    /// Revokes the certificate of `hostname`: another one with a new key takes its place, and it is
    /// never served again, by whatever way it comes back. Where no other one can be had within two
    /// minutes it is taken out of service all the same.
    ///
    /// `None` where the store has no certificate of exactly this name. Fails where the store does,
    /// and then nothing is revoked.
    pub async fn revoke(
        self: &Arc<Self>,
        hostname: &Hostname,
        reason: Reason,
    ) -> Result<Option<Outcome>, Refusal> {
        let name = CertificateName::from(hostname);
        let stored = self.store.certificate(&name).await.map_err(|error| fault(&name, &error))?;
        let Some(certificate) = stored else { return Ok(None) };
        let mut revocation = self.revocation(&certificate, reason);
        self.store.save_revocation(&revocation).await.map_err(|error| fault(&name, &error))?;
        // From here on nothing is undone: what fails is told, and the rest is done all the same.
        self.revoked.insert(Fingerprint::of(&revocation.leaf));
        if let Err(error) = self.local.forget(&name).await {
            tracing::warn!(%name, error = in_full(&error), "the local copy could not be removed");
        }
        let mut replaced = self.replacement(&certificate).await;
        // Where it was replaced the new one is loaded by the next handshake.
        self.index.remove(&name);
        if let Err(why) = &mut replaced {
            self.known.remove(&name);
            if let Err(error) = self.store.remove(&name).await {
                why.push_str(&format!("; its record stays, and is not served: {}", in_full(&error)));
            }
        }
        let told = self.tell(&mut revocation).await;
        let outcome = Outcome { name, reason, replaced, told };
        tracing::warn!(%hostname, %outcome, "a certificate was revoked");
        Ok(Some(outcome))
    }

    fn revocation(&self, certificate: &Certificate, reason: Reason) -> Revocation {
        let now = self.clock.now();
        let authority = match &certificate.source {
            Source::Authority(authority) => Some(authority.clone()),
            Source::Imported | Source::File | Source::Own(_) => None,
        };
        Revocation {
            name: certificate.name.clone(),
            leaf: certificate.chain.first().cloned().unwrap_or_default(),
            // Told by `revoke` itself once it is replaced; by others where this process ends before.
            next: authority.is_some().then_some(now.plus(REPLACEMENT)),
            authority,
            reason,
            asked_at: now,
            not_after: certificate.validity.not_after,
            failures: 0,
            report: "its authority is to be told".to_owned(),
        }
    }

    /// Another certificate in the place of `old`, saved and in service; its end.
    async fn replacement(self: &Arc<Self>, old: &Certificate) -> Result<UnixTime, String> {
        if let Verdict::Denied(reason) = self.rules().decide(&old.name, None).await {
            return Err(format!("it is not approved: {reason}"));
        }
        let order = async {
            loop {
                match self.order_again(&old.name, Purpose::LateRenewal, Some(old.clone())).await {
                    // Renewals take all places; this goes before the next one of them.
                    Err(Refusal::Busy) => sleep(AGAIN).await,
                    ended => break ended,
                }
            }
        };
        match timeout(REPLACEMENT, order).await {
            Err(_elapsed) => return Err(format!("the order took longer than {} s", REPLACEMENT.as_secs())),
            Ok(ended) => drop(ended.map_err(|refusal| refusal.to_string())?),
        }
        match self.store.certificate(&old.name).await {
            Ok(Some(new)) if new.chain.first() != old.chain.first() => Ok(new.validity.not_after),
            Ok(_) => Err("the order gave the same certificate".to_owned()),
            Err(error) => Err(in_full(&error)),
        }
    }

    /// Tells the authority, and keeps what came of it.
    async fn tell(&self, revocation: &mut Revocation) -> Result<Option<String>, String> {
        let Some(authority) = revocation.authority.clone() else { return Ok(None) };
        let rules = self.rules();
        let told = rules.obtain.authorities.revoke(&authority, &revocation.leaf, revocation.reason).await;
        let result = match told {
            Ok(()) => {
                revocation.next = None;
                revocation.report = "its authority was told".to_owned();
                "told"
            }
            Err(cause) => {
                let pause = RETRY.0 * 2_u32.saturating_pow(revocation.failures.min(10));
                let next = self.clock.now().plus(pause.min(RETRY.1));
                revocation.failures += 1;
                // Once it has ended nobody trusts it any more.
                revocation.next = (next < revocation.not_after).then_some(next);
                revocation.report = in_full(&cause);
                "failed"
            }
        };
        self.metrics.revocations.with_label_values(&[result]).inc();
        if let Err(error) = self.store.save_revocation(revocation).await {
            tracing::warn!(name = %revocation.name, error = in_full(&error),
                "what its authority said to a revocation could not be kept; it is told again");
        }
        match (result, revocation.next) {
            ("told", _) => Ok(Some(authority)),
            (_, Some(next)) => {
                Err(format!("{}: {}; the next try is at {next}", authority, revocation.report))
            }
            (_, None) => Err(format!("{}: {}", authority, revocation.report)),
        }
    }

    /// Learns what was revoked before, so that nothing of it is served from the first handshake on.
    /// Where the store cannot say, [`Certificates::follow_revocations`] learns it later.
    pub async fn recall_revoked(&self) {
        if let Err(error) = self.learn_revoked(UnixTime(0)).await {
            tracing::warn!(error = in_full(&error), "what was revoked could not be read; trying again");
        }
    }

    /// Takes out of service what other machines revoked, and tells authorities that could not be
    /// told before. Never ends.
    pub async fn follow_revocations(self: &Arc<Self>) {
        let mut since = UnixTime(0);
        loop {
            match self.learn_revoked(since).await {
                Ok(last) => since = last.map_or(since, |last| last.minus(SKEW)),
                Err(error) => {
                    tracing::warn!(
                        error = in_full(&error),
                        "what was revoked could not be read; trying again"
                    );
                }
            }
            if let Err(error) = self.tell_due().await {
                tracing::warn!(
                    error = in_full(&error),
                    "whose authority is to be told of a revocation could not be read; trying again"
                );
            }
            sleep(LOOK).await;
        }
    }

    /// When the last of those that were learnt was revoked.
    async fn learn_revoked(&self, since: UnixTime) -> Result<Option<UnixTime>, Error> {
        let revoked = self.store.revoked(since, self.clock.now()).await?;
        let last = revoked.iter().map(|(_, _, at)| *at).max();
        for (fingerprint, name, _) in revoked {
            if self.revoked.insert(fingerprint) {
                // Whatever is stored now is loaded by the next handshake.
                self.index.remove(&name);
                if self
                    .local
                    .load(&name)
                    .await
                    .is_ok_and(|kept| kept.is_some_and(|kept| self.revoked.has(&kept)))
                {
                    self.local.forget(&name).await?;
                }
            }
        }
        Ok(last)
    }

    async fn tell_due(&self) -> Result<(), Error> {
        for mut revocation in self.store.revocations_to_tell(self.clock.now(), BATCH).await? {
            match self.tell(&mut revocation).await {
                Ok(_) => {
                    tracing::info!(name = %revocation.name, "its authority has revoked the certificate now")
                }
                Err(why) => {
                    tracing::warn!(name = %revocation.name, why, "its authority has not revoked the certificate yet");
                }
            }
        }
        let pending = self.store.revocations_pending().await?;
        self.metrics.revocations_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        Ok(())
    }
}
