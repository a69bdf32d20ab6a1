//! The embedded store as a process that serves needs it: it may be absent at any time, at the start
//! too, and comes back by itself. Meanwhile every call fails at once and nothing waits for it.
//!
//! A database that is damaged is moved aside, never deleted, and a new one is begun with what this
//! machine's local tier has.

use std::collections::HashMap;
use std::error::Error as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::answers::{Answer, Answers, Keyed, Turn};
use super::files::{failed, shown, sync_folder, write_new};
use super::local::LocalTier;
use super::own::{Brought, OwnCertificates, Stamp};
use super::records::{
    Actor, CertificateFacts, Certificates, Changed, Claimed, EventFilter, Events, Filter, Hostnames,
    HourCount, Listing, Look, NewHostname, Organization, Registered, Registry, StoredSite, Token,
};
use super::seal::SealingKey;
use super::sqlite::{DATABASE_FILE, SqliteStore};
use super::tickets::{FleetKeys, TicketKeys};
use super::webhooks::{Delivery, DeliveryFilter, Due, HandedOut, Outcome, Webhook, Webhooks};
use super::{
    AccountCredentials, Attempt, Bound, Challenge, ChallengeKind, Error, Health, Imported, Lease, Ledger,
    Proofs, RenewalState, Resealed, Revocation, Revocations, SealError, Sealed, Store, UnfinishedOrder,
    WrittenRecord,
};
use crate::domain::access::Reach;
use crate::domain::certificate::{Certificate, KeyFamily};
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::event::{Event, EventKind};
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Claim, Proof, Registration, Settings, State};
use crate::domain::renewal::Window;
use crate::domain::revocation::Fingerprint;
use crate::domain::ticket::TicketKey;
use crate::telemetry::metrics::Metrics;

/// Marks in `data_dir` that the store was begun anew and lacks what the local tier has.
pub const REFILL_FILE: &str = "store.refill";

/// First and longest pause between two tries to open it.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Certificates taken over from the local tier at a time.
const BATCH: usize = 500;
/// SQLite's result codes (primary ones) for a file that is damaged or no database.
const DAMAGED: [i32; 2] = [11, 26];

/// A [`Store`] in `data_dir` that may be absent.
pub struct SteadyStore {
    data_dir: PathBuf,
    key: SealingKey,
    local: LocalTier,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    current: ArcSwapOption<SqliteStore>,
    why_not: Mutex<Arc<str>>,
    damaged: Notify,
    /// The lock of the process before this one, until it is used.
    handed_over: Mutex<Option<File>>,
}

impl SteadyStore {
    /// Opens the store, or begins without it; [`SteadyStore::keep_open`] then goes on trying.
    ///
    /// Fails only where an operator must decide: another process serves from it
    /// ([`Error::InUse`]), or it is sealed with another key ([`SealError::OtherKey`]).
    ///
    /// - `handed_over`: see [`SqliteStore::follow`].
    pub async fn open(
        data_dir: &Path,
        key: SealingKey,
        local: LocalTier,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        handed_over: Option<File>,
    ) -> Result<Self, Error> {
        let store = Self {
            data_dir: data_dir.to_owned(),
            key,
            local,
            clock,
            metrics,
            current: ArcSwapOption::empty(),
            why_not: Mutex::new("it is not open yet".into()),
            damaged: Notify::new(),
            handed_over: Mutex::new(handed_over),
        };
        match store.try_open().await {
            Ok(opened) => store.take(opened),
            Err(error @ (Error::InUse { .. } | Error::Seal(SealError::OtherKey { .. }))) => {
                return Err(error);
            }
            Err(error) => store.lack(&error),
        }
        Ok(store)
    }

