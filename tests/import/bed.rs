//! What imports are done into.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use nameplate::certs::import::batches::{Listener, Target, import};
use nameplate::certs::import::{Failed, Fate, Item, Kind, Row, Source, Summary};
use nameplate::domain::certificate::Certificate;
use nameplate::domain::clock::SystemClock;
use nameplate::store::Store;
use nameplate::store::local::LocalTier;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::SqliteStore;
use nameplate::telemetry::metrics::Metrics;
use tempfile::TempDir;

/// What was told of an item.
#[derive(Debug)]
pub struct Told {
    pub place: String,
    pub used: bool,
    pub names: Vec<(String, Fate)>,
    /// Why it was skipped.
    pub skipped: Option<String>,
    pub note: Option<String>,
}

#[derive(Default)]
struct Notes(Vec<Told>);

impl Listener for Notes {
    fn read(&mut self, _items: u64) {}

    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.0.push(Told {
            place: row.place.to_string(),
            used: row.is_used(),
            names: row.names.iter().map(|(name, fate)| (name.to_string(), fate.clone())).collect(),
            skipped: row.skipped.as_ref().map(ToString::to_string),
            note: row.note.clone(),
        });
        Ok(())
    }
}

/// A folder, a store and this machine's copies.
pub struct Bed {
    root: TempDir,
    pub store: SqliteStore,
    pub local: LocalTier,
}

impl Bed {
    pub async fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("from")).unwrap();
        let metrics = Arc::new(Metrics::new("test"));
        let data_dir = root.path().join("data");
        let store = SqliteStore::open(&data_dir, SealingKey::random(), Arc::new(SystemClock), metrics);
        let store = store.await.unwrap();
        let local = LocalTier::open(&data_dir.join("certificates"), SealingKey::random()).unwrap();
        Self { store, local, root }
    }

    /// The folder that is imported from.
    pub fn folder(&self) -> PathBuf {
        self.root.path().join("from")
    }

    /// Writes a file there, with the folders that it lies in.
    pub fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.folder().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Does it.
    pub async fn apply(&self, source: Source) -> (Summary, Vec<Told>) {
        let (summary, told, ended) = self.try_to_apply(source).await;
        ended.unwrap();
        (summary, told)
    }

    /// Does it, as far as it goes.
    pub async fn try_to_apply(&self, source: Source) -> (Summary, Vec<Told>, Result<(), Failed>) {
        let mut notes = Notes::default();
        let target = Target { store: &self.store, local: &self.local };
        let (summary, ended) = import(source, Some(target), &mut notes).await;
        (summary, notes.0, ended)
    }

    /// The certificate that the store has.
    pub async fn find(&self, name: &str) -> Option<Certificate> {
        self.store.certificate(&name.parse().unwrap()).await.unwrap()
    }
}

/// Shows what would be done.
pub async fn look(source: Source) -> (Summary, Vec<Told>) {
    let mut notes = Notes::default();
    let (summary, ended) = import(source, None, &mut notes).await;
    ended.unwrap();
    (summary, notes.0)
}

/// What has these items, and then ends as it is told.
pub fn source(items: Vec<Item>, failed: Option<Failed>) -> Source {
    let end: Vec<Result<Item, Failed>> = failed.map(Err).into_iter().collect();
    Source {
        kind: Kind { one: "item", many: "items", none: "nothing" },
        total: None,
        items: stream::iter(items.into_iter().map(Ok)).chain(stream::iter(end)).boxed(),
        afterwards: Vec::new(),
    }
}
