//! haproxy's folder: `*.pem`, each with leaf, chain and key.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Failed, Item, Kind, Skipped, Source, folder, item};
use crate::certs::pem;
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;

/// The `*.pem` files of `dir`; its subfolders are passed over. Certificates must be valid at `now`.
/// Blocks on the disk.
pub fn open(dir: &Path, now: UnixTime) -> Result<Source, Failed> {
    let mut files = folder::list(dir)?;
    // A link counts as what it leads to; one that leads nowhere is reported when it is read.
    files.retain(|path| {
        let is_pem = path.extension().is_some_and(|extension| extension == "pem");
        is_pem && fs::metadata(path).map_or(true, |about| about.is_file())
    });
    Ok(Source {
        kind: Kind { one: "file", many: "files", none: "no *.pem files there" },
        total: Some(files.len() as u64),
        items: folder::read(
            files,
            |path: &PathBuf| folder::name(path),
            move |path| Item { content: content(&path, now), place: folder::name(&path), note: None },
        ),
        afterwards: Vec::new(),
    })
}

fn content(path: &Path, now: UnixTime) -> Result<Vec<Certificate>, Skipped> {
    item::certificates(&pem::read_file(path)?, None, now)
}
