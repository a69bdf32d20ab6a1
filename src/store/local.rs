//! The local tier: this machine's own sealed copy of what it has served, so that it serves on
//! when the store cannot be reached.
//!
//! One file a certificate, at `DIR/AB/HASH`: HASH is the SHA-256 of the name in hexadecimal, AB its
//! first octet. The name of one's own certificate has its family of keys behind it there, so that it lies
//! beside the obtained one. No name ever becomes part of a path.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::{Mutex, MutexGuard};

use super::files::{failed, make_folder, write_new};
use super::record::{certificate_octets, read_certificate};
use super::seal::{Record, SealingKey, hexadecimal};
use super::{Error, SealError};
use crate::domain::certificate::{Certificate, KeyFamily, Source};
use crate::domain::hostname::CertificateName;

/// Folder in `data_dir` with this machine's own copies of what it served.
pub const LOCAL_TIER: &str = "local";

/// Where damaged files go, for somebody to look at.
pub const DAMAGED_FOLDER: &str = "damaged";

const KIND: &str = "certificate";
/// Folders that the files are spread over, and as many locks.
const SHARDS: usize = 256;

/// This machine's own copy of certificates. Clones are handles on the same one.
#[derive(Clone)]
pub struct LocalTier {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    key: SealingKey,
    /// One writer for each shard: two writers of one name would share a temporary file.
    writers: Vec<Mutex<()>>,
    /// One user at a time of the copy of the keys of session tickets.
    copy: Mutex<()>,
}

/// Which of a name's certificates: the one that was obtained or imported, or its own one of a family.
type Slot = Option<KeyFamily>;

fn slot(certificate: &Certificate) -> Slot {
    matches!(certificate.source, Source::Own(_)).then(|| certificate.key_type.family())
}

/// Where a certificate's file is.
struct Place {
    shard: usize,
    folder: PathBuf,
    file_name: String,
}

impl Place {
    fn file(&self) -> PathBuf {
        self.folder.join(&self.file_name)
    }
}

impl LocalTier {
    /// Opens the tier in `folder`, which is made where it is missing. Reads nothing else.
    pub fn open(folder: &Path, key: SealingKey) -> Result<Self, Error> {
        make_folder(folder)?;
        let writers = (0..SHARDS).map(|_| Mutex::new(())).collect();
        Ok(Self {
            inner: Arc::new(Inner { folder: folder.to_owned(), key, writers, copy: Mutex::default() }),
        })
    }

    /// The certificate of exactly this name that was obtained or imported.
    ///
    /// A damaged file is moved to [`DAMAGED_FOLDER`] and is an error once; afterwards the name is
    /// absent. One that another key sealed is an error and stays: with that key it is good.
    pub async fn load(&self, name: &CertificateName) -> Result<Option<Certificate>, Error> {
        self.off_the_runtime(name, |inner, name| inner.load(name, None)).await
    }

    /// The own certificates of exactly this name; fails as [`LocalTier::load`] does.
    pub async fn load_own(&self, name: &CertificateName) -> Result<Vec<Certificate>, Error> {
        let load = |inner: &Inner, name: &CertificateName| {
            let found = KeyFamily::ALL.into_iter().map(|family| inner.load(name, Some(family)));
            // One that is damaged is moved aside, and the others are found at the next look.
            found.filter_map(Result::transpose).collect()
        };
        self.off_the_runtime(name, load).await
    }

    /// Keeps `certificates` as the own ones of `name`, and no others.
    pub async fn keep_own(&self, name: &CertificateName, certificates: &[Certificate]) -> Result<(), Error> {
        let certificates = certificates.to_vec();
        let keep = move |inner: &Inner, name: &CertificateName| {
            for family in KeyFamily::ALL {
                match certificates.iter().find(|certificate| slot(certificate) == Some(family)) {
                    Some(certificate) => inner.keep(certificate)?,
                    None => inner.forget(name, Some(family))?,
                }
            }
            Ok(())
        };
        self.off_the_runtime(name, keep).await
    }

    /// Keeps `certificate` under its name, over an older one: a reader sees the one or the other.
    pub async fn keep(&self, certificate: &Certificate) -> Result<(), Error> {
        let certificate = certificate.clone();
        let name = certificate.name.clone();
        self.off_the_runtime(&name, move |inner, _| inner.keep(&certificate)).await
    }

