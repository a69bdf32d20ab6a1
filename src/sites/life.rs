//! The life of hostnames: each is looked at again and again, soon at first, and its certificate is
//! obtained as soon as its DNS leads here, before anybody visits it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::plan::Plan;
use super::service::Sites;
use super::standing::{self, Seen, Serving};
use crate::certs::Refusal;
use crate::dns::diagnosis::{Diagnosis, Leads, RecordKind, RecordStatus};
use crate::domain::event::EventKind;
use crate::domain::hostname::CertificateName;
use crate::domain::registration::{Proof, Registration, Standing, State};
use crate::store::records::{Claimed, Look};
use crate::store::{Attempt, Error};
use crate::telemetry::seldom::Seldom;

/// How often the store is looked at for hostnames to look at.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before a look that failed is repeated.
const AFTER_A_FAULT: Duration = Duration::from_secs(10);
/// Looks at once.
const AT_ONCE: usize = 32;
/// How often old events are forgotten and late certificates told of.
const TIDY: u32 = 60;
/// Names that nobody lists, taken at a time.
const UNLISTED: u32 = 500;

/// The looks under way, and who wakes the next one.
#[derive(Default)]
pub struct Looks {
    under_way: Mutex<HashSet<i64>>,
    wake: Notify,
}

impl Looks {
    /// Has the store looked at at once for hostnames to look at.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// What a look found.
struct Found<'a> {
    /// The hostname holds its name.
    holder: bool,
    /// Its certificate can be obtained by DNS alone.
    by_dns: bool,
    diagnosis: &'a Diagnosis,
    certificate: Option<Serving>,
}

/// A look's place among those under way, given back however it ends.
struct Place(Arc<Sites>, i64);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.looks.under_way.lock().remove(&self.1);
    }
}

