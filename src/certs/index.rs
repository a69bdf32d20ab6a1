//! The certificates that are ready in memory: bounded, by exact name, then by wildcard.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::shelf::Shelf;
use crate::domain::certificate::Validity;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::renewal;

/// A certificate in memory; cloning shares it.
#[derive(Debug)]
pub struct Entry<R> {
    /// Ready for a handshake.
    pub ready: Arc<R>,
    /// When it may be presented.
    pub validity: Validity,
    /// Whether the name's organization brought it: no other one takes its place while it is valid.
    pub own: bool,
}

impl<R> Clone for Entry<R> {
    fn clone(&self) -> Self {
        Self { ready: self.ready.clone(), validity: self.validity, own: self.own }
    }
}

/// Names split by kind, so that a look-up needs no text of its own: wildcards by what follows
/// their `*.`.
struct Pinned<R> {
    exact: HashMap<CertificateName, Entry<R>>,
    wildcards: HashMap<Box<str>, Entry<R>>,
}

/// A bounded index of ready certificates. Look-ups allocate nothing, take no lock that
/// is shared by all and cost the same however many certificates there are.
pub struct Index<R> {
    exact: Shelf<Entry<R>>,
    /// By what follows their `*.`, so that a look-up needs no text of its own.
    wildcards: Shelf<Entry<R>>,
    pinned: ArcSwap<Pinned<R>>,
    capacity: u64,
}