    /// Every certificate that can be read; the others are left as they are and told of.
    ///
    /// Fails where the folder itself cannot be read.
    pub async fn all(&self) -> Result<Vec<Certificate>, Error> {
        self.each(|certificate| certificate).await
    }

    /// The names of [`LocalTier::all`], each once or twice.
    pub async fn names(&self) -> Result<Vec<CertificateName>, Error> {
        self.each(|certificate| certificate.name).await
    }

    /// What `take` makes of each that can be read.
    async fn each<T: Send + 'static>(&self, take: fn(Certificate) -> T) -> Result<Vec<T>, Error> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || inner.each(take))
            .await
            .unwrap_or_else(|ended| Err(failed("read", &self.inner.folder, io::Error::other(ended))))
    }

    /// Seals every copy with the key that seals now; how many were not. One that cannot be read is
    /// left as it is and told of.
    pub async fn reseal(&self) -> Result<u64, Error> {
        let mut resealed = 0;
        for certificate in self.all().await? {
            let slot = slot(&certificate);
            let reseal = move |inner: &Inner, name: &CertificateName| inner.reseal(name, slot);
            resealed += u64::from(self.off_the_runtime(&certificate.name, reseal).await?);
        }
        Ok(resealed + u64::from(self.reseal_ticket_keys().await?))
    }

    /// What it seals with.
    pub(super) fn key(&self) -> &SealingKey {
        &self.inner.key
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// The turn to read or write the copy of the keys of session tickets.
    pub(super) fn turn_of_the_copy(&self) -> MutexGuard<'_, ()> {
        self.inner.copy.lock()
    }

    /// Puts `sealed` in the place of what is in the file at `path`: a reader sees the one or the other.
    pub(super) fn replace(path: &Path, sealed: &[u8]) -> Result<(), Error> {
        // With the process's number in its name, as another process may serve from here during a
        // change of versions. What a crash left behind is written over, or stays one small file.
        let aside = path.with_extension(format!("{}.new", std::process::id()));
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("remove", &aside, error));
            }
            _ => {}
        }
        // The content is on the disk before the name is; the name itself may be lost in a power
        // cut, as the store has the same.
        write_new(&aside, sealed)
            .and_then(|()| fs::rename(&aside, path))
            .map_err(|error| failed("write", path, error))
    }

    /// Forgets the certificate of exactly this name that was obtained or imported, if there is one.
    pub async fn forget(&self, name: &CertificateName) -> Result<(), Error> {
        self.off_the_runtime(name, |inner, name| inner.forget(name, None)).await
    }

    /// Files are read and written on threads that may block.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        name: &CertificateName,
        work: impl FnOnce(&Inner, &CertificateName) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (inner, owned) = (self.inner.clone(), name.clone());
        tokio::task::spawn_blocking(move || work(&inner, &owned)).await.unwrap_or_else(|ended| {
            Err(failed("reach", &self.inner.place(name, None).file(), io::Error::other(ended)))
        })
    }
}

impl Inner {
    fn place(&self, name: &CertificateName, slot: Slot) -> Place {
        let hash = match slot {
            None => digest(&SHA256, name.as_str().as_bytes()),
            // No name has a space in it.
            Some(family) => digest(&SHA256, format!("{name} {}", family.word()).as_bytes()),
        };
        let file_name = hexadecimal(hash.as_ref());
        Place { shard: usize::from(hash.as_ref()[0]), folder: self.folder.join(&file_name[..2]), file_name }
    }

