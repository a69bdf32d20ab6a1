//! Bringing certificates along from a folder of PEM files, each with leaf, chain and key.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use futures::stream::{self, Stream, StreamExt};

use super::{PemError, pem};
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::{self, Store};

/// Certificates that are filed in one step.
const BATCH: usize = 1_000;
/// Files that one thread reads in one go.
const FILES_AT_ONCE: usize = 64;

/// The `*.pem` files of a folder, in the order of their names.
#[derive(Clone, Debug)]
pub struct PemFolder {
    files: Vec<PathBuf>,
}

/// One file and what was in it.
#[derive(Debug)]
pub struct PemFile {
    /// Its path.
    pub path: PathBuf,
    /// A certificate for each of its names, at least one.
    pub content: Result<Vec<Certificate>, PemError>,
}

impl PemFolder {
    /// Lists `folder`; its subfolders are passed over. Blocks on the disk.
    pub fn open(folder: &Path) -> Result<Self, PemError> {
        let unreadable = |source| PemError::Unreadable { path: folder.to_string_lossy().into(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            // A link counts as what it leads to; one that leads nowhere is reported when it is read.
            let is_pem = path.extension().is_some_and(|extension| extension == "pem");
            if is_pem && fs::metadata(&path).map_or(true, |about| about.is_file()) {
                files.push(path);
            }
        }
        files.sort_unstable();
        Ok(Self { files })
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads the files in their order, on as many threads as there are processors; never holds
    /// more than a few hundred of them at once. Certificates must be valid at `now`.
    pub fn read(self, now: UnixTime) -> impl Stream<Item = PemFile> + Send {
        let threads = available_parallelism().map_or(1, usize::from);
        let groups: Vec<Vec<PathBuf>> = self.files.chunks(FILES_AT_ONCE).map(<[PathBuf]>::to_vec).collect();
        stream::iter(groups)
            .map(move |group| async move {
                let paths = group.clone();
                let reading = tokio::task::spawn_blocking(move || {
                    paths.into_iter().map(|path| read_file(path, now)).collect::<Vec<_>>()
                });
                reading.await.unwrap_or_else(|ended| unread(group, &ended))
            })
            .buffered(threads)
            .flat_map(stream::iter)
    }
}

fn read_file(path: PathBuf, now: UnixTime) -> PemFile {
    let content = pem::read_file(&path).and_then(|text| pem::read(&text, now));
    PemFile { path, content }
}

/// The runtime stops, or the parser has a fault: both are reported for each file concerned.
fn unread(group: Vec<PathBuf>, ended: &tokio::task::JoinError) -> Vec<PemFile> {
    let of = |path: PathBuf| PemFile {
        content: Err(PemError::Unreadable {
            path: path.to_string_lossy().into(),
            source: std::io::Error::other(ended.to_string()),
        }),
        path,
    };
    group.into_iter().map(of).collect()
}

/// What became of one file.
#[derive(Debug)]
pub struct Row {
    /// Its name without its folder.
    pub file: String,
    /// Its certificate's names; empty where it was skipped.
    pub names: Vec<CertificateName>,
    /// The last second of its certificate.
    pub not_after: Option<UnixTime>,
    /// Why it was skipped.
    pub skipped: Option<PemError>,
    /// Names for which another file has a certificate that lasts longer, or as long and comes
    /// first; with the index of that file's row.
    pub beaten: Vec<(CertificateName, usize)>,
}

impl Row {
    /// Whether any name's certificate comes from this file.
    pub fn is_used(&self) -> bool {
        self.skipped.is_none() && self.beaten.len() < self.names.len()
    }
}

/// What became of a folder.
#[derive(Debug, Default)]
pub struct Report {
    /// One for each file, in their order.
    pub rows: Vec<Row>,
    /// Names that have a certificate in the folder.
    pub names: usize,
    /// Certificates that were not filed, as the store has one that lasts longer.
    pub kept: u64,
}

/// Reads `folder` and files every name's certificate in `store`; without a store it only reports.
///
/// Where two files cover one name, the certificate that lasts longer wins. `progress` is told how
/// many files have been read. What was filed before an error of the store stays filed.
pub async fn import_folder(
    folder: PemFolder,
    store: Option<&dyn Store>,
    now: UnixTime,
    mut progress: impl FnMut(usize),
) -> Result<Report, store::Error> {
    let mut import = Import::default();
    let mut files = std::pin::pin!(folder.read(now));
    while let Some(file) = files.next().await {
        let winning = import.add(file);
        if let Some(store) = store {
            import.pending.extend(winning);
            if import.pending.len() >= BATCH {
                import.file_pending(store).await?;
            }
        }
        progress(import.report.rows.len());
    }
    if let Some(store) = store {
        import.file_pending(store).await?;
    }
    import.report.names = import.best.len();
    Ok(import.report)
}

#[derive(Default)]
struct Import {
    report: Report,
    /// For each name the last second of the best certificate so far, and its row.
    best: HashMap<CertificateName, (UnixTime, usize)>,
    pending: Vec<Certificate>,
}

impl Import {
    /// Takes note of `file` and returns its certificates that are the best so far.
    fn add(&mut self, file: PemFile) -> Vec<Certificate> {
        let index = self.report.rows.len();
        let name = file.path.file_name().unwrap_or(file.path.as_os_str()).to_string_lossy().into_owned();
        let mut row =
            Row { file: name, names: Vec::new(), not_after: None, skipped: None, beaten: Vec::new() };
        let mut winning = Vec::new();
        match file.content {
            Err(error) => row.skipped = Some(error),
            Ok(certificates) => {
                for certificate in certificates {
                    let (name, not_after) = (certificate.name.clone(), certificate.validity.not_after);
                    row.names.push(name.clone());
                    row.not_after = Some(not_after);
                    match self.best.insert(name.clone(), (not_after, index)) {
                        Some(best) if best.0 >= not_after => {
                            row.beaten.push((name.clone(), best.1));
                            self.best.insert(name, best);
                            continue;
                        }
                        Some((_, beaten)) => self.report.rows[beaten].beaten.push((name, index)),
                        None => {}
                    }
                    winning.push(certificate);
                }
            }
        }
        self.report.rows.push(row);
        winning
    }

    async fn file_pending(&mut self, store: &dyn Store) -> Result<(), store::Error> {
        let filed = store.import(&self.pending).await?;
        self.report.kept += (self.pending.len() as u64).saturating_sub(filed);
        self.pending.clear();
        Ok(())
    }
}
