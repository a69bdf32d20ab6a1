//! Every listed hostname in memory: where its requests go. Filled in the background, changed name
//! by name; a look-up allocates nothing and waits for nobody but a writer of the same shard.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashTable;
use moka::sync::Cache;
use parking_lot::RwLock;
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::timeout;

use super::listed::{Custom, Listed};
use super::shelter::{Rewrite, Shelter, copied};
use super::{Followed, stored};
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::label::Label;
use crate::domain::registration::Via;
use crate::store::Error;
use crate::store::changes::LOOK;
use crate::store::records::{Listing, Records, StoredSite};

/// Listings and changes read from the store at a time.
const PAGE: u32 = 5_000;
/// How long a request of the first moments waits until names are read, and then until its own is.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many names that nobody holds any more are remembered, and for how long: longer than connections
/// last.
const GONE: u64 = 100_000;
const GONE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The map is split so that a writer seldom keeps readers waiting.
const SHARDS: usize = 64;

/// Entries alone, without keys beside them: an entry knows its name and its preview's label.
type Shard = RwLock<HashTable<Arc<Listed>>>;

/// What entries are found by.
type Key = fn(&Listed) -> &str;

const BY_NAME: Key = |listed| listed.name.as_str();
const BY_PREVIEW: Key = |listed| &listed.preview;

/// The listed hostnames.
pub struct Directory {
    hasher: RandomState,
    /// Those that hold their name.
    names: Box<[Shard]>,
    /// All, by the label of their preview hostname.
    previews: Box<[Shard]>,
    /// Those that do not hold their name, which are few.
    others: RwLock<HashMap<CertificateName, Vec<Arc<Listed>>>>,
    /// Names of sites, each kept once.
    sites: RwLock<HashSet<Arc<str>>>,
    /// Names that somebody held until not long ago: requests on connections of that time are nobody's.
    gone: Cache<Box<str>, ()>,
    any: AtomicBool,
    any_wildcard: AtomicBool,
    /// One reading of a name from the store at a time, and none beside that of a page of all.
    turns: Box<[Mutex<()>]>,
    whole: tokio::sync::RwLock<()>,
    /// The last change of the store that is in it.
    cursor: AtomicI64,
    complete: AtomicBool,
    /// Whether all names were read once, or this machine's copy of them.
    begun: watch::Sender<bool>,
    changed: Notify,
    /// Where names are read that are asked for before all have been.
    records: OnceLock<Arc<dyn Records>>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            names: (0..SHARDS).map(|_| RwLock::default()).collect(),
            previews: (0..SHARDS).map(|_| RwLock::default()).collect(),
            others: RwLock::default(),
            sites: RwLock::default(),
            gone: Cache::builder().max_capacity(GONE).time_to_live(GONE_FOR).build(),
            any: AtomicBool::new(false),
            any_wildcard: AtomicBool::new(false),
            turns: (0..SHARDS).map(|_| Mutex::default()).collect(),
            whole: tokio::sync::RwLock::default(),
            cursor: AtomicI64::new(0),
            complete: AtomicBool::new(false),
            begun: watch::Sender::new(false),
            changed: Notify::new(),
            records: OnceLock::new(),
        }
    }
}

impl Directory {
    /// The hostname that requests for `hostname` go to.
    pub fn find(&self, hostname: &Hostname) -> Option<Arc<Listed>> {
        let exact = self.get(&self.names, BY_NAME, hostname.as_str());
        if exact.is_some() || !self.any_wildcard.load(Ordering::Acquire) {
            return exact;
        }
        self.get(&self.names, BY_NAME, CertificateName::wildcard_of(hostname)?.as_str())
    }

    /// The hostname or wildcard of exactly this name.
    pub fn listed(&self, name: &CertificateName) -> Option<Arc<Listed>> {
        self.get(&self.names, BY_NAME, name.as_str())
    }

    /// Whether somebody held `hostname` until not long ago, and nobody does now.
    pub fn is_gone(&self, hostname: &Hostname) -> bool {
        self.gone.contains_key(hostname.as_str())
    }