impl Sites {
    /// Looks at hostnames whenever that is due. Never ends.
    pub async fn live(self: Arc<Self>) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        for round in 0_u32.. {
            if let Err(error) = self.live_once(&slots, round.is_multiple_of(TIDY)).await {
                complain(&error);
            }
            // However it ends, the store is looked at.
            let _either = timeout(LOOK, self.looks.wake.notified()).await;
        }
    }

    async fn live_once(self: &Arc<Self>, slots: &Arc<Semaphore>, tidy: bool) -> Result<(), Error> {
        // A name that nobody lists may be one that a store begun anew is about to take in.
        if !self.directory.is_of(&*self.records).await? {
            return Ok(());
        }
        self.list_unlisted().await?;
        if tidy {
            self.records.note_expiring(self.clock.now(), UNLISTED).await?;
            self.records.trim_events().await?;
            self.records.trim_answers().await?;
        }
        let under_way = self.looks.under_way.lock().len();
        // A fleet's store holds for this machine what it hands out: no more than there is a place for.
        let limit = u32::try_from(under_way + slots.available_permits()).unwrap_or(u32::MAX);
        for due in self.records.due_for_look(self.clock.now(), limit).await? {
            if !self.looks.under_way.lock().insert(due.id) {
                continue;
            }
            let place = Place(self.clone(), due.id);
            let Ok(slot) = slots.clone().try_acquire_owned() else { break };
            tokio::spawn(async move {
                let looked = place.0.look_at(due).await;
                drop(slot);
                match looked {
                    // What became due meanwhile, such as by this very look, is seen at once.
                    Ok(()) => place.0.looks.wake(),
                    Err(error) => {
                        complain(&error);
                        tokio::time::sleep(AFTER_A_FAULT).await;
                    }
                }
            });
        }
        Ok(())
    }

    /// Lists names that came by a handshake or an import.
    async fn list_unlisted(&self) -> Result<(), Error> {
        for name in self.records.unlisted(UNLISTED).await? {
            match self.list(&name).await {
                Ok(()) => {}
                // That alone is of no use to anybody; anything else passes.
                Err(error) if error.is_of_the_record() => complain(&error),
                Err(error) => return Err(error),
            }
            self.records.forget_unlisted(&name).await?;
        }
        Ok(())
    }

    /// One look.
    async fn look_at(&self, hostname: Registration) -> Result<(), Error> {
        let plan = self.plan();
        let aim = plan.aim(&hostname, self.target_of(&hostname.site).await?);
        let mut diagnosis = plan.diagnoser.diagnose(&aim).await;
        if diagnosis.leads == Leads::Unknown {
            diagnosis.led = earlier(&hostname.standing).and_then(|earlier| earlier.last_known());
        }
        let holder = self.claim(&hostname, &diagnosis, &plan).await?;
        let mut refusal = None;
        let by_dns = self.by_dns(&hostname, &diagnosis).await;
        let attempt = self.records.attempt(&hostname.name).await?;
        // Last of all, so that what a visit obtains meanwhile is seen.
        let mut certificate = self.certificate_of(&hostname.name).await?;
        let here = diagnosis.leads == Leads::Here && diagnosis.first_trouble().is_none();
        let visited = here && !hostname.name.is_wildcard();
        let may = visited || (by_dns && diagnosis.allows_dns_01());
        if holder && certificate.is_none() && may {
            // The directory may not have seen yet that it holds its name.
            self.directory.refresh(&*self.records, &hostname.name).await?;
            refusal = self.keeper.obtain_ahead(&hostname.name).await.err();
            certificate = self.certificate_of(&hostname.name).await?;
        }
        let found = Found { holder, by_dns, diagnosis: &diagnosis, certificate };
        let look = self.judge(&hostname, found, attempt, refusal.as_ref());
        self.records.note_look(hostname.id, &look).await
    }

    /// Whether its certificate can be obtained by DNS alone: its `_acme-challenge` leads to where records
    /// stand that we answer or can write.
    async fn by_dns(&self, hostname: &Registration, diagnosis: &Diagnosis) -> bool {
        match diagnosis.delegated {
            RecordStatus::Right => true,
            _ => self.keeper.by_dns(&hostname.name).await,
        }
    }

    fn judge(
        &self,
        hostname: &Registration,
        found: Found<'_>,
        attempt: Option<Attempt>,
        refusal: Option<&Refusal>,
    ) -> Look {
        let (now, before) = (self.clock.now(), &hostname.standing);
        let Found { holder, by_dns, diagnosis, certificate } = found;
        let (state, reason) = standing::standing(&Seen {
            name: &hostname.name,
            proof: &hostname.proof,
            holder,
            by_dns,
            diagnosis,
            certificate,
            attempt: attempt.as_ref(),
            refusal,
            before: before.state,
            now,
        });
        let same = before.state == state && before.reason == reason;
        let looks = if same { before.looks.saturating_add(1) } else { before.looks.min(1) };
        let next_attempt = match (state, refusal, attempt) {
            (State::Serving, _, _) => None,
            (_, Some(Refusal::Failed(attempt)), _) => attempt.next,
            (_, _, attempt) => attempt.and_then(|attempt| attempt.next),
        };
        let wait = next_attempt.filter(|next| *next > now).map(|next| now.until(next));
        let pause = standing::pause(state, looks, wait, rand::random());
        Look {
            events: dns_events(before, diagnosis, state),
            turn: hostname.turn,
            holder,
            standing: Standing {
                state,
                reason,
                diagnosis: serde_json::to_string(diagnosis).ok(),
                looks,
                looked_at: Some(now),
                look_at: now.plus(pause),
            },
        }
    }

    /// Claims the name where what DNS says allows it; whether the hostname holds its name.
    async fn claim(
        &self,
        hostname: &Registration,
        diagnosis: &Diagnosis,
        plan: &Plan,
    ) -> Result<bool, Error> {
        // Where the challenge leads is another place for each organization.
        let own = diagnosis.by_preview
            || diagnosis.ownership == RecordStatus::Right
            || diagnosis.delegated == RecordStatus::Right;
        let proof = match diagnosis.leads {
            _ if own => Proof::Own,
            Leads::Here => Proof::Dns,
            _ => return Ok(hostname.holder),
        };
        let theirs_gone = proof == Proof::Own && self.claim_is_gone(hostname, diagnosis, plan).await?;
        let claimed = self.records.claim_for(hostname.id, proof, theirs_gone).await?;
        if claimed == Claimed::Held && !hostname.holder {
            self.records.bring_back(&hostname.name).await?;
            self.directory.look();
        }
        Ok(claimed == Claimed::Held)
    }

    /// Whether another organization that has claimed the name by a proof of its own can no longer
    /// show it.
    async fn claim_is_gone(
        &self,
        hostname: &Registration,
        diagnosis: &Diagnosis,
        plan: &Plan,
    ) -> Result<bool, Error> {
        let Some(claim) = self.records.claim(&hostname.name).await? else { return Ok(false) };
        if claim.organization == hostname.organization {
            return Ok(false);
        }
        let Some(theirs) = self.records.registration(&claim.organization, &hostname.name).await? else {
            return Ok(true);
        };
        let preview = plan.preview(&theirs.preview);
        let delegation = plan.delegation(&hostname.name, claim.organization.as_str());
        let stands = diagnosis.records_found.iter().any(|record| match record.kind {
            RecordKind::Txt => record.value.trim_matches('"') == theirs.proof,
            RecordKind::Cname => {
                preview.as_ref().is_some_and(|preview| record.value == preview.as_str())
                    || delegation.as_ref().is_some_and(|delegation| record.value == *delegation)
            }
            _ => false,
        });
        Ok(!stands)
    }

    /// The certificate that serves `name` now: one that was brought for it, else one that was obtained,
    /// else a wildcard's.
    async fn certificate_of(&self, name: &CertificateName) -> Result<Option<Serving>, Error> {
        let now = self.clock.now();
        let brought = self.records.own_facts(name).await?.into_iter().map(|facts| facts.validity);
        if let Some(end) = brought.filter(|validity| validity.holds(now)).map(|valid| valid.not_after).max() {
            return Ok(Some(Serving { until: end, own: true }));
        }
        let wildcard = name.hostname().and_then(|hostname| CertificateName::wildcard_of(&hostname));
        for filed in [Some(name.clone()), wildcard].into_iter().flatten() {
            match self.records.certificate(&filed).await {
                Ok(Some(certificate))
                    if certificate.validity.holds(now) && !self.keeper.is_revoked(&certificate) =>
                {
                    return Ok(Some(Serving::obtained(certificate.validity)));
                }
                Ok(_) => {}
                // A damaged one is not served, and is replaced when it is asked for.
                Err(error) if error.is_of_the_record() => {}
                Err(error) => return Err(error),
            }
        }
        // Those from files are in memory alone.
        Ok(name.hostname().and_then(|hostname| self.keeper.validity(&hostname)).map(Serving::obtained))
    }
}

