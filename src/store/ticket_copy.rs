//! This machine's sealed copy of its keys of session tickets, in the local tier: sessions are resumed
//! after a restart, with the store absent too.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Error;
use super::files::failed;
use super::local::LocalTier;
use super::seal::Record;
use crate::domain::clock::UnixTime;
use crate::domain::ticket::{Held, OCTETS, Ring, TicketKey};

/// Its name in the local tier's folder.
pub const TICKET_KEYS_FILE: &str = "ticket-keys";

const RECORD: Record<'_> = Record { kind: "copy", of: "session ticket keys", beside: b"local tier" };

impl LocalTier {
    /// The keys of session tickets that were kept last and have not ended at `now`; none where none were.
    pub async fn ticket_keys(&self, now: UnixTime) -> Result<Ring, Error> {
        self.with_the_copy(move |tier, path| {
            let Some(sealed) = read(path)? else { return Ok(Ring::default()) };
            let opened = tier.key().open(RECORD, &sealed)?;
            held(&opened).map(|held| Ring::new(held, now)).ok_or_else(|| Error::Record {
                what: "copy",
                of: "session ticket keys".into(),
                why: "it is not in the form of one".to_owned(),
            })
        })
        .await
    }

    /// Keeps `ring`, over what was kept before.
    pub async fn keep_ticket_keys(&self, ring: &Ring) -> Result<(), Error> {
        let octets = octets(ring);
        self.with_the_copy(move |tier, path| {
            let sealed = tier.key().seal(RECORD, &octets);
            Self::replace(path, &sealed)
        })
        .await
    }

    /// Seals the copy with the key that seals now; whether it was not.
    pub(super) async fn reseal_ticket_keys(&self) -> Result<bool, Error> {
        self.with_the_copy(|tier, path| {
            let Some(sealed) = read(path)? else { return Ok(false) };
            match tier.key().reseal(RECORD, &sealed) {
                Ok(Some(anew)) => Self::replace(path, &anew).map(|()| true),
                Ok(None) => Ok(false),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a local copy is unusable");
                    Ok(false)
                }
            }
        })
        .await
    }

    /// One at a time, on a thread that may block.
    async fn with_the_copy<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &PathBuf) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tier, path) = (self.clone(), self.folder().join(TICKET_KEYS_FILE));
        let blocking = {
            let path = path.clone();
            move || {
                let _turn = tier.turn_of_the_copy();
                work(&tier, &path)
            }
        };
        let ended = tokio::task::spawn_blocking(blocking).await;
        ended.unwrap_or_else(|ended| Err(failed("reach", &path, io::Error::other(ended))))
    }
}

fn read(path: &PathBuf) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(sealed) => Ok(Some(sealed)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

fn octets(ring: &Ring) -> Zeroizing<Vec<u8>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(ring.held().len() * (1 + OCTETS)));
    for Held { key, shared } in ring.held() {
        octets.push(u8::from(*shared));
        octets.extend_from_slice(key.octets().as_slice());
    }
    octets
}

fn held(octets: &[u8]) -> Option<Vec<Held>> {
    let (records, []) = octets.as_chunks::<{ 1 + OCTETS }>() else { return None };
    let read = |record: &[u8; 1 + OCTETS]| {
        let key = Arc::new(TicketKey::read(&record[1..])?);
        Some(Held { key, shared: record[0] == 1 })
    };
    records.iter().map(read).collect()
}