    /// The hostname whose preview hostname begins with this label.
    pub fn preview(&self, label: &str) -> Option<Arc<Listed>> {
        self.get(&self.previews, BY_PREVIEW, label)
    }

    /// Whether every hostname of the store is in it.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Takes what the store has of `hostname`, where not every name has been read yet. Where the store
    /// cannot say, what is known stays.
    pub async fn settle(&self, hostname: &Hostname) {
        let Some(records) = self.records.get() else { return };
        if self.find(hostname).is_some() {
            return;
        }
        let mut begun = self.begun.subscribe();
        // However it ends: what can be known is known then.
        drop(timeout(PATIENCE, begun.wait_for(|begun| *begun)).await);
        if self.is_complete() {
            return;
        }
        match timeout(PATIENCE, self.refresh(&**records, &hostname.into())).await {
            Ok(Ok(_held)) => {}
            Ok(Err(error)) => tracing::debug!(%hostname, %error, "where it belongs could not be read"),
            Err(_elapsed) => tracing::debug!(%hostname, "where it belongs could not be read in time"),
        }
    }

    /// Whether nothing has ever been listed, as far as is known.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// How many hostnames are listed.
    pub fn len(&self) -> usize {
        self.previews.iter().map(|shard| shard.read().len()).sum()
    }

    /// Takes what the store has of `name` now; whether anybody holds it.
    pub async fn refresh(&self, records: &dyn Records, name: &CertificateName) -> Result<bool, Error> {
        self.refresh_and(records, name, |_| ()).await
    }

    /// As [`Directory::refresh`]; `tell` is told of the listings.
    async fn refresh_and(
        &self,
        records: &dyn Records,
        name: &CertificateName,
        tell: impl FnOnce(&[Listing]),
    ) -> Result<bool, Error> {
        // What is read by one is not put over what another one read after it.
        let _turn = self.turns[place(self.hasher.hash_one(name.as_str()))].lock().await;
        let _whole = self.whole.read().await;
        let listings = records.listings_of(name).await?;
        tell(&listings);
        let held = is_held(&listings);
        self.replace(name, listings);
        Ok(held)
    }

    /// Whether the store is the one that was read: it has all that is known here.
    pub async fn is_of(&self, records: &dyn Records) -> Result<bool, Error> {
        Ok(self.is_complete() && records.last_change().await? >= self.cursor.load(Ordering::Acquire))
    }

