//! Where the sealing key comes from: a file, or the environment. Each holds 32 octets in base64, and
//! during a change of keys those of before behind it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::files::{failed, make_folder, shown, sync_folder, write_new};
use super::seal::{KEY_OCTETS, SealingKey};
use super::{Error, SealError};
use crate::config::KeySource;

/// A key has 44 characters; much more than a few of them is another file.
const LONGEST: u64 = 4096;

/// The key that is configured. A key file that is missing is made.
pub fn open(source: &KeySource) -> Result<SealingKey, Error> {
    match source {
        KeySource::File(path) => load_or_make(path),
        KeySource::Environment { name, text } => SealingKey::parse(&text.0)
            .ok_or_else(|| SealError::KeyFile { path: format!("the variable {name}").into() }.into()),
    }
}

/// Reads the key file at `path`.
///
/// Fails where it cannot be read, where others may read it, or where it holds no key.
pub fn load(path: &Path) -> Result<SealingKey, Error> {
    SealingKey::parse(&read(path)?).ok_or_else(|| SealError::KeyFile { path: shown(path) }.into())
}

fn read(path: &Path) -> Result<Zeroizing<String>, Error> {
    let unreadable = |source| failed("read the sealing key", path, source);
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SealError::KeyFileReadable { path: shown(path), mode }.into());
    }
    let mut text = Zeroizing::new(String::with_capacity(256));
    file.take(LONGEST).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Reads the key file at `path`, which is made with a new key where it is missing.
///
/// Of several processes that make it at once, one wins and all get its key.
pub fn load_or_make(path: &Path) -> Result<SealingKey, Error> {
    match load(path) {
        Err(Error::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
        other => return other,
    }
    let folder = folder_of(path);
    make_folder(folder)?;
    // Written aside and linked: a key file is whole or not there, and never replaced.
    let aside = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    let made = write_new(&aside, new_key().as_bytes()).and_then(|()| std::fs::hard_link(&aside, path));
    let removed = std::fs::remove_file(&aside);
    match made {
        Err(source) if source.kind() == ErrorKind::AlreadyExists => {}
        // Without its key everything sealed is lost, so the name must survive a power cut too.
        made => made
            .and(removed)
            .and_then(|()| sync_folder(folder))
            .map_err(|source| failed("make the sealing key", path, source))?,
    }
    load(path)
}

/// Puts a new key before those in the file at `path`; what the file holds then.
pub fn add_new(path: &Path) -> Result<SealingKey, Error> {
    let text = Zeroizing::new(format!("{}{}", *new_key(), *read(path)?));
    replace(path, &text)?;
    load(path)
}

/// Leaves only the first key in the file at `path`; the others go to a file beside it, as backups
/// may be sealed with them. Which file that is; `None` where there was one key only.
pub fn keep_only_first(path: &Path) -> Result<Option<PathBuf>, Error> {
    let text = read(path)?;
    let Some((first, others)) = text.trim().split_once(|c: char| c.is_ascii_whitespace()) else {
        return Ok(None);
    };
    let earlier =
        SealingKey::parse(others).ok_or_else(|| Error::from(SealError::KeyFile { path: shown(path) }))?;
    let kept = path.with_added_extension(format!("before-{}", earlier.id()));
    match write_new(&kept, others.trim().as_bytes()) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            return Err(failed("write", &kept, source));
        }
        _ => {}
    }
    replace(path, &Zeroizing::new(format!("{first}\n")))?;
    Ok(Some(kept))
}

fn replace(path: &Path, text: &str) -> Result<(), Error> {
    let aside = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
    write_new(&aside, text.as_bytes())
        .and_then(|()| std::fs::rename(&aside, path))
        .and_then(|()| sync_folder(folder_of(path)))
        .map_err(|source| failed("replace the sealing key", path, source))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn new_key() -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_OCTETS));
    STANDARD.encode_string(Zeroizing::new(rand::random::<[u8; KEY_OCTETS]>()).as_slice(), &mut text);
    text.push('\n');
    text
}
