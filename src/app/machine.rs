//! What this machine says of itself to the fleet.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::time::interval;

use super::StartError;
use crate::certs::find::Certificates;
use crate::certs::in_full;
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::fleet::Machine;
use crate::edge::tls::ready::Preparer;
use crate::sites::directory::Directory;
use crate::store::files::write_new;
use crate::store::fleet::{CHECK_IN, Fleet};
use crate::store::seal::SealingKey;
use crate::store::steady::SteadyStore;

/// File in `data_dir` with the name that was drawn for this machine.
pub const MACHINE_FILE: &str = "machine.id";

/// What it says.
#[derive(Clone)]
pub(super) struct ThisMachine {
    pub(super) id: Arc<str>,
    name: Arc<str>,
    started_at: UnixTime,
    store: Arc<SteadyStore>,
    key: SealingKey,
    clock: Arc<dyn Clock>,
    certificates: Arc<Certificates<Preparer>>,
    directory: Arc<Directory>,
    /// The last change that was looked at.
    pub(super) seen_change: Arc<AtomicI64>,
    pub(super) leaving: Arc<AtomicBool>,
}

/// Everything that it says something of.
pub(super) type Parts<'a> = (
    &'a Arc<SteadyStore>,
    &'a SealingKey,
    &'a Arc<dyn Clock>,
    &'a Arc<Certificates<Preparer>>,
    &'a Arc<Directory>,
);

impl ThisMachine {
    /// Fails where the name can neither be read nor kept.
    pub(super) fn new(data_dir: &Path, parts: Parts<'_>) -> Result<Self, StartError> {
        let (store, key, clock, certificates, directory) = parts;
        let path = data_dir.join(MACHINE_FILE);
        let id = id(&path).map_err(|source| StartError::File { operation: "read or make", path, source })?;
        let name = rustix::system::uname().nodename().to_string_lossy().into();
        let started_at = clock.now();
        let (seen_change, leaving) = (Arc::default(), Arc::default());
        Ok(Self {
            id: id.into(),
            name,
            started_at,
            store: store.clone(),
            key: key.clone(),
            clock: clock.clone(),
            certificates: certificates.clone(),
            directory: directory.clone(),
            seen_change,
            leaving,
        })
    }

    /// Says that it is there, again and again. Never ends.
    pub(super) async fn check_in(self) {
        let mut tick = interval(CHECK_IN);
        loop {
            tick.tick().await;
            self.check_in_once().await;
        }
    }

    /// Says that it leaves; what it was busy with has ended.
    pub(super) async fn sign_off(&self) {
        if let Err(error) = self.store.sign_off(&self.id).await {
            tracing::debug!(error = in_full(&error), "the fleet could not be told that this machine leaves");
        }
    }

    /// Says that it takes no new connections.
    pub(super) async fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.check_in_once().await;
    }

    /// Says that it is there, and with which keys.
    pub(super) async fn check_in_once(&self) {
        let machine = Machine {
            id: self.id.to_string(),
            name: self.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            clock: self.clock.now(),
            keys: self.key.ids(),
            seen_change: self.seen_change.load(Ordering::Relaxed),
            hot: self.certificates.hot_count(),
            hostnames: self.directory.len() as u64,
            leaving: self.leaving.load(Ordering::Relaxed),
        };
        // That the store fails is told by whoever needs it.
        if let Err(error) = self.store.check_in(&machine).await {
            tracing::debug!(
                error = in_full(&error),
                "the fleet could not be told that this machine is there"
            );
        }
    }
}

/// The name in this file, which is made where it is missing.
fn id(path: &Path) -> io::Result<String> {
    let draw = || format!("{:016x}", rand::random::<u64>());
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => {
            let id = draw();
            fs::write(path, &id).map(|()| id)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = draw();
            match write_new(path, id.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::read_to_string(path),
                written => written.map(|()| id),
            }
        }
        Err(error) => Err(error),
    }
}