    /// Has the store looked at for changes at once.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    /// Reads all hostnames of the store, then every change of them; `followed` is told, and `shelter`
    /// keeps a copy, which is read where the store is absent at first. Never ends.
    pub async fn follow(&self, records: Arc<dyn Records>, followed: &dyn Followed, shelter: Shelter) {
        // Followed once in a process's life.
        let _first = self.records.set(records.clone());
        let (mut cursor, mut seen) = (None, 0);
        loop {
            match self.follow_once(&*records, &mut cursor, followed, &shelter).await {
                Ok(true) => {}
                Ok(false) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        stirred = records.stirred(seen) => seen = stirred,
                    }
                }
                Err(error) => {
                    followed.store_failed(&error);
                    if !self.is_complete() && !*self.begun.borrow() {
                        self.take_shelter(followed, &shelter).await;
                        self.begun.send_replace(true);
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// One step; whether another one is due at once.
    async fn follow_once(
        &self,
        records: &dyn Records,
        cursor: &mut Option<i64>,
        followed: &dyn Followed,
        shelter: &Shelter,
    ) -> Result<bool, Error> {
        let Some(after) = *cursor else {
            // Changes from here on may be read twice, never missed.
            let begin = records.last_change().await?;
            if begin == 0 {
                shelter.restore_into(records).await?;
            }
            let sites = stored::all(records).await?;
            stored::tell(followed, &sites);
            self.load(records, shelter, &sites).await?;
            self.cursor.store(begin, Ordering::Release);
            self.complete.store(true, Ordering::Release);
            self.begun.send_replace(true);
            *cursor = Some(begin);
            return Ok(true);
        };
        let changes = records.changes_after(after, PAGE).await?.filter(|_| !shelter.is_bloated());
        let Some(changes) = changes else {
            *cursor = None;
            return Ok(true);
        };
        let mut sites = false;
        let mut names = HashSet::new();
        for (_, name) in &changes {
            match name {
                Some(name) => drop(names.insert(name.clone())),
                None => sites = true,
            }
        }
        if sites {
            let sites = stored::all(records).await?;
            stored::tell(followed, &sites);
            copied(shelter.note_sites(&sites));
        }
        for name in names {
            let copy = |listings: &[Listing]| copied(shelter.note(&name, listings));
            match self.refresh_and(records, &name, copy).await {
                Ok(true) => {}
                Ok(false) => followed.gone(&name).await,
                // What cannot be read leaves its name as it was, and holds up no other.
                Err(error) if error.is_of_the_record() => followed.store_failed(&error),
                Err(error) => return Err(error),
            }
        }
        let last = changes.last().map_or(after, |(id, _)| *id);
        self.cursor.store(last, Ordering::Release);
        *cursor = Some(last);
        Ok(!changes.is_empty())
    }

    /// Takes what this machine had copied, and nothing else is known of.
    async fn take_shelter(&self, followed: &dyn Followed, shelter: &Shelter) {
        match shelter.load().await {
            Ok(kept) => {
                if self.is_empty() {
                    stored::tell(followed, &kept.sites);
                }
                // What was read of the store before it failed is newer.
                let unknown = |listing: &Listing| {
                    let held = listing.holder && self.listed(&listing.name).is_some();
                    !held && self.preview(&listing.preview).is_none()
                };
                kept.listings.into_iter().filter(unknown).for_each(|listing| self.insert(listing));
            }
            Err(error) => copied(Err(error)),
        }
    }

    /// Reads every hostname; those that are in it and no longer in the store go.
    async fn load(
        &self,
        records: &dyn Records,
        shelter: &Shelter,
        sites: &[StoredSite],
    ) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let mut after = 0;
        let mut copy = shelter.rewrite(sites);
        // Between two pages whoever waits for a name has its turn.
        let _whole = loop {
            let whole = self.whole.write().await;
            let page = records.listings_after(after, PAGE).await?;
            let Some(last) = page.last() else { break whole };
            after = last.id;
            copy = copy.and_then(|mut copy| copy.add(&page).map(|()| copy));
            for listing in page {
                seen.insert(listing.id);
                self.insert(listing);
            }
        };
        for shard in &self.names {
            shard.write().retain(|listed| seen.contains(&listed.id));
        }
        for shard in &self.previews {
            shard.write().retain(|listed| seen.contains(&listed.id));
        }
        self.others.write().retain(|_, others| {
            others.retain(|listed| seen.contains(&listed.id));
            !others.is_empty()
        });
        copied(copy.and_then(Rewrite::finish));
        Ok(())
    }

    /// Puts `listings` in the place of all that have this name. Whoever holds it is there all the time.
    pub fn replace(&self, name: &CertificateName, listings: Vec<Listing>) {
        let holder = self.get(&self.names, BY_NAME, name.as_str());
        let before = self.others.write().remove(name).unwrap_or_default();
        let labels: HashSet<String> = listings.iter().map(|listing| listing.preview.clone()).collect();
        let held = is_held(&listings);
        for listing in listings {
            self.insert(listing);
        }
        if !held && holder.is_some() {
            self.gone.insert(name.as_str().into(), ());
            self.take(&self.names, BY_NAME, name.as_str());
        }
        for listed in before.iter().chain(&holder).filter(|listed| !labels.contains(&*listed.preview)) {
            self.take(&self.previews, BY_PREVIEW, &listed.preview);
        }
    }

    fn insert(&self, listing: Listing) {
        let listed = Arc::new(Listed {
            id: listing.id,
            site: self.site(&listing.site),
            custom: Custom::of(&listing.settings),
            registered: listing.via == Via::Api,
            holder: listing.holder,
            preview: listing.preview.into(),
            name: listing.name,
        });
        self.put(&self.previews, BY_PREVIEW, listed.clone());
        self.any.store(true, Ordering::Release);
        if listed.holder {
            self.gone.invalidate(listed.name.as_str());
            if listed.name.is_wildcard() {
                self.any_wildcard.store(true, Ordering::Release);
            }
            return self.put(&self.names, BY_NAME, listed);
        }
        let mut others = self.others.write();
        let others = others.entry(listed.name.clone()).or_default();
        others.retain(|other| other.id != listed.id);
        others.push(listed);
    }

    fn site(&self, name: &Label) -> Arc<str> {
        if let Some(site) = self.sites.read().get(name.as_str()) {
            return site.clone();
        }
        let site = name.shared();
        self.sites.write().insert(site.clone());
        site
    }

    fn get(&self, shards: &[Shard], key: Key, wanted: &str) -> Option<Arc<Listed>> {
        let hash = self.hasher.hash_one(wanted);
        shard(shards, hash).read().find(hash, |listed| key(listed) == wanted).cloned()
    }

    /// Puts it in the place of the one with the same key.
    fn put(&self, shards: &[Shard], key: Key, listed: Arc<Listed>) {
        let hash = self.hasher.hash_one(key(&listed));
        let mut table = shard(shards, hash).write();
        match table.find_mut(hash, |other| key(other) == key(&listed)) {
            Some(other) => *other = listed,
            None => drop(table.insert_unique(hash, listed, |other| self.hasher.hash_one(key(other)))),
        }
    }

    fn take(&self, shards: &[Shard], key: Key, wanted: &str) -> Option<Arc<Listed>> {
        let hash = self.hasher.hash_one(wanted);
        let mut table = shard(shards, hash).write();
        let entry = table.find_entry(hash, |listed| key(listed) == wanted).ok()?;
        Some(entry.remove().0)
    }
}

fn is_held(listings: &[Listing]) -> bool {
    listings.iter().any(|listing| listing.holder)
}

/// The table itself goes by the lowest and the highest bits.
fn place(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or(0) % SHARDS
}

fn shard(shards: &[Shard], hash: u64) -> &Shard {
    &shards[place(hash)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::registration::Settings;

    fn listing(id: i64, name: &str, preview: &str, holder: bool) -> Listing {
        Listing {
            id,
            name: name.parse().unwrap(),
            organization: "cats".parse().unwrap(),
            site: "site".parse().unwrap(),
            via: Via::Api,
            holder,
            preview: preview.into(),
            proof: String::new(),
            settings: Settings::default(),
        }
    }

    #[test]
    fn a_change_of_a_name_leaves_nothing_of_before() {
        let directory = Directory::default();
        let name: CertificateName = "a.test".parse().unwrap();
        let hostname: Hostname = "a.test".parse().unwrap();
        directory.replace(&name, vec![listing(1, "a.test", "one", true), listing(2, "a.test", "two", false)]);
        assert_eq!(directory.find(&hostname).map(|listed| listed.id), Some(1));
        assert_eq!(directory.preview("two").map(|listed| listed.id), Some(2));
        directory.replace(&name, vec![listing(2, "a.test", "two", true)]);
        assert_eq!(directory.find(&hostname).map(|listed| listed.id), Some(2));
        assert!(directory.preview("one").is_none());
        assert_eq!(directory.len(), 1);
        assert!(!directory.is_gone(&hostname));
        directory.replace(&name, Vec::new());
        assert!(directory.find(&hostname).is_none() && directory.preview("two").is_none());
        assert_eq!(directory.len(), 0);
        assert!(directory.is_gone(&hostname), "what is asked for on old connections is nobody's");
        directory.replace(&name, vec![listing(3, "a.test", "three", true)]);
        assert!(!directory.is_gone(&hostname));
        let wildcard: CertificateName = "*.b.test".parse().unwrap();
        directory.replace(&wildcard, vec![listing(4, "*.b.test", "four", true)]);
        assert_eq!(directory.find(&"x.b.test".parse().unwrap()).map(|listed| listed.id), Some(4));
    }
}
