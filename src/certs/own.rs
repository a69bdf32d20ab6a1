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
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::find::Certificates;
use super::index::Entry;
use super::renew::complain;
use super::{Prepare, Refusal, in_full};
use crate::domain::certificate::{Certificate, KeyFamily};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::Error;
use crate::store::changes::LOOK;
use crate::store::own::Stamp;

/// Changes read at a time.
const PAGE: u32 = 1_000;
/// How often it is looked for own certificates that end soon.
pub(super) const LOOK_FOR_ENDS: Duration = Duration::from_secs(5);
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

    /// Whether it has some, as far as is known.
    pub(super) fn has(&self, name: &CertificateName) -> bool {
        matches!(self.known(name), Known::Has(_))
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
        let mut files = self.files.lock();
        let mut new = FromFiles { platforms, hostnames, valid: 0 };
        self.pin_what_is_valid(&mut new)?;
        *files = new;
        Ok(())
    }

    /// Pins them again, for ever, whenever one of them ends or begins: the others of its name go on.
    pub async fn keep_pinned(&self) {
        loop {
            if let Err(refusal) = self.pin_again() {
                tracing::error!(%refusal, "its own certificate is not in service");
            }
            sleep(LOOK_FOR_ENDS).await;
        }
    }

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
        let validity = rest.iter().fold(first.validity, |both, one| both.within(one.validity));
        Ok(Entry { ready: Arc::new(ready), validity, own })
    }

    /// Follows which names have own certificates, and takes each change over. Never ends.
    pub async fn follow_own(&self) {
        let (mut cursor, mut unsettled, mut seen) = (None, HashSet::new(), 0);
        loop {
            let step = self.follow_own_once(&mut cursor, &mut unsettled).await;
            let settled = self.settle_all(&mut unsettled).await;
            match step.and_then(|more| settled.map(|()| more)) {
                Ok(true) => {}
                Ok(false) => seen = self.store.stirred(seen).await,
                Err(error) => {
                    complain(&error, "changes of own certificates could not be read");
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// One step; whether another one is due at once.
    async fn follow_own_once(
        &self,
        cursor: &mut Option<i64>,
        unsettled: &mut HashSet<CertificateName>,
    ) -> Result<bool, Error> {
        let Some(after) = *cursor else {
            // Changes from here on may be read twice, never missed.
            let begin = self.store.last_own_change().await?;
            unsettled.extend(self.take_own_names(self.store.own_names().await?));
            *cursor = Some(begin);
            return Ok(true);
        };
        let Some(changes) = self.store.own_changes(after, PAGE).await? else {
            *cursor = None;
            return Ok(true);
        };
        let Some((last, _)) = changes.last() else { return Ok(false) };
        *cursor = Some(*last);
        unsettled.extend(changes.into_iter().map(|(_, name)| name));
        Ok(true)
    }

    /// Takes over what the store has of each; those of which it cannot say stay, and keep no other from it.
    async fn settle_all(&self, unsettled: &mut HashSet<CertificateName>) -> Result<(), Error> {
        let mut first = Ok(());
        for name in std::mem::take(unsettled) {
            if let Err(error) = self.settle_own(&name, false).await {
                unsettled.insert(name);
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Takes all names over; those in memory that were loaded before they were known.
    fn take_own_names(&self, names: HashMap<CertificateName, Stamp>) -> HashSet<CertificateName> {
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
        differ
    }
}
