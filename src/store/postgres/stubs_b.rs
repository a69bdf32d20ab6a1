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

stubs!(Registry {
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

stubs!(Hostnames {
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

stubs!(Events {
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

stubs!(Webhooks {
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
    fn note_delivery(&self, id: i64, outcome: &Outcome) -> ();
    fn deliveries(&self, filter: &DeliveryFilter) -> Vec<Delivery>;
    fn delivery(&self, reach: &Reach, id: i64) -> Option<Delivery>;
    fn redeliver(&self, reach: &Reach, id: i64) -> bool;
    fn redeliver_given_up(&self, reach: &Reach, webhook: &str, since: UnixTime) -> u64;
    fn deliveries_pending(&self) -> u64;
    fn trim_deliveries(&self, now: UnixTime) -> u64;
});

stubs!(Answers {
    fn take_turn(&self, request: Keyed<'_>) -> Turn;
    fn keep_answer(&self, request: Keyed<'_>, answer: &Answer) -> ();
    fn give_turn_back(&self, request: Keyed<'_>) -> ();
    fn trim_answers(&self) -> ();
});
