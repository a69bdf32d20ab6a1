//! Filing what a source yields: for each name the best certificate, many in one step.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use futures::StreamExt;

use super::{Failed, Fate, Item, Row, Source, Summary};
use crate::domain::certificate::{Certificate, KeyType};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::local::LocalTier;
use crate::store::{self, Imported, Store};

/// Certificates that are filed in one step, and items that are held until it is known what became
/// of them.
const BATCH: usize = 1_000;

/// Who is told how an import goes.
pub trait Listener {
    /// So many items have been read.
    fn read(&mut self, items: u64);

    /// This became of the next item.
    fn row(&mut self, row: &Row) -> io::Result<()>;
}

/// Where certificates are filed.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// This machine's own copies, which would be served before the store is asked.
    pub local: &'a LocalTier,
}

/// Reads `source` and files every name's certificate in `target`; without one it only reports.
///
/// Where two items cover one name, the better certificate wins. Of a source of any size only a batch
/// is held, and for each name its place. What was filed before an error stays filed: the same import
/// done again goes on from there.
pub async fn import(
    mut source: Source,
    target: Option<Target<'_>>,
    listener: &mut dyn Listener,
) -> (Summary, Result<(), Failed>) {
    let mut import = Import::default();
    let ended = import.run(&mut source, target, listener).await;
    (import.summary(), ended)
}

#[derive(Default)]
struct Import {
    summary: Summary,
    best: HashMap<CertificateName, Best>,
    /// Items of this batch; the first of them is item `first_row` of all.
    rows: Vec<Row>,
    first_row: u64,
    /// What this batch brings.
    pending: HashMap<CertificateName, Certificate>,
}

/// Where a name's certificate comes from.
struct Best {
    rank: Rank,
    place: Arc<str>,
    row: u64,
    /// What became of it; never [`Fate::Beaten`].
    fate: Fate,
}

/// How good a certificate is: the longer it lasts, and of two that end together the one whose key
/// costs less to serve with.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Rank {
    not_after: UnixTime,
    is_elliptic: bool,
}

impl Rank {
    fn of(certificate: &Certificate) -> Self {
        let is_elliptic = match certificate.key_type {
            KeyType::P256 | KeyType::P384 | KeyType::Ed25519 => true,
            KeyType::Rsa2048 | KeyType::Rsa => false,
        };
        Self { not_after: certificate.validity.not_after, is_elliptic }
    }
}

impl Import {
    async fn run(
        &mut self,
        source: &mut Source,
        target: Option<Target<'_>>,
        listener: &mut dyn Listener,
    ) -> Result<(), Failed> {
        while let Some(item) = source.items.next().await {
            match item {
                Ok(item) => self.add(item),
                Err(error) => {
                    self.end_batch(target, listener).await?;
                    return Err(error);
                }
            }
            if self.pending.len() >= BATCH || self.rows.len() >= BATCH {
                self.end_batch(target, listener).await?;
            }
            listener.read(self.summary.items);
        }
        self.end_batch(target, listener).await
    }

    /// Takes note of `item` and of its certificates that are the best so far.
    fn add(&mut self, item: Item) {
        let row_number = self.summary.items;
        self.summary.items += 1;
        let place: Arc<str> = item.place.into();
        let mut row =
            Row { place: place.clone(), names: Vec::new(), not_after: None, skipped: None, note: item.note };
        match item.content {
            Err(why) => row.skipped = Some(why),
            Ok(certificates) => {
                for certificate in certificates {
                    row.not_after = Some(certificate.validity.not_after);
                    let fate = self.fate(&certificate, &place, row_number);
                    row.names.push((certificate.name.clone(), fate.clone()));
                    if fate == Fate::Taken {
                        self.pending.insert(certificate.name.clone(), certificate);
                    }
                }
            }
        }
        self.rows.push(row);
    }

