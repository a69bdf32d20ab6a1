//! Files and folders that only their owner may read: 0600 in 0700.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::Error;

/// Permission bits of every file we write.
pub const FILE_MODE: u32 = 0o600;
/// Permission bits of every folder we make.
pub const FOLDER_MODE: u32 = 0o700;

/// Makes `path` and the folders above it that are missing; one that exists keeps its mode.
pub fn make_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(|source| failed("make the folder", path, source))
}

/// Writes `content` to a file at `path` that does not exist yet, and waits until it is on the disk.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Waits until the names in `folder` are on the disk.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// [`Error::File`] for `path`; `operation` is a verb, perhaps with its object.
pub fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { operation, path: shown(path), source }
}

/// `path` as text for a message.
pub fn shown(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}
