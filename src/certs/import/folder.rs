//! Folders of files, read on as many threads as there are processors.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use futures::stream::{self, BoxStream, StreamExt};

use super::{Failed, Item};
use crate::certs::PemError;

/// Places that one thread reads in one go.
const PLACES_AT_ONCE: usize = 64;

/// What lies in `folder`, in the order of the names. Blocks on the disk.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let unreadable = |source| Failed::Folder { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(unreadable)?;
    paths.sort_unstable();
    Ok(paths)
}

/// The folders in `folder`, links to folders among them.
pub fn folders(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    Ok(list(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The last part of `path` as text.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Reads `places` in their order by `read`, which may block; never holds more than a few hundred
/// items at once. `place` says where an item lies, should its reading end in a fault of ours.
pub fn read<P: Clone + Send + 'static>(
    places: Vec<P>,
    place: fn(&P) -> String,
    read: impl Fn(P) -> Item + Clone + Send + 'static,
) -> BoxStream<'static, Result<Item, Failed>> {
    let threads = available_parallelism().map_or(1, usize::from);
    let groups: Vec<Vec<P>> = places.chunks(PLACES_AT_ONCE).map(<[P]>::to_vec).collect();
    stream::iter(groups)
        .map(move |group| {
            let (read, places) = (read.clone(), group.clone());
            async move {
                let reading =
                    tokio::task::spawn_blocking(move || places.into_iter().map(read).collect::<Vec<Item>>());
                reading.await.unwrap_or_else(|ended| unread(&group, place, &ended))
            }
        })
        .buffered(threads)
        .flat_map(stream::iter)
        .map(Ok)
        .boxed()
}

/// The runtime stops, or the parser has a fault: both are reported for each place concerned.
fn unread<P>(group: &[P], place: fn(&P) -> String, ended: &tokio::task::JoinError) -> Vec<Item> {
    let of = |one: &P| {
        let (place, source) = (place(one), io::Error::other(ended.to_string()));
        let content = Err(PemError::Unreadable { path: place.as_str().into(), source }.into());
        Item { place, content, note: None }
    };
    group.iter().map(of).collect()
}
