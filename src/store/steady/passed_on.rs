//! Each call passed on to the store that is open.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;

use super::SteadyStore;
use crate::domain::access::Reach;
use crate::domain::certificate::{Certificate, KeyFamily};
use crate::domain::clock::UnixTime;
use crate::domain::event::{Event, EventKind};
use crate::domain::fleet::Machine;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::label::Label;
use crate::domain::registration::{Claim, Proof, Registration, Settings, State};
use crate::domain::renewal::Window;
use crate::domain::revocation::Fingerprint;
use crate::domain::ticket::TicketKey;
use crate::store::answers::{Answer, Answers, Keyed, Turn};
use crate::store::changes::{Changes, LOOK, News};
use crate::store::fleet::{Fleet, Seen, Work};
use crate::store::own::{Brought, OwnCertificates, Stamp};
use crate::store::records::{
    Actor, CertificateFacts, Certificates, Changed, Claimed, EventFilter, Events, Filter, Hostnames,
    HourCount, Listing, Look, NewHostname, Organization, Registered, Registry, StoredSite, Token,
};
use crate::store::tickets::{FleetKeys, TicketKeys};
use crate::store::webhooks::{Delivery, DeliveryFilter, Due, HandedOut, Outcome, Webhook, Webhooks};
use crate::store::{
    AccountCredentials, Attempt, Bound, Challenge, ChallengeKind, Error, Health, Imported, Lease, Ledger,
    Placed, Proofs, RenewalState, Resealed, Revocation, Revocations, Sealed, Store, UnfinishedOrder,
    WrittenRecord, ZoneLease,
};

/// Passes each method on to the store, where it is open.
macro_rules! passed_on {
    ($trait:ident { $(fn $method:ident(&self $(, $arg:ident: $type:ty)*) -> $out:ty;)+ }) => {
        #[async_trait]
        impl $trait for SteadyStore {
            $(async fn $method(&self $(, $arg: $type)*) -> Result<$out, Error> {
                self.seen(self.get()?.records().$method($($arg),*).await)
            })+
        }
    };
}

passed_on!(Store {
    fn certificate(&self, name: &CertificateName) -> Option<Certificate>;
    fn has_certificate(&self, name: &CertificateName) -> bool;
    fn names_after(&self, after: Option<&CertificateName>, limit: u32) -> Vec<CertificateName>;
    fn claim_due(&self, now: UnixTime, limit: u32, hold: Duration) -> Vec<CertificateName>;
    fn give_up_claims(&self, names: &[CertificateName]) -> ();
    fn count_due(&self, now: UnixTime, most: u32) -> u64;
    fn postpone_renewal(&self, name: &CertificateName, until: UnixTime) -> ();
    fn renewal_state(&self, name: &CertificateName) -> Option<RenewalState>;
    fn park_renewal(&self, name: &CertificateName, reason: &str, again: UnixTime) -> ();
    fn due_for_asking(&self, now: UnixTime, limit: u32) -> Vec<CertificateName>;
    fn note_window(
        &self,
        name: &CertificateName,
        window: Option<Window>,
        ask: UnixTime,
        due: Option<UnixTime>
    ) -> ();
    fn late(&self, now: UnixTime) -> (u64, Option<CertificateName>);
    fn parked(&self) -> u64;
    fn ending_between(&self, begin: UnixTime, end: UnixTime) -> u64;
    fn save(&self, lease: &Lease, certificate: &Certificate) -> ();
    fn import(&self, certificates: &[Certificate]) -> Imported;
    fn remove(&self, name: &CertificateName) -> bool;
    fn quarantine(&self, name: &CertificateName, why: &str) -> bool;
    fn withhold(&self, name: &CertificateName) -> ();
    fn bring_back(&self, name: &CertificateName) -> bool;
    fn lease(&self, name: &CertificateName, ttl: Duration) -> Option<Lease>;
    fn renew_lease(&self, lease: &Lease, ttl: Duration) -> ();
    fn release(&self, lease: &Lease) -> ();
    fn record_attempt(&self, name: &CertificateName, attempt: &Attempt) -> ();
    fn attempt(&self, name: &CertificateName) -> Option<Attempt>;
    fn allow_attempt(&self, name: &CertificateName, next: UnixTime) -> ();
    fn account(&self, key: &str) -> Option<AccountCredentials>;
    fn save_account(&self, key: &str, credentials: &AccountCredentials) -> AccountCredentials;
});

