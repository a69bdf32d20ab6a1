//! A bounded map that is read on every handshake and seldom written.
//!
//! moka decides which entries stay; a look-up does not go through it, since noting each read costs
//! it more than the look-up itself, and the more the larger the map is. Noting one read in sixteen
//! tells the used entries from the unused ones as well.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use parking_lot::RwLock;

/// One read in so many is noted.
const NOTED_EVERY: u32 = 16;
/// The map is split so that a writer seldom keeps readers waiting.
const SHARDS: usize = 256;

type Shard<V> = RwLock<HashMap<Arc<str>, V, RandomState>>;

struct Shards<V> {
    shards: Box<[Shard<V>]>,
    hasher: RandomState,
}

impl<V> Shards<V> {
    fn of(&self, key: &str) -> &Shard<V> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        &self.shards[hash % SHARDS]
    }
}

/// The map. Keys are names.
pub struct Shelf<V> {
    shards: Arc<Shards<V>>,
    /// Which keys stay.
    policy: Cache<Arc<str>, (), RandomState>,
}

impl<V: Clone + Send + Sync + 'static> Shelf<V> {
    /// Room for `capacity` entries; the least used ones make way.
    pub fn new(capacity: u64) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        let shards = Arc::new(Shards { shards, hasher: RandomState::new() });
        let made_way = shards.clone();
        let policy = Cache::builder()
            .max_capacity(capacity)
            .eviction_listener(move |key: Arc<Arc<str>>, (), cause| {
                if cause != RemovalCause::Replaced {
                    made_way.of(&key).write().remove(&**key);
                }
            })
            .build_with_hasher(RandomState::new());
        Self { shards, policy }
    }

    /// What `read` makes of the entry of `key`. Allocates nothing and waits for nobody but a
    /// writer of the same shard.
    pub fn with<T>(&self, key: &str, read: impl FnOnce(&V) -> T) -> Option<T> {
        let found = self.shards.of(key).read().get(key).map(read)?;
        if noted() {
            self.policy.get(key);
        }
        Some(found)
    }

    /// Puts `value` in, over an older one.
    pub fn insert(&self, key: &str, value: V) {
        let key: Arc<str> = key.into();
        // In this order, so that an entry that makes way at once is taken out again.
        self.shards.of(&key).write().insert(key.clone(), value);
        self.policy.insert(key, ());
    }

    /// The same, unless the older one is such that it `stays`; whether `value` is in.
    pub fn insert_unless(&self, key: &str, value: V, stays: impl FnOnce(&V) -> bool) -> bool {
        let key: Arc<str> = key.into();
        {
            let mut shard = self.shards.of(&key).write();
            if shard.get(&key).is_some_and(stays) {
                return false;
            }
            shard.insert(key.clone(), value);
        }
        self.policy.insert(key, ());
        true
    }

    /// Takes the entry of `key` out.
    pub fn remove(&self, key: &str) {
        self.shards.of(key).write().remove(key);
        self.policy.invalidate(key);
    }

    /// The keys of all entries.
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.shards.shards.iter().flat_map(|shard| shard.read().keys().cloned().collect::<Vec<_>>()).collect()
    }

    /// How many entries there are.
    pub fn count(&self) -> u64 {
        // Those that were just put in or taken out are counted then.
        self.policy.run_pending_tasks();
        self.policy.entry_count()
    }
}

/// Whether this thread's read is one of those that are noted.
fn noted() -> bool {
    thread_local!(static READS: Cell<u32> = const { Cell::new(0) });
    READS.with(|reads| {
        reads.set(reads.get().wrapping_add(1));
        reads.get().is_multiple_of(NOTED_EVERY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(shelf: &Shelf<usize>) -> usize {
        shelf.policy.run_pending_tasks();
        shelf.shards.shards.iter().map(|shard| shard.read().len()).sum()
    }

    #[test]
    fn it_stays_within_its_capacity_and_keeps_what_is_read() {
        let shelf = Shelf::new(100);
        for round in 0..50 {
            for number in 0..20 {
                shelf.insert(&format!("new{round}-{number}"), number);
            }
            if round == 0 {
                shelf.insert("read", 7);
            }
            for _ in 0..200 {
                assert_eq!(shelf.with("read", |value| *value), Some(7), "round {round}");
            }
            assert!(held(&shelf) <= 100);
        }
        assert!(shelf.count() > 50, "room that is there is used: {}", shelf.count());
    }

    #[test]
    fn an_entry_that_was_taken_out_can_be_put_in_again() {
        let shelf = Shelf::new(10);
        for value in 0..100 {
            shelf.insert("a", value);
            assert_eq!(shelf.with("a", |value| *value), Some(value));
            shelf.remove("a");
            assert_eq!(shelf.with("a", |value| *value), None);
        }
        assert_eq!(held(&shelf), 0);
    }
}
