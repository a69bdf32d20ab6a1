//! Static files: from a request's path to a file beneath the site's root, and its answer.
//!
//! Where a file lies is decided by the kernel: each is opened by `openat2` with `RESOLVE_BENEATH`, so
//! that neither `..` nor a link leads out of the root, also while somebody changes the folder.
//! Nothing here waits for a disk on a thread that serves.

pub mod accepted;
pub mod answer;
pub mod folder;
pub mod look;
pub mod path;
pub mod place;
pub mod precondition;
pub mod validator;

use std::io;
use std::path::PathBuf;

/// Why no file is sent. The texts are for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file, and no page of the site's for that.
    #[error("there is no such file")]
    Absent,
    /// The file system does not let this process read it.
    #[error("this process may not read it; give its user the right, or take the file away")]
    Forbidden,
    /// The hostname has no folder, for the reason given.
    #[error("the hostname has no folder: {0}")]
    NoPlace(#[from] NoPlace),
    /// The site's root is missing, is no folder or cannot be read.
    #[error("the root {folder} cannot be opened; is it there, and may this process enter it?", folder = .folder.display())]
    Root {
        /// The part of it that all hostnames share.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The kernel cannot keep a path beneath a folder, or a sandbox forbids it.
    #[error(
        "openat2 is not to be had, and no file is opened without it; use Linux 5.6 or later, and let a sandbox allow it"
    )]
    Kernel(#[source] io::Error),
    /// The disk failed, or the process has no file descriptor left.
    #[error("it could not be read")]
    Read(#[source] io::Error),
}

/// Why a hostname has no folder beneath the root.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoPlace {
    /// Its metadata has no such key, or no text there.
    #[error("its metadata has no text under {0:?}; set it by the API")]
    NoText(String),
    /// What its metadata has there could lead elsewhere.
    #[error(
        "its metadata has under {0:?} what is not the name of one folder; set a name without slashes and without a dot at its beginning"
    )]
    Unsafe(String),
    /// There is no such folder beneath the root.
    #[error("there is no folder {0:?} in the root; make it")]
    Missing(String),
}
