//! To be written.
#![allow(unused_imports, unused_variables)]

use crate::domain::access::Reach;
use crate::domain::certificate::{Certificate, KeyFamily};
use crate::domain::clock::UnixTime;
use crate::domain::event::{Event, EventKind};
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Claim, Proof, Registration, Settings, State};
use crate::domain::renewal::Window;
use crate::domain::revocation::Fingerprint;
use crate::store::answers::{Answer, Answers, Keyed, Turn};
use crate::store::own::{Brought, OwnCertificates, Stamp};
use crate::store::records::{
    Actor, CertificateFacts, Certificates, Changed, Claimed, EventFilter, Events, Filter, Hostnames,
    HourCount, Listing, Look, NewHostname, Organization, Registered, Registry, StoredSite, Token,
};
use crate::store::webhooks::{Delivery, DeliveryFilter, Due, HandedOut, Outcome, Webhook, Webhooks};
use crate::store::*;
use async_trait::async_trait;
use std::collections::HashMap;
use std::time::Duration;

use super::PostgresStore;

macro_rules! stubs {
    ($trait:ident { $(fn $method:ident(&self $(, $arg:ident: $type:ty)*) -> $out:ty;)+ }) => {
        #[async_trait]
        impl $trait for PostgresStore {
            $(async fn $method(&self $(, $arg: $type)*) -> Result<$out, Error> {
                todo!(stringify!($method))
            })+
        }
    };
}

stubs!(Store {
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

stubs!(Proofs {
    fn publish_challenge(&self, challenge: &Challenge) -> ();
    fn challenge(&self, kind: ChallengeKind, key: &str) -> Option<Challenge>;
    fn dns_answers(&self, owner: &str) -> Vec<String>;
    fn withdraw_challenge(&self, challenge: &Challenge) -> ();
    fn keep_record(&self, record: &WrittenRecord) -> ();
    fn forget_record(&self, record: &WrittenRecord) -> ();
    fn abandoned_records(&self, limit: u32) -> Vec<WrittenRecord>;
});

stubs!(Sealed {
    fn adopt_key(&self) -> ();
    fn reseal(&self, after: &str, limit: u32) -> Resealed;
    fn retire_keys(&self) -> ();
});

stubs!(OwnCertificates {
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

stubs!(Revocations {
    fn save_revocation(&self, revocation: &Revocation) -> ();
    fn revocations_to_tell(&self, now: UnixTime, limit: u32) -> Vec<Revocation>;
    fn revocations_pending(&self) -> u64;
    fn revoked(
        &self,
        since: UnixTime,
        now: UnixTime
    ) -> Vec<(Fingerprint, CertificateName, UnixTime)>;
});

stubs!(Ledger {
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

stubs!(Certificates {
    fn certificate_facts(&self, name: &CertificateName) -> Option<CertificateFacts>;
    fn certificates_after(&self, reach: &Reach, after: &str, limit: u32) -> Vec<CertificateFacts>;
    fn count_ends(&self, reach: &Reach, edges: &[UnixTime]) -> Vec<u64>;
});
