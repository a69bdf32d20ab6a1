//! A change of the sealing key while the store is in use.
//!
//! The new key is on the disk before it seals anything, and those before it stay until nothing is
//! left that they sealed: at every moment all that is stored can be opened, also after a crash, and
//! the change goes on where it was broken off.

use std::fmt;
use std::path::PathBuf;

use super::fleet::SILENT;
use super::local::LocalTier;
use super::records::Records;
use super::seal::SealingKey;
use super::{Error, Store, key_file};
use crate::config::KeySource;

/// Certificates sealed anew at a time.
const BATCH: u32 = 500;

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rekeyed {
    /// The key that seals now.
    pub id: String,
    /// Records of the store that it seals now and did not before.
    pub stored: u64,
    /// The same of this machine's own copies.
    pub local: u64,
    /// Records that no key opens, left as they are.
    pub unusable: u64,
    /// Where the keys of before are kept, for backups.
    pub earlier: Option<PathBuf>,
}

impl fmt::Display for Rekeyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, stored, local, unusable, earlier } = self;
        write!(
            f,
            "everything is sealed with key {id}: {stored} records of the store, {local} copies of this machine"
        )?;
        if *unusable > 0 {
            write!(f, "; {unusable} records are left, as no key opens them, and the keys of before stay")?;
        }
        match earlier {
            Some(path) => {
                write!(f, "; the key of before is in {}: remove it once no backup needs it", path.display())
            }
            None => Ok(()),
        }
    }
}

/// Seals everything with the newest key of `source`: in a key file with one key that is a new one. Where
/// machines share the store, no key is new that the others do not have: they come first.
///
/// - `key`: what `store` and `local` seal with; it changes with the file
/// - `shared`: whether machines share the store
pub async fn rekey(
    key: &SealingKey,
    source: &KeySource,
    (store, shared): (&dyn Records, bool),
    local: &LocalTier,
) -> Result<Rekeyed, Error> {
    // A store that fails now must not leave a half-made change behind.
    store.adopt_key().await?;
    if let KeySource::File(path) = source {
        let at_hand = key_file::load(path)?;
        let next = if shared || at_hand.has_earlier() { at_hand } else { key_file::add_new(path)? };
        key.replace_by(&next);
        store.adopt_key().await?;
    }
    if shared {
        everywhere(key, store).await?;
    }
    let (mut stored, unusable) = reseal(store).await?;
    let mut copies = 0;
    loop {
        match local.reseal().await? {
            0 => break,
            more => copies += more,
        }
    }
    let mut earlier = None;
    if unusable == 0 {
        store.retire_keys().await?;
        // What was sealed before the change and waited until now to be written.
        stored += reseal(store).await?.0;
        if let KeySource::File(path) = source {
            earlier = key_file::keep_only_first(path)?;
            key.replace_by(&key_file::load(path)?);
        }
    }
    Ok(Rekeyed { id: key.id(), stored, local: copies, unusable, earlier })
}

/// Fails unless every machine that is there seals with the key that seals here.
async fn everywhere(key: &SealingKey, store: &dyn Records) -> Result<(), Error> {
    let (ours, now) = (key.id(), store.work().await?.now);
    let there = store.machines().await?.into_iter().filter(|seen| seen.at.until(now) < SILENT);
    let lacking = there.filter(|seen| seen.machine.keys.first() != Some(&ours)).map(|seen| {
        let does =
            if seen.machine.keys.contains(&ours) { "seals with another one" } else { "does not have it" };
        format!("{} ({}) {does}", seen.machine.name, seen.machine.id)
    });
    let machines: Vec<String> = lacking.collect();
    if machines.is_empty() { Ok(()) } else { Err(Error::KeyNotEverywhere { key: ours, machines }) }
}

/// How many records were sealed anew, and how many no key opens.
async fn reseal(store: &dyn Store) -> Result<(u64, u64), Error> {
    let mut resealed = 0;
    loop {
        let (mut after, mut now, mut unusable) = (String::new(), 0, 0);
        loop {
            let page = store.reseal(&after, BATCH).await?;
            now += page.resealed;
            unusable += page.unusable;
            match page.last {
                Some(last) => after = last,
                None => break,
            }
        }
        resealed += now;
        // Once more after a pass with something to do: what was sealed before the change may have
        // been written behind it.
        if now == 0 {
            return Ok((resealed, unusable));
        }
    }
}