passed_on!(Proofs {
    fn publish_challenge(&self, challenge: &Challenge) -> ();
    fn challenge(&self, kind: ChallengeKind, key: &str) -> Option<Challenge>;
    fn dns_answers(&self, owner: &str) -> Vec<String>;
    fn withdraw_challenge(&self, challenge: &Challenge) -> ();
    fn keep_record(&self, record: &WrittenRecord) -> ();
    fn forget_record(&self, record: &WrittenRecord) -> ();
    fn abandoned_records(&self, limit: u32) -> Vec<WrittenRecord>;
    fn lease_zone(&self, zone: &Hostname, ttl: Duration) -> Option<ZoneLease>;
    fn release_zone(&self, lease: &ZoneLease) -> ();
});

passed_on!(Sealed {
    fn adopt_key(&self) -> ();
    fn reseal(&self, after: &str, limit: u32) -> Resealed;
    fn retire_keys(&self) -> ();
});

passed_on!(OwnCertificates {
    fn own_certificates(&self, name: &CertificateName) -> Vec<Certificate>;
    fn own_facts(&self, name: &CertificateName) -> Vec<CertificateFacts>;
    fn bring_own(&self, organization: &Label, certificate: &Certificate, actor: Actor<'_>) -> Brought;
    fn remove_own(
        &self,
        organization: &Label,
        name: &CertificateName,
        family: Option<KeyFamily>,
        actor: Actor<'_>
    ) -> u64;
    fn quarantine_own(&self, name: &CertificateName, why: &str) -> u64;
    fn own_names(&self) -> HashMap<CertificateName, Stamp>;
    fn last_own_change(&self) -> i64;
    fn own_changes(&self, after: i64, limit: u32) -> Option<Vec<(i64, CertificateName)>>;
    fn due_for_fall_back(&self, now: UnixTime, limit: u32) -> Vec<CertificateName>;
    fn postpone_fall_back(&self, name: &CertificateName, until: UnixTime) -> ();
});

passed_on!(Revocations {
    fn save_revocation(&self, revocation: &Revocation) -> ();
    fn revocations_to_tell(&self, now: UnixTime, limit: u32) -> Vec<Revocation>;
    fn revocations_pending(&self) -> u64;
    fn revoked(
        &self,
        since: UnixTime,
        now: UnixTime
    ) -> Vec<(Fingerprint, CertificateName, UnixTime)>;
});

passed_on!(Ledger {
    fn health(&self, authority: &str) -> Option<Health>;
    fn save_health(&self, authority: &str, health: &Health) -> ();
    fn place_order(
        &self,
        authority: &str,
        account: u32,
        name: &CertificateName,
        bounds: &[Bound]
    ) -> Placed;
    fn keep_order(&self, name: &CertificateName, order: &UnfinishedOrder) -> ();
    fn kept_order(&self, name: &CertificateName) -> Option<UnfinishedOrder>;
    fn forget_order(&self, name: &CertificateName) -> ();
});

passed_on!(Registry {
    fn organization(&self, name: &Label) -> Option<Organization>;
    fn set_quota(&self, name: &Label, quota: Option<u32>, actor: Actor<'_>) -> ();
    fn organizations(&self, after: &str, limit: u32) -> Vec<Organization>;
    fn add_token(&self, token: &Token, actor: Actor<'_>) -> ();
    fn token(&self, id: &str) -> Option<Token>;
    fn tokens(&self, reach: &Reach, after: &str, limit: u32) -> Vec<Token>;
    fn revoke_token(&self, reach: &Reach, id: &str, actor: Actor<'_>) -> bool;
    fn site(&self, name: &Label) -> Option<StoredSite>;
    fn sites(&self, reach: &Reach, after: &str, limit: u32) -> Vec<StoredSite>;
    fn add_site(&self, site: &StoredSite, actor: Actor<'_>) -> bool;
    fn change_site(
        &self,
        site: &StoredSite,
        based_on: Option<i64>,
        actor: Actor<'_>
    ) -> Changed<StoredSite>;
    fn remove_site(&self, name: &Label, actor: Actor<'_>) -> Option<u64>;
});

passed_on!(Hostnames {
    fn register(&self, new: &NewHostname, actor: Actor<'_>) -> Registered;
    fn registration(&self, organization: &Label, name: &CertificateName) -> Option<Registration>;
    fn holder(&self, name: &CertificateName) -> Option<Registration>;
    fn claim(&self, name: &CertificateName) -> Option<Claim>;
    fn registrations(&self, filter: &Filter) -> Vec<Registration>;
    fn count_states(&self, reach: &Reach) -> Vec<(State, u64)>;
    fn configure(
        &self,
        organization: &Label,
        name: &CertificateName,
        settings: &Settings,
        based_on: Option<i64>,
        actor: Actor<'_>
    ) -> Changed<Registration>;
    fn unregister(
        &self,
        organization: &Label,
        name: &CertificateName,
        actor: Actor<'_>
    ) -> Option<Registration>;
    fn due_for_look(&self, now: UnixTime, limit: u32) -> Vec<Registration>;
    fn look_again(&self, id: i64, at: UnixTime) -> ();
    fn note_look(&self, id: i64, look: &Look) -> ();
    fn claim_for(&self, id: i64, proof: Proof, theirs_gone: bool) -> Claimed;
    fn unlisted(&self, limit: u32) -> Vec<CertificateName>;
    fn forget_unlisted(&self, name: &CertificateName) -> ();
    fn listings_after(&self, id: i64, limit: u32) -> Vec<Listing>;
    fn listings_of(&self, name: &CertificateName) -> Vec<Listing>;
    fn restore(&self, sites: &[StoredSite], listings: &[Listing]) -> u64;
    fn last_change(&self) -> i64;
    fn changes_after(&self, after: i64, limit: u32) -> Option<Vec<(i64, Option<CertificateName>)>>;
});

passed_on!(Events {
    fn events(&self, filter: &EventFilter) -> Vec<Event>;
    fn events_after(&self, id: i64, limit: u32) -> Vec<Event>;
    fn orders_by_hour(&self, reach: &Reach, since: UnixTime) -> Vec<HourCount>;
    fn note_event(
        &self,
        organization: &Label,
        kind: EventKind,
        actor: Actor<'_>,
        detail: &serde_json::Value
    ) -> ();
    fn note_expiring(&self, now: UnixTime, limit: u32) -> u64;
    fn trim_events(&self) -> ();
});

passed_on!(Certificates {
    fn certificate_facts(&self, name: &CertificateName) -> Option<CertificateFacts>;
    fn certificates_after(&self, reach: &Reach, after: &str, limit: u32) -> Vec<CertificateFacts>;
    fn count_ends(&self, reach: &Reach, edges: &[UnixTime]) -> Vec<u64>;
});

passed_on!(Webhooks {
    fn add_webhook(&self, webhook: &Webhook, actor: Actor<'_>) -> bool;
    fn webhook(&self, reach: &Reach, id: &str) -> Option<Webhook>;
    fn webhooks(&self, reach: &Reach, after: &str, limit: u32) -> Vec<Webhook>;
    fn change_webhook(
        &self,
        webhook: &Webhook,
        based_on: Option<i64>,
        actor: Actor<'_>
    ) -> Changed<Webhook>;
    fn remove_webhook(&self, reach: &Reach, id: &str, actor: Actor<'_>) -> bool;
    fn hand_out(&self, limit: u32) -> HandedOut;
    fn due_deliveries(&self, now: UnixTime, limit: u32) -> Vec<Due>;
    fn note_delivery(&self, id: i64, outcome: &Outcome) -> bool;
    fn deliveries(&self, filter: &DeliveryFilter) -> Vec<Delivery>;
    fn delivery(&self, reach: &Reach, id: i64) -> Option<Delivery>;
    fn redeliver(&self, reach: &Reach, id: i64) -> bool;
    fn redeliver_given_up(&self, reach: &Reach, webhook: &str, since: UnixTime) -> u64;
    fn deliveries_pending(&self) -> u64;
    fn trim_deliveries(&self, now: UnixTime) -> u64;
});

passed_on!(Answers {
    fn take_turn(&self, request: Keyed<'_>) -> Turn;
    fn keep_answer(&self, request: Keyed<'_>, answer: &Answer) -> ();
    fn give_turn_back(&self, request: Keyed<'_>) -> ();
    fn trim_answers(&self) -> ();
});

passed_on!(TicketKeys {
    fn ticket_keys(&self) -> FleetKeys;
    fn add_ticket_key(&self, key: &TicketKey, serial: i64) -> bool;
});

passed_on!(Fleet {
    fn check_in(&self, machine: &Machine) -> ();
    fn sign_off(&self, id: &str) -> ();
    fn machines(&self) -> Vec<Seen>;
    fn work(&self) -> Work;
    fn orders_since(&self, authority: &str, since: UnixTime) -> u64;
});

#[async_trait]
impl Changes for SteadyStore {
    async fn last_news(&self) -> Result<i64, Error> {
        self.seen(self.get()?.records().last_news().await)
    }

    async fn news_after(&self, after: i64, limit: u32) -> Result<News, Error> {
        self.seen(self.get()?.records().news_after(after, limit).await)
    }

    async fn stirred(&self, seen: i64) -> i64 {
        match self.get() {
            Ok(opened) => opened.records().stirred(seen).await,
            Err(_absent) => {
                tokio::time::sleep(LOOK).await;
                seen
            }
        }
    }
}