    /// Whether `certificate` is the best so far of its name; if so, the one before is not any more.
    fn fate(&mut self, certificate: &Certificate, place: &Arc<str>, row: u64) -> Fate {
        let rank = Rank::of(certificate);
        let best = Best { rank, place: place.clone(), row, fate: Fate::Taken };
        match self.best.insert(certificate.name.clone(), best) {
            Some(before) if before.rank >= rank => {
                let fate = Fate::Beaten(before.place.clone());
                self.best.insert(certificate.name.clone(), before);
                fate
            }
            Some(before) => {
                // A row of an earlier batch has been told of, and what it said was true then.
                let index =
                    before.row.checked_sub(self.first_row).and_then(|index| usize::try_from(index).ok());
                if let Some(earlier) = index.and_then(|index| self.rows.get_mut(index)) {
                    set_fate(earlier, &certificate.name, Fate::Beaten(place.clone()));
                }
                Fate::Taken
            }
            None => Fate::Taken,
        }
    }

    /// Files what is pending, and tells of the batch's items.
    async fn end_batch(
        &mut self,
        target: Option<Target<'_>>,
        listener: &mut dyn Listener,
    ) -> Result<(), Failed> {
        let certificates: Vec<Certificate> =
            self.pending.drain().map(|(_, certificate)| certificate).collect();
        if let Some(target) = target {
            let imported = file(target, &certificates).await?;
            self.note_kept(imported);
        }
        self.first_row += self.rows.len() as u64;
        for row in self.rows.drain(..) {
            let kept = row.names.iter().any(|(_, fate)| *fate == Fate::Kept);
            self.summary.used += u64::from(row.is_used());
            self.summary.kept_items += u64::from(kept && !row.is_used());
            listener.row(&row).map_err(Failed::Report)?;
        }
        Ok(())
    }

    fn note_kept(&mut self, imported: Imported) {
        let kept = imported.kept.into_iter().map(|name| (name, Fate::Kept));
        let revoked = imported.revoked.into_iter().map(|name| (name, Fate::Revoked));
        let fates: HashMap<CertificateName, Fate> = kept.chain(revoked).collect();
        for (name, fate) in self.rows.iter_mut().flat_map(|row| &mut row.names) {
            if let Some(other) = fates.get(name).filter(|_| *fate == Fate::Taken) {
                *fate = other.clone();
            }
        }
        for (name, fate) in fates {
            if let Some(best) = self.best.get_mut(&name) {
                best.fate = fate;
            }
        }
    }

    fn summary(mut self) -> Summary {
        for (name, best) in &self.best {
            match best.fate {
                Fate::Taken => {
                    self.summary.names += 1;
                    self.summary.wildcards += u64::from(name.is_wildcard());
                }
                Fate::Kept => self.summary.kept += 1,
                Fate::Revoked | Fate::Beaten(_) => {}
            }
        }
        self.summary
    }
}

async fn file(target: Target<'_>, certificates: &[Certificate]) -> Result<Imported, store::Error> {
    if certificates.is_empty() {
        return Ok(Imported::default());
    }
    let imported = target.store.import(certificates).await?;
    let kept: HashSet<&CertificateName> = imported.kept.iter().collect();
    // In the place of one that was revoked another one may be served.
    let revoked: HashSet<&CertificateName> = imported.revoked.iter().collect();
    for certificate in certificates.iter().filter(|one| !revoked.contains(&one.name)) {
        if !kept.contains(&certificate.name) || is_behind(target.local, certificate).await {
            target.local.forget(&certificate.name).await?;
        }
    }
    Ok(imported)
}

/// Whether the copy of one that the store kept ends sooner: an import was ended before it was
/// forgotten. One that cannot be read is served to nobody.
async fn is_behind(local: &LocalTier, certificate: &Certificate) -> bool {
    let copy = local.load(&certificate.name).await.ok().flatten();
    copy.is_some_and(|copy| copy.validity.not_after < certificate.validity.not_after)
}

fn set_fate(row: &mut Row, name: &CertificateName, fate: Fate) {
    if let Some(entry) = row.names.iter_mut().find(|(one, _)| one == name) {
        entry.1 = fate;
    }
}