    fn load(&self, name: &CertificateName, slot: Slot) -> Result<Option<Certificate>, Error> {
        let place = self.place(name, slot);
        let sealed = match fs::read(place.file()) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &place.file(), error)),
        };
        match self.read(name, &place, &sealed) {
            Ok(certificate) => Ok(Some(certificate)),
            Err(error @ Error::Seal(SealError::OtherKey { .. })) => Err(error),
            Err(error) => {
                self.move_aside(&place, &sealed)?;
                Err(error)
            }
        }
    }

    fn each<T>(&self, take: fn(Certificate) -> T) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        let unreadable = |source| failed("read", &self.folder, source);
        for shard in fs::read_dir(&self.folder).map_err(unreadable)? {
            let shard = shard.map_err(unreadable)?.path();
            // Not the one of damaged files.
            if shard.file_name().is_none_or(|name| name.len() != 2) {
                continue;
            }
            for file in fs::read_dir(&shard).map_err(unreadable)? {
                let path = file.map_err(unreadable)?.path();
                let Some(hash) = path.file_name().and_then(|name| name.to_str()) else { continue };
                if hash.contains('.') {
                    continue; // not whole
                }
                match fs::read(&path).map_err(|source| failed("read", &path, source)).and_then(|sealed| {
                    let octets = self.key.open(sealed_as(hash), &sealed)?;
                    read_certificate(&octets).map_err(|why| Error::Record {
                        what: KIND,
                        of: hash.into(),
                        why,
                    })
                }) {
                    Ok(certificate) => found.push(take(certificate)),
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "a local copy is unusable");
                    }
                }
            }
        }
        Ok(found)
    }

    fn read(&self, name: &CertificateName, place: &Place, sealed: &[u8]) -> Result<Certificate, Error> {
        let octets = self.key.open(sealed_as(&place.file_name), sealed).map_err(|error| {
            // By its name, which says more than its file's.
            let whose = || Arc::from(format!("the certificate of {name}"));
            match error {
                SealError::Damaged { .. } => SealError::Damaged { what: whose() },
                SealError::OtherKey { sealed_with, configured, .. } => {
                    SealError::OtherKey { what: whose(), sealed_with, configured }
                }
                other => other,
            }
        })?;
        let certificate = read_certificate(&octets).map_err(|why| unusable(name, why))?;
        if certificate.name != *name {
            return Err(unusable(name, format!("it is the one of {}", certificate.name)));
        }
        Ok(certificate)
    }

    /// Moves the file away, unless a whole one took its place since `sealed` was read.
    fn move_aside(&self, place: &Place, sealed: &[u8]) -> Result<(), Error> {
        let _writer = self.writers[place.shard].lock();
        if fs::read(place.file()).is_ok_and(|now| now != sealed) {
            return Ok(());
        }
        let damaged = self.folder.join(DAMAGED_FOLDER);
        make_folder(&damaged)?;
        // One that was moved there before stays too.
        let free = (1..=u32::MAX)
            .map(|number| damaged.join(format!("{}.{number}", place.file_name)))
            .find(|path| !path.exists());
        match free.map(|path| fs::rename(place.file(), path)) {
            Some(Err(error)) if error.kind() != ErrorKind::NotFound => {
                Err(failed("move the damaged file aside,", &place.file(), error))
            }
            _ => Ok(()),
        }
    }

    fn keep(&self, certificate: &Certificate) -> Result<(), Error> {
        let name = &certificate.name;
        let place = self.place(name, slot(certificate));
        let octets = certificate_octets(certificate).map_err(|why| unusable(name, why))?;
        let sealed = self.key.seal(sealed_as(&place.file_name), &octets);
        let _writer = self.writers[place.shard].lock();
        Self::write(&place, &sealed)
    }

    /// Whether it was sealed by another key than the one that seals now.
    fn reseal(&self, name: &CertificateName, slot: Slot) -> Result<bool, Error> {
        let place = self.place(name, slot);
        let _writer = self.writers[place.shard].lock();
        let sealed = match fs::read(place.file()) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("read", &place.file(), error)),
        };
        match self.key.reseal(sealed_as(&place.file_name), &sealed)? {
            Some(sealed) => Self::write(&place, &sealed).map(|()| true),
            None => Ok(false),
        }
    }

    /// Puts it in the place of an older one; the caller holds the lock of its shard.
    fn write(place: &Place, sealed: &[u8]) -> Result<(), Error> {
        make_folder(&place.folder)?;
        LocalTier::replace(&place.file(), sealed)
    }

    fn forget(&self, name: &CertificateName, slot: Slot) -> Result<(), Error> {
        let place = self.place(name, slot);
        let _writer = self.writers[place.shard].lock();
        match fs::remove_file(place.file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &place.file(), error)),
            _ => Ok(()),
        }
    }
}

/// Sealed for its file's name, which comes from the certificate's: so all of them can be read without
/// knowing any name.
fn sealed_as(file_name: &str) -> Record<'_> {
    Record { kind: KIND, of: file_name, beside: b"local tier" }
}

fn unusable(name: &CertificateName, why: String) -> Error {
    Error::Record { what: KIND, of: Arc::from(name.as_str()), why }
}