    /// Opens it again whenever it is absent or damaged. Never ends.
    pub async fn keep_open(&self) {
        let mut pause = RETRY.0;
        loop {
            if self.current.load().is_some() {
                self.damaged.notified().await;
                self.let_go().await;
                pause = RETRY.0;
            }
            match self.try_open().await {
                Ok(opened) => {
                    self.take(opened);
                    tracing::info!(place = %shown(&self.data_dir), "the store is open again");
                }
                Err(error) => {
                    self.lack(&error);
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Its lock once more, for the process that follows this one; `None` while it is absent.
    pub fn lock(&self) -> io::Result<Option<File>> {
        self.current.load().as_ref().map_or(Ok(None), |store| store.lock())
    }

    /// Closes it for good; every further call fails.
    pub async fn close(&self) {
        self.let_go().await;
    }

    fn take(&self, opened: SqliteStore) {
        self.current.store(Some(Arc::new(opened)));
        self.metrics.store_open.set(1);
    }

    fn lack(&self, error: &Error) {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            why.push_str(": ");
            why.push_str(&error.to_string());
            cause = error.source();
        }
        tracing::error!(
            error = why,
            "the store cannot be opened; what this machine keeps itself is served, \
            nothing is ordered, and it is tried again"
        );
        *self.why_not.lock() = why.into();
        self.metrics.store_open.set(0);
    }

    /// Waits until nobody uses it any more, so that its lock is free.
    async fn let_go(&self) {
        let Some(mut held) = self.current.swap(None) else { return };
        self.metrics.store_open.set(0);
        held.close().await;
        while let Err(still) = Arc::try_unwrap(held) {
            held = still;
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn try_open(&self) -> Result<SqliteStore, Error> {
        // One that somebody removed is begun anew with what this machine has.
        if self.data_dir.is_dir() && !self.data_dir.join(DATABASE_FILE).exists() {
            self.mark_for_refill()?;
        }
        let opened = match self.open_once().await {
            Err(error) if is_damaged(&error) => {
                self.move_aside(&error)?;
                self.open_once().await?
            }
            other => other?,
        };
        if self.data_dir.join(REFILL_FILE).exists() {
            self.refill(&opened).await?;
        }
        Ok(opened)
    }

    async fn open_once(&self) -> Result<SqliteStore, Error> {
        let (key, clock, metrics) = (self.key.clone(), self.clock.clone(), self.metrics.clone());
        let handed_over = self.handed_over.lock().take();
        match handed_over {
            Some(lock) => SqliteStore::follow(&self.data_dir, key, clock, metrics, lock).await,
            None => SqliteStore::open(&self.data_dir, key, clock, metrics).await,
        }
    }

    fn mark_for_refill(&self) -> Result<(), Error> {
        let mark = self.data_dir.join(REFILL_FILE);
        match write_new(&mark, b"") {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(failed("write", &mark, source))
            }
            _ => Ok(()),
        }
    }

    /// Moves the database and its companions to names that say when.
    fn move_aside(&self, error: &Error) -> Result<(), Error> {
        self.mark_for_refill()?;
        // One that was kept aside in the same second stays too.
        let at = self.clock.now().0;
        let free = |at: &i64| !self.data_dir.join(format!("{DATABASE_FILE}.damaged-{at}")).exists();
        let at = (at..).find(free).unwrap_or(at);
        let moved = |suffix: &str| {
            let from = format!("{DATABASE_FILE}{suffix}");
            let to = format!("{DATABASE_FILE}.damaged-{at}{suffix}");
            (self.data_dir.join(from), self.data_dir.join(to))
        };
        for (from, to) in ["-wal", "-shm", ""].map(moved) {
            match fs::rename(&from, &to) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("move the damaged database aside,", &from, source));
                }
                _ => {}
            }
        }
        sync_folder(&self.data_dir).map_err(|source| failed("sync", &self.data_dir, source))?;
        let kept = shown(&moved("").1);
        tracing::error!(error = %error, %kept, "the database is damaged; it is kept aside and a new one is \
            begun with the certificates of this machine's local tier; accounts are made anew");
        Ok(())
    }

    /// Files what the local tier has.
    async fn refill(&self, store: &SqliteStore) -> Result<(), Error> {
        let mut filed = 0;
        let mut rest = self.local.all().await?;
        while !rest.is_empty() {
            let more = rest.split_off(rest.len().min(BATCH));
            filed += store.import(&rest).await?.filed;
            rest = more;
        }
        let mark = self.data_dir.join(REFILL_FILE);
        fs::remove_file(&mark).map_err(|source| failed("remove", &mark, source))?;
        if filed > 0 {
            tracing::info!(filed, "the new store holds the certificates of this machine's local tier");
        }
        Ok(())
    }

    /// The store, where it is open.
    fn get(&self) -> Result<Arc<SqliteStore>, Error> {
        self.current.load_full().ok_or_else(|| Error::Absent { why: self.why_not.lock().clone() })
    }

    /// `result`, which may tell that the database is damaged.
    fn seen<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && is_damaged(error)
        {
            self.damaged.notify_one();
        }
        result
    }
}

fn is_damaged(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(sqlx::Error::Database(error)) = error.downcast_ref::<sqlx::Error>() {
            let code = error.code().and_then(|code| code.parse::<i32>().ok());
            return code.is_some_and(|code| DAMAGED.contains(&(code & 0xff)));
        }
        cause = error.source();
    }
    false
}

/// Passes each method on to the store, where it is open.
macro_rules! passed_on {
    ($trait:ident { $(fn $method:ident(&self $(, $arg:ident: $type:ty)*) -> $out:ty;)+ }) => {
        #[async_trait]
        impl $trait for SteadyStore {
            $(async fn $method(&self $(, $arg: $type)*) -> Result<$out, Error> {
                self.seen(self.get()?.$method($($arg),*).await)
            })+
        }
    };
}

passed_on!(Store {
    fn certificate(&self, name: &CertificateName) -> Option<Certificate>;
    fn has_certificate(&self, name: &CertificateName) -> bool;
    fn names_after(&self, after: Option<&CertificateName>, limit: u32) -> Vec<CertificateName>;
    fn due_for_renewal(&self, now: UnixTime, limit: u32) -> Vec<CertificateName>;
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

passed_on!(TicketKeys {
    fn ticket_keys(&self) -> FleetKeys;
    fn add_ticket_key(&self, key: &TicketKey, serial: i64) -> bool;
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
    fn place_order(&self, authority: &str, name: &CertificateName, bounds: &[Bound]) -> Option<UnixTime>;
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
    fn note_delivery(&self, id: i64, outcome: &Outcome) -> ();
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
