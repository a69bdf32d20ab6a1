//! Certificates under keys: in Redis, or in a folder with a file for each key.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use futures::stream::{self, StreamExt};

use super::{Failed, Item, Kind, Skipped, Source, folder, item};
use crate::certs::pem;
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::peers;
use crate::peers::connection::{Address, Redis, Value};
use crate::peers::layout::Layout;
use crate::peers::{lua_resty_acme, lua_resty_auto_ssl};

/// Values that are read in one go.
const VALUES_AT_ONCE: usize = 100;

/// The certificates in a Redis. Certificates must be valid at `now`.
///
/// Values are read as they are asked for; of the keys that were seen, 16 octets each are held.
pub async fn open_redis(address: &Address, layout: Layout, now: UnixTime) -> Result<Source, Failed> {
    let mut redis = address.connect().await?;
    let total = redis.size().await?;
    let scan = Scan {
        redis,
        pattern: layout.pattern(),
        layout,
        now,
        cursor: Some(0),
        seen: HashSet::new(),
        keys: VecDeque::new(),
    };
    let pages = stream::try_unfold(scan, |mut scan| async move {
        Ok::<_, Failed>(scan.page().await?.map(|page| (stream::iter(page).map(Ok), scan)))
    });
    Ok(Source {
        kind: Kind { one: "key", many: "keys", none: "no keys with certificates there" },
        total: Some(total),
        items: futures::TryStreamExt::try_flatten(pages).boxed(),
        afterwards: Vec::new(),
    })
}

/// A walk through a Redis.
struct Scan {
    redis: Redis,
    layout: Layout,
    pattern: String,
    now: UnixTime,
    /// Where SCAN goes on; `None` at its end.
    cursor: Option<u64>,
    /// Of each key so far a part of its digest, as SCAN may give a key more than once.
    seen: HashSet<[u8; 16]>,
    /// Keys whose values are to be read.
    keys: VecDeque<String>,
}

impl Scan {
    /// The next items; `None` at the end.
    async fn page(&mut self) -> Result<Option<Vec<Item>>, Failed> {
        while let Some(cursor) = self.cursor.filter(|_| self.keys.len() < VALUES_AT_ONCE) {
            let (next, keys) = self.redis.scan(cursor, &self.pattern).await?;
            self.cursor = (next != 0).then_some(next);
            for key in keys {
                if self.layout.domain(&key).is_some() && self.seen.insert(mark(&key)) {
                    self.keys.push_back(key);
                }
            }
        }
        let keys: Vec<String> = self.keys.drain(..self.keys.len().min(VALUES_AT_ONCE)).collect();
        if keys.is_empty() {
            return Ok(None);
        }
        let values = self.redis.values(&keys).await?;
        let (layout, now) = (self.layout.clone(), self.now);
        let reading = tokio::task::spawn_blocking(move || {
            let read = |(key, value): (String, Result<Value, peers::Error>)| Item {
                content: value.map_err(Skipped::from).and_then(|value| content(&layout, &key, &value, now)),
                place: key,
                note: None,
            };
            keys.into_iter().zip(values).map(read).collect()
        });
        reading.await.map(Some).map_err(|ended| Failed::Reading { why: ended.to_string() })
    }
}

fn mark(key: &str) -> [u8; 16] {
    let mut mark = [0; 16];
    mark.copy_from_slice(&digest(&SHA256, key.as_bytes()).as_ref()[..16]);
    mark
}

/// How the files of a folder are named by keys.
#[derive(Clone, Copy)]
struct Files {
    key: fn(&str) -> Option<String>,
    value: fn(&[u8]) -> &[u8],
}

/// lua-resty-auto-ssl's files; `dir` is its `dir`, or the folder of the files itself. Blocks on the
/// disk.
pub fn open_lua_resty_auto_ssl(dir: &Path, now: UnixTime) -> Result<Source, Failed> {
    let below = dir.join(lua_resty_auto_ssl::FOLDER);
    let dir = if below.is_dir() { &below } else { dir };
    let files = Files { key: lua_resty_auto_ssl::key_of_file, value: |content| content };
    open_files(dir, Layout::LuaRestyAutoSsl { prefix: None }, files, now)
}

/// lua-resty-acme's files in `dir`. Blocks on the disk.
pub fn open_lua_resty_acme(dir: &Path, namespace: String, now: UnixTime) -> Result<Source, Failed> {
    let files = Files { key: lua_resty_acme::key_of_file, value: lua_resty_acme::value_of_file };
    open_files(dir, Layout::LuaRestyAcme { namespace }, files, now)
}

fn open_files(dir: &Path, layout: Layout, files: Files, now: UnixTime) -> Result<Source, Failed> {
    let key = |path: &PathBuf| (files.key)(&folder::name(path)).filter(|key| layout.domain(key).is_some());
    let places: Vec<(PathBuf, String)> =
        folder::list(dir)?.into_iter().filter_map(|path| key(&path).map(|key| (path, key))).collect();
    Ok(Source {
        kind: Kind { one: "file", many: "files", none: "no files with certificates there" },
        total: Some(places.len() as u64),
        items: folder::read(
            places,
            |(path, _)| folder::name(path),
            move |(path, key)| {
                let value = pem::read_file(&path).map_err(Skipped::from);
                let content = value.and_then(|octets| content(&layout, &key, (files.value)(&octets), now));
                Item { content, place: folder::name(&path), note: None }
            },
        ),
        afterwards: Vec::new(),
    })
}

fn content(layout: &Layout, key: &str, value: &[u8], now: UnixTime) -> Result<Vec<Certificate>, Skipped> {
    let filed = layout.name(layout.domain(key).unwrap_or(key))?;
    let texts = layout.texts(value)?;
    item::certificates(&item::joined(texts.chain.as_bytes(), texts.key.as_bytes())?, Some(&filed), now)
}
