//! Where hostnames go, as memory has it, while the store changes and is read anew.

mod bed;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use nameplate::domain::clock::SystemClock;
use nameplate::domain::hostname::{CertificateName, Hostname};
use nameplate::domain::registration::{Settings, Via};
use nameplate::domain::site::Site;
use nameplate::sites::directory::Directory;
use nameplate::sites::shelter::Shelter;
use nameplate::sites::{Followed, Versioned};
use nameplate::store::Error;
use nameplate::store::records::{Changed, Hostnames, Listing};
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::{DATABASE_FILE, SqliteStore};
use nameplate::telemetry::metrics::Metrics;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Read in several pages.
const COUNT: u32 = 12_000;
/// One that is read long before its page has been taken in.
const NAME: &str = "00100.many.test";
const LATER: &str = "05999.many.test";
const PREVIEW: &str = "preview-100";

/// A store of many hostnames, and a directory beside it.
struct Bed {
    store: Arc<SqliteStore>,
    metrics: Arc<Metrics>,
    directory: Arc<Directory>,
    folder: TempDir,
}

/// Hostnames stay with whom they belong to, and the store is there.
struct Undisturbed;

#[async_trait]
impl Followed for Undisturbed {
    fn sites(&self, _sites: &[Versioned<Site>]) {}

    async fn gone(&self, name: &CertificateName) {
        panic!("{name} is somebody's all the time");
    }

    fn store_failed(&self, error: &Error) {
        panic!("{error}");
    }
}

/// The store fails.
struct Disturbed;

#[async_trait]
impl Followed for Disturbed {
    fn sites(&self, _sites: &[Versioned<Site>]) {}

    async fn gone(&self, name: &CertificateName) {
        panic!("{name} is somebody's all the time");
    }

    fn store_failed(&self, error: &Error) {
        assert!(!error.is_of_the_record(), "{error}");
    }
}

impl Bed {
    async fn with(count: u32) -> Self {
        let folder = TempDir::new().unwrap();
        let metrics = Arc::new(Metrics::new("test"));
        let (key, clock) = (SealingKey::random(), Arc::new(SystemClock));
        let store = SqliteStore::open(folder.path(), key, clock, metrics.clone()).await.unwrap();
        let bed = Self { store: Arc::new(store), metrics, directory: Arc::default(), folder };
        bed.sql(&format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
             INSERT INTO hostnames (name, organization, site, via, holder, preview, proof, state, reason,
                 looks, look_at, version, created_at, updated_at)
             SELECT printf('%05d.many.test', n), 'many', 'many-site', 'api', 1, 'preview-' || n, 'proof',
                 'serving', '', 0, n, 1, n, n
             FROM numbers"
        ))
        .await;
        bed.sql("INSERT INTO changes (name) VALUES (NULL)").await;
        bed
    }

    /// Changes rows behind the store's back.
    async fn sql(&self, statement: &str) {
        let options = SqliteConnectOptions::new().filename(self.folder.path().join(DATABASE_FILE));
        let mut connection = options.connect().await.unwrap();
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Lets the directory follow the store; all hostnames have been read when it returns.
    async fn followed(&self) -> JoinHandle<()> {
        let (directory, store) = (self.directory.clone(), self.store.clone());
        let shelter = Shelter::new(self.folder.path());
        let following = tokio::spawn(async move { directory.follow(store, &Undisturbed, shelter).await });
        bed::eventually("all are read", async || self.directory.is_complete()).await;
        following
    }

    /// Has all hostnames read again: the changes that routing follows have been forgotten.
    async fn read_anew(&self) {
        self.sql("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'changes'").await;
        self.sql("DELETE FROM changes").await;
        self.directory.look();
    }

    fn pages_read(&self) -> u64 {
        self.metrics.store_operations.with_label_values(&["listings_after", "ok"]).get()
    }

    /// Sets what [`version`] tells.
    async fn set(&self, version: u32) {
        let settings = Settings { metadata: Some(version.to_string().into()), ..Settings::default() };
        let (many, name) = ("many".parse().unwrap(), NAME.parse().unwrap());
        let changed = self.store.configure(&many, &name, &settings, None, None).await.unwrap();
        assert!(matches!(changed, Changed::Done(_)));
    }

    async fn refresh(&self) {
        assert!(self.directory.refresh(&*self.store, &NAME.parse().unwrap()).await.unwrap(), "it is held");
    }
}

/// What was set last, as requests for the hostname, or for its preview, see it.
fn version(directory: &Directory, by_preview: bool) -> u32 {
    let hostname: Hostname = NAME.parse().unwrap();
    let listed = if by_preview { directory.preview(PREVIEW) } else { directory.find(&hostname) };
    let listed = listed.expect("it is found all the time");
    assert!(!directory.is_gone(&hostname), "somebody holds it all the time");
    let metadata = listed.custom.as_ref().and_then(|custom| custom.metadata.as_ref());
    metadata.map_or(0, |metadata| metadata.to_str().unwrap().parse().unwrap())
}

