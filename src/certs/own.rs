//! Certificates that organizations bring for their hostnames: they are served before any other one
//! while they are valid. What is obtained is there for their end.
//!
//! The store says which names have some. A machine keeps that in memory, follows its changes, and keeps
//! a copy of what it serves on its own disk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use futures::stream::{self, StreamExt};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::find::Certificates;
use super::index::Entry;
use super::renew::complain;
use super::{Prepare, Refusal, in_full};
use crate::domain::approval::Verdict;
use crate::domain::certificate::{Certificate, KeyFamily};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::Error;
use crate::store::own::Stamp;

/// How often the store is looked at for changes of other machines.
const LOOK: Duration = Duration::from_millis(500);
/// Changes read at a time.
const PAGE: u32 = 1_000;
/// How often it is looked for own certificates that end soon.
const LOOK_FOR_ENDS: Duration = Duration::from_secs(5);
/// Fallbacks obtained between two looks.
const BATCH: u32 = 100;
/// One order in so many may be for a fallback: new names go first.
const SHARE: usize = 4;
/// When a fallback is tried again that was not approved, does not lead here, or met a fault of ours.
const AGAIN: Duration = Duration::from_secs(10 * 60);
const HINDERED: Duration = Duration::from_secs(60);
/// Names whose own certificates are read one by one are spread over so many locks.
const SHARDS: usize = 64;

/// Which names have own certificates, as far as this machine knows.
pub struct Owned {
    hasher: RandomState,
    state: RwLock<State>,
    /// One reading of a name from the store at a time, so that none is put over a later one.
    turns: [Mutex<()>; SHARDS],
    /// Grows with each reading.
    readings: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whether all names have been read.
    complete: bool,
    names: HashMap<CertificateName, Stamp>,
}

impl Default for Owned {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            state: RwLock::default(),
            turns: std::array::from_fn(|_| Mutex::default()),
            readings: AtomicU64::new(0),
        }
    }
}

/// What the configuration's files hold.
#[derive(Default)]
pub struct FromFiles {
    platforms: Vec<Certificate>,
    hostnames: Vec<Certificate>,
    /// How many of them are valid, as they are pinned.
    valid: usize,
}

impl FromFiles {
    fn valid(&self, now: UnixTime) -> usize {
        self.platforms.iter().chain(&self.hostnames).filter(|one| one.validity.holds(now)).count()
    }
}

/// What is known of a name.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Known {
    /// Nothing yet.
    Nothing,
    /// It has none.
    Absent,
    /// It has these.
    Has(Stamp),
}

impl Owned {
    fn known(&self, name: &CertificateName) -> Known {
        let state = self.state.read();
        match state.names.get(name) {
            Some(stamp) => Known::Has(*stamp),
            None if state.complete => Known::Absent,
            None => Known::Nothing,
        }
    }

    fn turn(&self, name: &CertificateName) -> &Mutex<()> {
        let hash = usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or(0);
        &self.turns[hash]
    }

    /// Notes what the store has for `name`.
    fn note(&self, name: &CertificateName, certificates: &[Certificate]) {
        self.readings.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.write();
        match certificates {
            [] => drop(state.names.remove(name)),
            some => drop(state.names.insert(name.clone(), Stamp::of(some))),
        }
    }

    /// Takes what this machine's disk has for what the store has, until that is known.
    fn believe(&self, name: &CertificateName, stamp: Stamp) {
        let mut state = self.state.write();
        if !state.complete {
            state.names.insert(name.clone(), stamp);
        }
    }

    /// Forgets a name that is nobody's any more.
    pub(super) fn forget(&self, name: &CertificateName) {
        self.note(name, &[]);
    }
}

/// A name's own certificates, as they are found.
pub(super) enum Found<R> {
    /// On this machine's disk.
    Local(Arc<R>),
    /// In the store.
    Stored(Arc<R>),
    /// It has none that is valid, as far as is known.
    None,
    /// The store could not say: nothing is ordered.
    Fault(Refusal),
}

