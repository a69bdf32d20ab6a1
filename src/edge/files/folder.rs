//! Opening what lies beneath a folder, and nothing else. All of it may wait for a disk.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;

use super::Error;

/// Tries at a path while others rename folders on it, which the kernel cannot judge meanwhile.
const TRIES: usize = 16;

/// An open folder.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// What was found at a path.
#[derive(Debug)]
pub enum Entry {
    /// A file.
    File(OpenFile),
    /// A folder.
    Folder,
}

/// A file that can be read, as it was when it was opened.
#[derive(Debug)]
pub struct OpenFile {
    /// The file itself.
    pub file: File,
    /// Octets.
    pub length: u64,
    /// Seconds since 1970, and nanoseconds of the second.
    pub modified: (i64, u32),
}

impl Folder {
    /// Opens the folder `below` in `folder`; `None` where there is none. `folder` itself is the
    /// operator's and may be reached by any link; each segment of `below` stays beneath the one before, so
    /// that a link in one hostname's folder leads into no other one's.
    pub fn open(folder: &Path, below: &str) -> Result<Option<Self>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder = openat(CWD, folder, flags, Mode::empty())
            .map(Self)
            .map_err(|errno| Error::Root { folder: folder.to_owned(), source: errno.into() })?;
        for segment in below.split('/').filter(|segment| !segment.is_empty()) {
            match folder.beneath(segment.as_bytes(), flags)? {
                Some(found) => folder = Self(found),
                None => return Ok(None),
            }
        }
        Ok(Some(folder))
    }

    /// Opens what is at `path`, relative to this folder; `None` where there is nothing that could be
    /// shown.
    pub fn entry(&self, path: &[u8]) -> Result<Option<Entry>, Error> {
        // Without NONBLOCK, a named pipe would keep the thread until somebody writes to it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = match self.beneath(path, flags) {
            Err(Error::Forbidden) => {
                // A folder may be walked through all the same.
                let found = self.beneath(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
                return if matches!(found, Ok(Some(_))) {
                    Ok(Some(Entry::Folder))
                } else {
                    Err(Error::Forbidden)
                };
            }
            opened => opened?,
        };
        let Some(opened) = opened else { return Ok(None) };
        let stat = fstat(&opened).map_err(|errno| Error::Read(errno.into()))?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(Entry::File(OpenFile {
                file: opened.into(),
                length: u64::try_from(stat.st_size).unwrap_or(0),
                modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            })),
            FileType::Directory => Some(Entry::Folder),
            _ => None,
        })
    }

    /// The file at `path`, if there is one that can be read.
    pub fn file(&self, path: &[u8]) -> Option<OpenFile> {
        match self.entry(path) {
            Ok(Some(Entry::File(file))) => Some(file),
            _ => None,
        }
    }

    fn beneath(&self, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>, Error> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let open = || openat2(&self.0, OsStr::from_bytes(path), flags, Mode::empty(), resolve);
        let again = |opened: &Result<_, Errno>| matches!(opened, Err(Errno::AGAIN | Errno::INTR));
        let mut opened = open();
        for _ in 1..TRIES {
            if !again(&opened) {
                break;
            }
            opened = open();
        }
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO) => Ok(None),
            Err(errno @ (Errno::XDEV | Errno::LOOP)) => {
                let path = path.escape_ascii();
                tracing::debug!(%path, %errno, "a link of a static site leads out of its root or round; not followed");
                Ok(None)
            }
            Err(Errno::ACCESS) => Err(Error::Forbidden),
            Err(errno @ (Errno::NOSYS | Errno::PERM)) => Err(Error::Kernel(errno.into())),
            Err(errno) => Err(Error::Read(errno.into())),
        }
    }
}