impl<R: Send + Sync + 'static> Index<R> {
    /// Room for `capacity` certificates of each kind; the least used ones make way.
    pub fn new(capacity: u64) -> Self {
        Self {
            exact: Shelf::new(capacity),
            wildcards: Shelf::new(capacity),
            pinned: ArcSwap::from_pointee(Pinned { exact: HashMap::new(), wildcards: HashMap::new() }),
            capacity,
        }
    }

    /// The certificate to present for `hostname`: its own, else a wildcard's; never one that is
    /// not valid at `now`.
    pub fn find(&self, hostname: &Hostname, now: UnixTime) -> Option<Arc<R>> {
        self.with(hostname, |entry| entry.validity.holds(now).then(|| entry.ready.clone()))
    }

    /// When the certificate that [`Index::find`] finds is valid.
    pub fn validity(&self, hostname: &Hostname, now: UnixTime) -> Option<Validity> {
        self.with(hostname, |entry| entry.validity.holds(now).then_some(entry.validity))
    }

    /// What `valid` makes of the first certificate for `hostname` that it takes.
    fn with<T>(&self, hostname: &Hostname, valid: impl Fn(&Entry<R>) -> Option<T>) -> Option<T> {
        let name = hostname.as_str();
        if let Some(ready) = self.exact.with(name, &valid).flatten() {
            return Some(ready);
        }
        let pinned = self.pinned.load();
        if let Some(ready) = pinned.exact.get(name).and_then(&valid) {
            return Some(ready);
        }
        let parent = hostname.parent();
        self.wildcards
            .with(parent, &valid)
            .flatten()
            .or_else(|| pinned.wildcards.get(parent).and_then(&valid))
    }

    /// Takes a certificate in, over an older one of the same name.
    pub fn insert(&self, name: CertificateName, entry: Entry<R>) {
        match name.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcards.insert(parent, entry),
            None => self.exact.insert(name.as_str(), entry),
        }
    }

    /// The same, unless the name has its own certificate in memory that is valid at `now`, or one from
    /// files; whether it is in.
    pub fn insert_obtained(&self, name: &CertificateName, entry: Entry<R>, now: UnixTime) -> bool {
        if self.is_pinned(name, now) {
            return false;
        }
        let stays = |older: &Entry<R>| older.own && older.validity.holds(now);
        match name.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcards.insert_unless(parent, entry, stays),
            None => self.exact.insert_unless(name.as_str(), entry, stays),
        }
    }

    /// As [`Index::insert`], for its own one, which is not needed where there is one from files.
    pub fn insert_own(&self, name: &CertificateName, entry: Entry<R>, now: UnixTime) {
        if !self.is_pinned(name, now) {
            self.insert(name.clone(), entry);
        }
    }

    /// Whether a certificate from files is to be presented for exactly this name at `now`.
    fn is_pinned(&self, name: &CertificateName, now: UnixTime) -> bool {
        let pinned = self.pinned.load();
        let entry = match name.as_str().strip_prefix("*.") {
            Some(parent) => pinned.wildcards.get(parent),
            None => pinned.exact.get(name.as_str()),
        };
        entry.is_some_and(|entry| entry.validity.holds(now))
    }

    /// Whether the certificate of exactly this name is in memory.
    pub fn holds(&self, name: &CertificateName) -> bool {
        self.holds_own(name).is_some()
    }

    /// Whether it is its own one; `None` where none is in memory.
    pub fn holds_own(&self, name: &CertificateName) -> Option<bool> {
        match name.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcards.with(parent, |entry| entry.own),
            None => self.exact.with(name.as_str(), |entry| entry.own),
        }
    }

    /// As [`Index::holds`], one that is valid at `now`.
    pub fn holds_valid(&self, name: &CertificateName, now: UnixTime) -> bool {
        let valid = |entry: &Entry<R>| entry.validity.holds(now);
        match name.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcards.with(parent, valid),
            None => self.exact.with(name.as_str(), valid),
        }
        .unwrap_or(false)
    }

    /// Forgets a certificate; the pinned ones stay.
    pub fn remove(&self, name: &CertificateName) {
        match name.as_str().strip_prefix("*.") {
            Some(parent) => self.wildcards.remove(parent),
            None => self.exact.remove(name.as_str()),
        }
    }

    /// Replaces, in one step, the certificates that never make way: those from files. They come before
    /// whatever else there is for their names.
    pub fn pin(&self, certificates: Vec<(CertificateName, Entry<R>)>) {
        let mut pinned = Pinned { exact: HashMap::new(), wildcards: HashMap::new() };
        let names: Vec<CertificateName> = certificates.iter().map(|(name, _)| name.clone()).collect();
        for (name, entry) in certificates {
            match name.as_str().strip_prefix("*.") {
                Some(parent) => drop(pinned.wildcards.insert(parent.into(), entry)),
                None => drop(pinned.exact.insert(name, entry)),
            }
        }
        self.pinned.store(Arc::new(pinned));
        names.iter().for_each(|name| self.remove(name));
    }

    /// The hostnames whose own certificates are from files, and end so soon that another one is to be there
    /// at `now`.
    pub fn pinned_that_end(&self, now: UnixTime) -> Vec<Hostname> {
        let pinned = self.pinned.load();
        let ends = |entry: &Entry<R>| entry.own && renewal::fall_back(entry.validity) <= now;
        let names = pinned.exact.iter().filter(|(_, entry)| ends(entry));
        names.filter_map(|(name, _)| name.hostname()).collect()
    }

    /// The names of those that may make way.
    pub fn names(&self) -> Vec<CertificateName> {
        let exact = self.exact.keys().into_iter().filter_map(|name| name.parse().ok());
        let wildcards =
            self.wildcards.keys().into_iter().filter_map(|parent| format!("*.{parent}").parse().ok());
        exact.chain(wildcards).collect()
    }

    /// How many are in memory.
    pub fn len(&self) -> u64 {
        let pinned = self.pinned.load();
        let pinned = u64::try_from(pinned.exact.len() + pinned.wildcards.len()).unwrap_or(u64::MAX);
        self.exact.count() + self.wildcards.count() + pinned
    }

    /// Whether another one finds room without one making way for it.
    pub fn has_room(&self) -> bool {
        self.exact.count() + self.wildcards.count() < self.capacity
    }

    /// Whether nothing is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &'static str, not_after: i64) -> Entry<&'static str> {
        let validity = Validity { not_before: UnixTime(0), not_after: UnixTime(not_after) };
        Entry { ready: Arc::new(name), validity, own: false }
    }

    fn index() -> Index<&'static str> {
        let index = Index::new(10);
        for name in ["a.example.io", "*.example.io"] {
            index.insert(name.parse().unwrap(), entry(name, 100));
        }
        index
    }

    fn found(index: &Index<&'static str>, hostname: &str, now: i64) -> Option<&'static str> {
        index.find(&hostname.parse().unwrap(), UnixTime(now)).map(|ready| *ready)
    }

    #[test]
    fn the_exact_name_comes_before_the_wildcard() {
        let index = index();
        assert_eq!(found(&index, "a.example.io", 1), Some("a.example.io"));
        assert_eq!(found(&index, "b.example.io", 1), Some("*.example.io"));
        assert_eq!(found(&index, "a.b.example.io", 1), None);
        assert_eq!(found(&index, "example.io", 1), None);
    }

    #[test]
    fn an_expired_certificate_is_not_found_and_its_wildcard_steps_in() {
        let index = index();
        index.insert("a.example.io".parse().unwrap(), entry("old", 10));
        assert_eq!(found(&index, "a.example.io", 11), Some("*.example.io"));
        assert_eq!(found(&index, "b.example.io", 101), None);
    }

    #[test]
    fn an_own_certificate_makes_way_for_an_obtained_one_once_it_has_ended() {
        let index = index();
        let name = "a.example.io".parse().unwrap();
        index.insert(CertificateName::clone(&name), Entry { own: true, ..entry("own", 50) });
        assert!(!index.insert_obtained(&name, entry("obtained", 100), UnixTime(50)));
        assert_eq!((found(&index, "a.example.io", 50), index.holds_own(&name)), (Some("own"), Some(true)));
        assert!(index.insert_obtained(&name, entry("obtained", 100), UnixTime(51)));
        assert_eq!(found(&index, "a.example.io", 51), Some("obtained"));
    }

    #[test]
    fn one_from_files_comes_before_an_obtained_one_while_it_is_valid() {
        let index = index();
        let name: CertificateName = "a.example.io".parse().unwrap();
        index.pin(vec![(name.clone(), entry("file", 50))]);
        assert_eq!(found(&index, "a.example.io", 1), Some("file"));
        assert!(!index.insert_obtained(&name, entry("obtained", 100), UnixTime(1)));
        assert!(index.insert_obtained(&name, entry("obtained", 100), UnixTime(51)));
        assert_eq!(found(&index, "a.example.io", 51), Some("obtained"));
    }

    #[test]
    fn pinned_certificates_are_replaced_whole_and_outlive_a_removal() {
        let index = Index::new(10);
        index.pin(vec![("*.p.test".parse().unwrap(), entry("first", 100))]);
        index.remove(&"*.p.test".parse().unwrap());
        assert_eq!(found(&index, "x.p.test", 1), Some("first"));
        index.pin(vec![("p.test".parse().unwrap(), entry("second", 100))]);
        assert_eq!(found(&index, "x.p.test", 1), None);
        assert_eq!(found(&index, "p.test", 1), Some("second"));
    }
}