impl<P: Prepare> Certificates<P> {
    /// Pins certificates from files in memory, in place of those pinned before. Those of a name with keys
    /// of several families are all presented, for as long as each is valid.
    ///
    /// - `hostnames`: those of single hostnames, for which others are obtained before their end
    pub fn pin(&self, platforms: Vec<Certificate>, hostnames: Vec<Certificate>) -> Result<(), Refusal> {
        let mut files = FromFiles { platforms, hostnames, valid: 0 };
        self.pin_what_is_valid(&mut files)?;
        *self.files.lock() = files;
        Ok(())
    }

    /// The same again where one of them has ended, or begun: the others of its name go on.
    fn pin_again(&self) -> Result<(), Refusal> {
        let mut files = self.files.lock();
        if files.valid(self.clock.now()) == files.valid { Ok(()) } else { self.pin_what_is_valid(&mut files) }
    }

    fn pin_what_is_valid(&self, files: &mut FromFiles) -> Result<(), Refusal> {
        let now = self.clock.now();
        let mut names: BTreeMap<&str, (Vec<&Certificate>, bool)> = BTreeMap::new();
        let platforms = files.platforms.iter().map(|one| (one, false));
        let all = platforms.chain(files.hostnames.iter().map(|one| (one, true)));
        for (certificate, own) in all.filter(|(one, _)| one.validity.holds(now)) {
            let (of_one, any) = names.entry(certificate.name.as_str()).or_default();
            of_one.push(certificate);
            *any |= own;
        }
        let entries: Result<Vec<_>, Refusal> = names
            .into_values()
            .map(|(of_one, own)| Ok((of_one[0].name.clone(), self.entry_of(&of_one, own)?)))
            .collect();
        self.index.pin(entries?);
        files.valid = files.valid(now);
        Ok(())
    }

    /// The own certificates of `name`: of this machine's disk where the store has no others, as far as is
    /// known.
    ///
    /// - `ask`: whether the store is asked where nothing is known yet
    pub(super) async fn own(&self, name: &CertificateName, ask: bool) -> Found<P::Ready> {
        let known = self.owned.known(name);
        if ask && known == Known::Absent {
            return Found::None;
        }
        let before = self.owned.readings.load(Ordering::Relaxed);
        let kept = self.kept(name).await;
        if known == Known::Absent {
            if !kept.is_empty() && self.local.keep_own(name, &[]).await.is_err() {
                tracing::debug!(%name, "a local copy of an own certificate could not be removed");
            }
            return Found::None;
        }
        let stamp = Stamp::of(&kept);
        let current = known == Known::Has(stamp) || (known == Known::Nothing && !ask);
        let kept = self.entry_of_own(name, kept);
        if current || (known == Known::Nothing && kept.is_some()) {
            let Some(entry) = kept else { return Found::None };
            if known == Known::Nothing {
                self.owned.believe(name, stamp);
            }
            self.index.insert_own(name, entry.clone(), self.clock.now());
            if self.owned.readings.load(Ordering::Relaxed) != before {
                // Another one may have come meanwhile; the next handshake looks again.
                self.index.remove(name);
            }
            return Found::Local(entry.ready);
        }
        match (self.settle_own(name, true).await, kept) {
            (Ok(Some(ready)), _) => Found::Stored(ready),
            (Ok(None), _) => Found::None,
            (Err(_), Some(kept)) => Found::Local(kept.ready),
            (Err(error), None) => Found::Fault(super::find::fault(name, &error)),
        }
    }

