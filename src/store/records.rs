//! The part of a store that holds what customers and operators set: organizations, tokens, sites,
//! hostnames, and what happened to them.

use std::sync::Arc;

use async_trait::async_trait;

use super::answers::Answers;
use super::changes::Changes;
use super::fleet::Fleet;
use super::own::OwnCertificates;
use super::tickets::TicketKeys;
use super::webhooks::Webhooks;
use super::{Error, Store};
use crate::domain::access::{Reach, Scope};
use crate::domain::certificate::{KeyType, Source, Validity};
use crate::domain::clock::UnixTime;
use crate::domain::event::{Event, EventKind};
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Claim, Proof, Registration, Settings, Standing, State, Turn, Via};
use crate::domain::site::Origin;

/// How many events that nobody asked for are kept.
pub const EVENTS_KEPT: u32 = 200_000;
/// How many changes a machine may be behind before it reads every hostname again.
pub const CHANGES_KEPT: u32 = 100_000;

/// Up to how many certificates are counted by their end.
pub const ENDS_COUNTED: u32 = 50_000;

/// An organization's account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Organization {
    /// Its name.
    pub name: Label,
    /// Hostnames at most; `None`: the configuration's number.
    pub quota: Option<u32>,
    /// Hostnames it has.
    pub used: u32,
    /// Since when it is known.
    pub created_at: UnixTime,
}

/// A token as it is kept: without its secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    /// What it is called by; no secret.
    pub id: String,
    /// Whose hostnames it opens.
    pub reach: Reach,
    /// What it allows.
    pub scope: Scope,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// What its maker wrote down.
    pub note: String,
    /// Since when it is good.
    pub created_at: UnixTime,
    /// Until when; `None`: without end.
    pub expires_at: Option<UnixTime>,
    /// Since when it is no longer good.
    pub revoked_at: Option<UnixTime>,
}

/// A site that was made by the API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredSite {
    /// Its name, unique among all sites.
    pub name: Label,
    /// Whose it is.
    pub organization: Label,
    /// Where requests go; never empty.
    pub origins: Vec<Origin>,
    /// What customers' names are to point at, in place of the configuration's.
    pub cname_target: Option<crate::domain::hostname::Hostname>,
    /// Grows with each change.
    pub version: i64,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it was changed.
    pub updated_at: UnixTime,
}

/// Who asks for a change, for the audit trail; `None`: nobody, it happens by itself.
pub type Actor<'a> = Option<&'a str>;

/// A hostname to be registered.
#[derive(Clone, Debug)]
pub struct NewHostname {
    /// The name.
    pub name: CertificateName,
    /// Whose it is to be.
    pub organization: Label,
    /// The site.
    pub site: Label,
    /// How it comes here.
    pub via: Via,
    /// What is set for it.
    pub settings: Settings,
    /// A fresh label for its preview hostname, where none was given before.
    pub preview: String,
    /// A fresh value for its TXT record, where none was given before.
    pub proof: String,
    /// Hostnames the organization may have, where it has no quota of its own.
    pub quota: u32,
}

/// What came of a registration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Registered {
    /// It is new.
    Created(Box<Registration>),
    /// It was there already, on the same site; nothing was changed.
    Existing(Box<Registration>),
    /// The organization has it on this other site.
    OnAnotherSite(Label),
    /// The organization has as many hostnames as it may, which is this number.
    QuotaReached(u32),
}

/// What came of a change that names the version it is based on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Changed<T> {
    /// Done.
    Done(T),
    /// It is not there.
    Absent,
    /// Somebody changed it meanwhile; this is its version.
    Newer(i64),
}

/// Which hostnames are asked for, in the order of their names.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Whose.
    pub reach: Reach,
    /// Of this site alone.
    pub site: Option<Label>,
    /// In this state alone.
    pub state: Option<State>,
    /// Those that have this text in their name; shorter than three characters: at its beginning.
    pub text: Option<String>,
    /// Those behind this one alone.
    pub after: Option<Cursor>,
    /// At most so many.
    pub limit: u32,
}

/// A place in a list of hostnames: the name, and its number, as several organizations may have it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cursor {
    /// The name.
    pub name: String,
    /// [`Registration::id`].
    pub id: i64,
}

/// What the routing table needs to know of a hostname.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// [`Registration::id`].
    pub id: i64,
    /// The name.
    pub name: CertificateName,
    /// Whose it is, or is said to be.
    pub organization: Label,
    /// The site.
    pub site: Label,
    /// How it came here.
    pub via: Via,
    /// Whether requests for the name go to this one.
    pub holder: bool,
    /// The first label of its preview hostname.
    pub preview: String,
    /// The value of its TXT record.
    pub proof: String,
    /// What was set for it.
    pub settings: Settings,
}