/// Requests one after the other, on a thread of their own, until it is told to stop.
struct Requests {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Requests {
    fn start(directory: &Arc<Directory>, by_preview: bool) -> Self {
        let (directory, stop) = (directory.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut last = 0;
            while !stopped.load(Ordering::Relaxed) {
                let seen = version(&directory, by_preview);
                assert!(seen >= last, "{seen} is seen after {last}");
                last = seen;
            }
        });
        Self { stop, thread }
    }

    fn all_were_right(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no request saw anything else");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_all_hostnames_are_read_anew_each_is_found_and_no_change_of_it_is_undone() {
    const ROUNDS: u32 = 20;
    let bed = Bed::with(COUNT).await;
    let following = bed.followed().await;
    let requests = [false, true].map(|by_preview| Requests::start(&bed.directory, by_preview));
    let before = bed.pages_read();
    for round in 1..=ROUNDS {
        let pages = bed.pages_read();
        bed.read_anew().await;
        for change in [2 * round - 1, 2 * round] {
            bed.set(change).await;
            bed.refresh().await;
            assert_eq!([false, true].map(|by| version(&bed.directory, by)), [change; 2], "it is in force");
        }
        bed::eventually("they are read anew", async || bed.pages_read() > pages + 2).await;
    }
    println!("{} pages were read", bed.pages_read() - before);
    requests.into_iter().for_each(Requests::all_were_right);
    assert!(!following.is_finished());
    assert_eq!(bed.directory.len(), COUNT as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_is_read_while_all_are() {
    const PAGES: u64 = 12;
    let bed = Bed::with(60_000).await;
    let following = bed.followed().await;
    bed::eventually("it is read between two pages", async || {
        let before = bed.pages_read();
        bed.read_anew().await;
        // The last page is an empty one.
        while bed.pages_read() <= before + PAGES {
            bed.refresh().await;
            if (before + 1..before + PAGES).contains(&bed.pages_read()) {
                return true;
            }
        }
        false
    })
    .await;
    assert!(!following.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_first_reading_breaks_off_the_copy_stands_in_for_the_rest_alone() {
    let bed = Bed::with(6_000).await;
    let listing = |id: i64, raw: &str, site: &str| Listing {
        id,
        name: raw.parse().unwrap(),
        organization: "many".parse().unwrap(),
        site: site.parse().unwrap(),
        via: Via::Api,
        holder: true,
        preview: format!("preview-{site}"),
        proof: "proof".into(),
        settings: Settings::default(),
    };
    let copy = Shelter::new(bed.folder.path());
    let mut rewrite = copy.rewrite(&[]).unwrap();
    rewrite.add(&[listing(7_000, NAME, "before"), listing(5_999, LATER, "copied")]).unwrap();
    rewrite.finish().unwrap();
    // The second page cannot be read.
    bed.sql("UPDATE hostnames SET proof = CAST(x'ff' AS TEXT) WHERE name = '05500.many.test'").await;
    let (directory, store) = (bed.directory.clone(), bed.store.clone());
    let following = tokio::spawn(async move { directory.follow(store, &Disturbed, copy).await });
    let site = |raw: &str| bed.directory.find(&raw.parse().unwrap()).map(|listed| listed.site.to_string());
    bed::eventually("the copy is taken", async || site(LATER).is_some()).await;
    assert_eq!(site(LATER).as_deref(), Some("copied"));
    assert_eq!(site(NAME).as_deref(), Some("many-site"), "what was read is newer");
    assert!(!bed.directory.is_complete() && !following.is_finished());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_read_a_hostname_at_once_none_undoes_what_another_one_read_later() {
    const CHANGES: u32 = 300;
    let bed = Bed::with(100).await;
    bed.refresh().await;
    let requests = [false, true].map(|by_preview| Requests::start(&bed.directory, by_preview));
    let done = AtomicBool::new(false);
    let reading = async || {
        while !done.load(Ordering::Relaxed) {
            bed.refresh().await;
        }
    };
    let changing = async {
        for change in 1..=CHANGES {
            bed.set(change).await;
            bed.refresh().await;
            assert_eq!(version(&bed.directory, false), change, "it is in force");
        }
        done.store(true, Ordering::Relaxed);
    };
    futures::join!(changing, join_all((0..4).map(|_| reading())));
    requests.into_iter().for_each(Requests::all_were_right);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_begun_anew_is_not_the_one_that_was_read() {
    let (bed, anew) = (Bed::with(1).await, Bed::with(1).await);
    assert!(!bed.directory.is_of(&*bed.store).await.unwrap(), "nothing has been read yet");
    bed.sql("INSERT INTO changes (name) VALUES (NULL)").await;
    let following = bed.followed().await;
    assert!(bed.directory.is_of(&*bed.store).await.unwrap());
    assert!(!bed.directory.is_of(&*anew.store).await.unwrap(), "it lacks a change that was read");
    bed.sql("INSERT INTO changes (name) VALUES (NULL)").await;
    assert!(bed.directory.is_of(&*bed.store).await.unwrap(), "a change that is still to be read is its own");
    assert!(!following.is_finished());
}