    /// What this machine's disk has.
    async fn kept(&self, name: &CertificateName) -> Vec<Certificate> {
        match self.local.load_own(name).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%name, error = in_full(&error), "the local copy is unusable");
                if error.is_of_the_record() {
                    self.metrics.records_quarantined.with_label_values(&["local"]).inc();
                }
                Vec::new()
            }
        }
    }

    /// Takes what the store has for `name`: on this machine's disk, and in memory where the name is there,
    /// or is to be. What is ready then, if any is valid.
    pub(super) async fn settle_own(
        &self,
        name: &CertificateName,
        hot: bool,
    ) -> Result<Option<Arc<P::Ready>>, Error> {
        let _turn = self.owned.turn(name).lock().await;
        let stored = match self.store.own_certificates(name).await {
            Err(error) if error.is_of_the_record() => {
                self.quarantine_own(name, &in_full(&error)).await?;
                self.store.own_certificates(name).await?
            }
            other => other?,
        };
        self.owned.note(name, &stored);
        if !stored.is_empty() {
            self.known.insert(name);
        }
        if let Err(error) = self.local.keep_own(name, &stored).await {
            tracing::warn!(%name, error = in_full(&error), "no local copy was kept");
        }
        let held = self.index.holds_own(name);
        let entry = self.entry_of_own(name, stored);
        match &entry {
            Some(entry) if hot || self.is_in_memory(name) => {
                self.index.insert_own(name, entry.clone(), self.clock.now());
            }
            None if held == Some(true) => self.index.remove(name),
            _ => {}
        }
        Ok(entry.map(|entry| entry.ready))
    }

    /// Whether handshakes for `name` are answered from memory, be it by a wildcard's certificate.
    fn is_in_memory(&self, name: &CertificateName) -> bool {
        self.index.holds(name) || name.hostname().is_some_and(|hostname| self.hot(&hostname).is_some())
    }

    /// Takes damaged ones out of use; the others stay.
    async fn quarantine_own(&self, name: &CertificateName, why: &str) -> Result<(), Error> {
        if self.store.quarantine_own(name, why).await? > 0 {
            self.metrics.records_quarantined.with_label_values(&["store"]).inc();
            tracing::error!(%name, why, "its own certificate is damaged; it is kept aside in the table \
                own_quarantine, and what is obtained is served until it is brought again");
        }
        Ok(())
    }

    /// Those of `certificates` that are valid and were not revoked, ready for a handshake.
    fn entry_of_own(
        &self,
        name: &CertificateName,
        certificates: Vec<Certificate>,
    ) -> Option<Entry<P::Ready>> {
        let now = self.clock.now();
        let serves = |one: &&Certificate| one.validity.holds(now) && !self.revoked.has(one);
        let serving: Vec<&Certificate> = certificates.iter().filter(serves).collect();
        if serving.is_empty() {
            return None;
        }
        match self.entry_of(&serving, true) {
            Ok(entry) => Some(entry),
            Err(refusal) => {
                tracing::error!(%name, %refusal, "its own certificate is not in service");
                None
            }
        }
    }

    /// One certificate or several of the same name as one entry: one of each family, that which lasts
    /// longest.
    pub(super) fn entry_of(
        &self,
        certificates: &[&Certificate],
        own: bool,
    ) -> Result<Entry<P::Ready>, Refusal> {
        let of = |family| {
            let of_it = certificates.iter().filter(|one| one.key_type.family() == family);
            of_it.max_by_key(|one| one.validity.not_after).copied()
        };
        let chosen: Vec<&Certificate> = KeyFamily::ALL.into_iter().filter_map(of).collect();
        let [first, rest @ ..] = chosen.as_slice() else {
            return Err(Refusal::Fault("there is no certificate".into()));
        };
        let ready = self.prepare.prepare(&chosen).map_err(|why| {
            Refusal::Fault(format!("the certificate of {} cannot be used: {why}", first.name).into())
        })?;
        let mut validity = first.validity;
        for one in rest {
            validity.not_before = validity.not_before.max(one.validity.not_before);
            validity.not_after = validity.not_after.min(one.validity.not_after);
        }
        Ok(Entry { ready: Arc::new(ready), validity, own })
    }

    /// Follows which names have own certificates, and takes each change over. Never ends.
    pub async fn follow_own(&self) {
        let mut cursor = None;
        loop {
            match self.follow_own_once(&mut cursor).await {
                Ok(true) => {}
                Ok(false) => sleep(LOOK).await,
                Err(error) => {
                    complain(&error, "changes of own certificates could not be read");
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// One step; whether another one is due at once.
    async fn follow_own_once(&self, cursor: &mut Option<i64>) -> Result<bool, Error> {
        let Some(after) = *cursor else {
            // Changes from here on may be read twice, never missed.
            let begin = self.store.last_own_change().await?;
            self.take_own_names(self.store.own_names().await?).await?;
            *cursor = Some(begin);
            return Ok(true);
        };
        let Some(changes) = self.store.own_changes(after, PAGE).await? else {
            *cursor = None;
            return Ok(true);
        };
        let names: HashSet<&CertificateName> = changes.iter().map(|(_, name)| name).collect();
        for name in names {
            self.settle_own(name, false).await?;
        }
        if let Some((last, _)) = changes.last() {
            *cursor = Some(*last);
        }
        Ok(!changes.is_empty())
    }

    /// Takes all names over, and looks at those in memory that were loaded before they were known.
    async fn take_own_names(&self, names: HashMap<CertificateName, Stamp>) -> Result<(), Error> {
        let mut differ: HashSet<CertificateName> = HashSet::new();
        {
            let mut state = self.owned.state.write();
            for (name, stamp) in &names {
                if state.names.get(name) != Some(stamp) {
                    differ.insert(name.clone());
                }
                self.known.insert(name);
            }
            differ.extend(state.names.keys().filter(|name| !names.contains_key(*name)).cloned());
            *state = State { complete: true, names };
        }
        self.owned.readings.fetch_add(1, Ordering::Relaxed);
        differ.retain(|name| self.is_in_memory(name));
        for name in &differ {
            self.settle_own(name, false).await?;
        }
        Ok(())
    }

    /// Sees to it, for ever, that another certificate is there before a hostname's own one ends.
    pub async fn keep_fallbacks(self: &Arc<Self>) {
        // Of those from files alone: the store remembers the others'.
        let mut later: HashMap<CertificateName, UnixTime> = HashMap::new();
        loop {
            let now = self.clock.now();
            later.retain(|_, next| *next > now);
            if let Err(refusal) = self.pin_again() {
                tracing::error!(%refusal, "its own certificate is not in service");
            }
            match self.store.due_for_fall_back(now, BATCH).await {
                Ok(due) => {
                    let from_files = self.index.pinned_that_end(now).into_iter();
                    let from_files = from_files.map(CertificateName::from);
                    let from_files = from_files.filter(|name| !later.contains_key(name));
                    let due: HashSet<CertificateName> = due.into_iter().chain(from_files).collect();
                    let at_once = (self.rules().orders / SHARE).max(1);
                    let tries = stream::iter(due).map(|name| async move { self.keep_fallback(name).await });
                    later.extend(tries.buffer_unordered(at_once).collect::<Vec<_>>().await);
                }
                Err(error) => complain(&error, "which own certificates end soon could not be read"),
            }
            sleep(LOOK_FOR_ENDS).await;
        }
    }

    /// One try; when the next one is due.
    async fn keep_fallback(self: &Arc<Self>, name: CertificateName) -> (CertificateName, UnixTime) {
        let now = self.clock.now();
        if self.rules().obtain.has_valid(&name).await {
            return (name, now.plus(AGAIN));
        }
        let next = match self.obtain_fallback(&name, now).await {
            Ok(()) => {
                tracing::info!(hostname = %name, "another certificate is there for when its own one ends");
                return (name, now.plus(AGAIN));
            }
            Err((next, why)) => {
                tracing::warn!(hostname = %name, why, %next, "its own certificate ends soon, and there is no other \
                    one for after it yet");
                next
            }
        };
        if let Err(error) = self.store.postpone_fall_back(&name, next).await {
            complain(&error, "a fallback could not be put off");
        }
        (name, next)
    }

    /// When it is tried again, and why there is none.
    async fn obtain_fallback(
        self: &Arc<Self>,
        name: &CertificateName,
        now: UnixTime,
    ) -> Result<(), (UnixTime, String)> {
        match self.rules().decide(name, None).await {
            Verdict::Approved { .. } => {}
            Verdict::Denied(reason) => {
                return Err((now.plus(AGAIN), format!("it is not approved: {reason}")));
            }
            Verdict::Unknown(why) => return Err((now.plus(HINDERED), why.to_string())),
        }
        if let Some(why) = self.rules().obtain.misled(name).await {
            return Err((now.plus(AGAIN), format!("it does not lead here: {why}")));
        }
        match self.order_again(name).await {
            Ok(_) => Ok(()),
            Err(Refusal::Failed(attempt)) => {
                let next = attempt.next.unwrap_or(attempt.at).max(now.plus(HINDERED));
                Err((next, attempt.report.clone()))
            }
            Err(refusal) => Err((now.plus(HINDERED), refusal.to_string())),
        }
    }
}