/// What a look at a hostname came to.
#[derive(Clone, Debug)]
pub struct Look {
    /// Where it stands.
    pub standing: Standing,
    /// What happened, beside a change of the state.
    pub events: Vec<(EventKind, serde_json::Value)>,
    /// The hostname's when the look began. Where another look was asked for meanwhile, that stays due; where
    /// another was kept meanwhile, nothing of this one is kept.
    pub turn: Turn,
    /// Whether the hostname held its name; where that has changed meanwhile nothing is kept.
    pub holder: bool,
}

/// What came of a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Claimed {
    /// It is the organization's.
    Held,
    /// It is another organization's, by a proof at least as good.
    Anothers(Proof),
}

/// Which events are asked for, the newest first.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// Whose.
    pub reach: Reach,
    /// Of this hostname alone.
    pub hostname: Option<CertificateName>,
    /// Those alone that somebody asked for.
    pub audit: bool,
    /// Those before this one alone.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// Organizations, tokens and sites.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// The organization of this name.
    async fn organization(&self, name: &Label) -> Result<Option<Organization>, Error>;

    /// Sets an organization's quota; makes the organization where it is missing.
    async fn set_quota(&self, name: &Label, quota: Option<u32>, actor: Actor<'_>) -> Result<(), Error>;

    /// Up to `limit` organizations behind the name `after`.
    async fn organizations(&self, after: &str, limit: u32) -> Result<Vec<Organization>, Error>;

    /// Keeps a new token.
    async fn add_token(&self, token: &Token, actor: Actor<'_>) -> Result<(), Error>;

    /// The token of this identifier, good or not.
    async fn token(&self, id: &str) -> Result<Option<Token>, Error>;

    /// Up to `limit` tokens behind the identifier `after`.
    async fn tokens(&self, reach: &Reach, after: &str, limit: u32) -> Result<Vec<Token>, Error>;

    /// Revokes a token; whether there was one that was good.
    async fn revoke_token(&self, reach: &Reach, id: &str, actor: Actor<'_>) -> Result<bool, Error>;

    /// The site of this name.
    async fn site(&self, name: &Label) -> Result<Option<StoredSite>, Error>;

    /// Up to `limit` sites behind the name `after`.
    async fn sites(&self, reach: &Reach, after: &str, limit: u32) -> Result<Vec<StoredSite>, Error>;

    /// Makes a site; `false` where the name is taken.
    async fn add_site(&self, site: &StoredSite, actor: Actor<'_>) -> Result<bool, Error>;

    /// Changes the site of this name to what `site` says, where its version is `based_on` or that
    /// is `None`.
    async fn change_site(
        &self,
        site: &StoredSite,
        based_on: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Changed<StoredSite>, Error>;

    /// Takes a site away, unless it has hostnames: then their number is returned. `None`: it is not
    /// there.
    async fn remove_site(&self, name: &Label, actor: Actor<'_>) -> Result<Option<u64>, Error>;
}

/// Hostnames.
#[async_trait]
pub trait Hostnames: Send + Sync + 'static {
    /// Registers a hostname. Its preview label and TXT value are those that the same organization
    /// was given for the same name before. It becomes the holder where nobody else holds the name
    /// or has a claim on it.
    async fn register(&self, new: &NewHostname, actor: Actor<'_>) -> Result<Registered, Error>;

    /// The hostname of this organization.
    async fn registration(
        &self,
        organization: &Label,
        name: &CertificateName,
    ) -> Result<Option<Registration>, Error>;

    /// Who holds the name.
    async fn holder(&self, name: &CertificateName) -> Result<Option<Registration>, Error>;

    /// Whose the name is by proof.
    async fn claim(&self, name: &CertificateName) -> Result<Option<Claim>, Error>;

    /// Hostnames in the order of their names.
    async fn registrations(&self, filter: &Filter) -> Result<Vec<Registration>, Error>;

    /// How many hostnames are in each state, up to [`EVENTS_KEPT`] of each.
    async fn count_states(&self, reach: &Reach) -> Result<Vec<(State, u64)>, Error>;

    /// Sets what is set for a hostname, where its version is `based_on` or that is `None`.
    async fn configure(
        &self,
        organization: &Label,
        name: &CertificateName,
        settings: &Settings,
        based_on: Option<i64>,
        actor: Actor<'_>,
    ) -> Result<Changed<Registration>, Error>;

    /// Takes a hostname away; the claim on it stays. Returns it as it was.
    async fn unregister(
        &self,
        organization: &Label,
        name: &CertificateName,
        actor: Actor<'_>,
    ) -> Result<Option<Registration>, Error>;

    /// Up to `limit` hostnames whose look is due at `now`, the longest due first.
    async fn due_for_look(&self, now: UnixTime, limit: u32) -> Result<Vec<Registration>, Error>;

    /// Makes the look at the hostname of this number due at `at`.
    async fn look_again(&self, id: i64, at: UnixTime) -> Result<(), Error>;

    /// Keeps what a look came to, with an event where the state has changed, or the reason of being
    /// stuck. Nothing happens where the hostname is gone, or where [`Look`] says so.
    async fn note_look(&self, id: i64, look: &Look) -> Result<(), Error>;

    /// Claims the name of the hostname of this number for its organization, and lets it hold the
    /// name. Another organization's claim yields to [`Proof::Own`] where it rests on [`Proof::Dns`],
    /// or where `theirs_gone` says that it no longer stands.
    async fn claim_for(&self, id: i64, proof: Proof, theirs_gone: bool) -> Result<Claimed, Error>;

    /// Up to `limit` names that have a certificate, or were tried, and that no hostname has.
    async fn unlisted(&self, limit: u32) -> Result<Vec<CertificateName>, Error>;

    /// Forgets that a name is not listed.
    async fn forget_unlisted(&self, name: &CertificateName) -> Result<(), Error>;

    /// Up to `limit` listings behind this number, in its order.
    async fn listings_after(&self, id: i64, limit: u32) -> Result<Vec<Listing>, Error>;

    /// All listings of a name: one for each organization that has it.
    async fn listings_of(&self, name: &CertificateName) -> Result<Vec<Listing>, Error>;

    /// Takes in sites and hostnames that were listed before the store was lost; those that are there
    /// stay. How many hostnames came in.
    async fn restore(&self, sites: &[StoredSite], listings: &[Listing]) -> Result<u64, Error>;

    /// The number of the last change of a hostname or site; 0: there has never been one.
    async fn last_change(&self) -> Result<i64, Error>;

    /// Up to `limit` changes behind `after`: their numbers, and the hostname or `None` for a site.
    /// `None` where changes behind `after` have been forgotten, or `after` is ahead of the store.
    async fn changes_after(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<(i64, Option<CertificateName>)>>, Error>;
}

/// A certificate without its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFacts {
    /// What it is filed under.
    pub name: CertificateName,
    /// Where it came from.
    pub source: Source,
    /// Its key's type.
    pub key_type: KeyType,
    /// When it is valid.
    pub validity: Validity,
    /// When it is due to be renewed; `None`: by no order of its own.
    pub renew_at: Option<UnixTime>,
    /// Why it is not renewed, where that is so.
    pub parked: Option<String>,
}

/// Orders of an hour that ended in the same way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HourCount {
    /// The hour's first second.
    pub hour: UnixTime,
    /// How they ended.
    pub kind: EventKind,
    /// How many.
    pub count: u64,
}

/// Certificates as they are shown.
#[async_trait]
pub trait Certificates: Send + Sync + 'static {
    /// The certificate filed under exactly this name.
    async fn certificate_facts(&self, name: &CertificateName) -> Result<Option<CertificateFacts>, Error>;

    /// Up to `limit` certificates of hostnames behind the name `after`.
    async fn certificates_after(
        &self,
        reach: &Reach,
        after: &str,
        limit: u32,
    ) -> Result<Vec<CertificateFacts>, Error>;

    /// How many certificates of hostnames end until each of `edges`, which ascend, and after the one
    /// before it; one number more at the end for those behind the last edge. Each is counted up to
    /// [`ENDS_COUNTED`], and an organization's are those of its first [`ENDS_COUNTED`] hostnames.
    async fn count_ends(&self, reach: &Reach, edges: &[UnixTime]) -> Result<Vec<u64>, Error>;
}

/// What happened.
#[async_trait]
pub trait Events: Send + Sync + 'static {
    /// Events, the newest first.
    async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, Error>;

    /// Up to `limit` events behind this number, the oldest first.
    async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, Error>;

    /// How many orders since `since` came to a certificate and how many did not, by the hour.
    async fn orders_by_hour(&self, reach: &Reach, since: UnixTime) -> Result<Vec<HourCount>, Error>;

    /// Notes an event.
    async fn note_event(
        &self,
        organization: &Label,
        kind: EventKind,
        actor: Actor<'_>,
        detail: &serde_json::Value,
    ) -> Result<(), Error>;

    /// Notes, once for each certificate, that it is late at `now` to be renewed; how many that were.
    async fn note_expiring(&self, now: UnixTime, limit: u32) -> Result<u64, Error>;

    /// Forgets events beyond [`EVENTS_KEPT`] that nobody asked for.
    async fn trim_events(&self) -> Result<(), Error>;
}

/// Everything that a store holds.
pub trait Records:
    Store
    + OwnCertificates
    + Registry
    + Hostnames
    + Certificates
    + Events
    + Webhooks
    + Answers
    + Changes
    + Fleet
    + TicketKeys
{
}

impl<S> Records for S where
    S: Store
        + OwnCertificates
        + Registry
        + Hostnames
        + Certificates
        + Events
        + Webhooks
        + Answers
        + Changes
        + Fleet
        + TicketKeys
{
}

/// A store of everything, shared.
pub type SharedRecords = Arc<dyn Records>;