/// What the last look found; one of another version is as good as none.
fn earlier(standing: &Standing) -> Option<Diagnosis> {
    standing.diagnosis.as_deref().and_then(|text| serde_json::from_str(text).ok())
}

/// What happened to the DNS of a hostname that is served.
fn dns_events(before: &Standing, diagnosis: &Diagnosis, state: State) -> Vec<(EventKind, serde_json::Value)> {
    let Some(led) = earlier(before).and_then(|earlier| earlier.last_known()) else { return Vec::new() };
    let detail = || json!({ "advice": diagnosis.first_trouble() });
    match (led, diagnosis.leads) {
        (Leads::Here, Leads::Elsewhere) if state == State::Serving => {
            vec![(EventKind::HostnameDnsLeft, detail())]
        }
        (Leads::Elsewhere, Leads::Here) if before.state == State::Serving => {
            vec![(EventKind::HostnameDnsReturned, detail())]
        }
        _ => Vec::new(),
    }
}

fn complain(error: &Error) {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
    if let Some(unsaid) = COMPLAINTS.permit() {
        let error = error as &dyn std::error::Error;
        tracing::warn!(error, unsaid, "a hostname could not be looked at; it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::UnixTime;

    fn diagnosis(leads: Leads, led: Option<Leads>) -> Diagnosis {
        Diagnosis {
            records_wanted: Vec::new(),
            records_found: Vec::new(),
            advice: Vec::new(),
            leads,
            led,
            by_preview: false,
            ownership: RecordStatus::Unneeded,
            delegated: RecordStatus::Unneeded,
        }
    }

    #[test]
    fn dns_that_left_is_told_of_also_behind_a_look_that_could_not_tell() {
        let told = |before: Diagnosis, leads| {
            let standing = Standing {
                state: State::Serving,
                reason: String::new(),
                diagnosis: serde_json::to_string(&before).ok(),
                looks: 1,
                looked_at: None,
                look_at: UnixTime(0),
            };
            let events = dns_events(&standing, &diagnosis(leads, None), State::Serving);
            events.first().map(|(kind, _)| *kind)
        };
        use Leads::{Elsewhere, Here, Unknown};
        assert_eq!(told(diagnosis(Here, None), Elsewhere), Some(EventKind::HostnameDnsLeft));
        assert_eq!(told(diagnosis(Here, None), Unknown), None);
        assert_eq!(told(diagnosis(Unknown, Some(Here)), Elsewhere), Some(EventKind::HostnameDnsLeft));
        assert_eq!(told(diagnosis(Unknown, Some(Here)), Here), None);
        assert_eq!(told(diagnosis(Unknown, Some(Elsewhere)), Here), Some(EventKind::HostnameDnsReturned));
        assert_eq!(told(diagnosis(Unknown, None), Elsewhere), None, "nothing is known of before");
    }
}
