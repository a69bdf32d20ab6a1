//! This machine's own copy of what is listed, for a start at which the store is absent: requests then
//! go where they went before. A store that was begun anew takes it in.
//!
//! A file of lines, each a JSON object: the sites that were made by the API, or listings of one name.
//! Written whole where the store has been read whole, and added to with each change.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::label::Label;
use crate::domain::registration::{Redirect, Settings, Via};
use crate::store::Error;
use crate::store::files::FILE_MODE;
use crate::store::records::{Listing, Records, StoredSite};
use crate::telemetry::seldom::Seldom;

/// Its name in `data_dir`.
pub const FILE: &str = "listings.jsonl";

/// So many octets may be added to a copy however small it is.
const BLOATED: u64 = 64 * 1024 * 1024;

/// The copy.
#[derive(Clone)]
pub struct Shelter(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// Open to be added to.
    file: Mutex<Option<File>>,
    /// Octets of the last whole copy, and of what was added since.
    whole: AtomicU64,
    added: AtomicU64,
}

/// What the file held.
#[derive(Debug, Default)]
pub struct Kept {
    /// Sites that were made by the API.
    pub sites: Vec<StoredSite>,
    /// Listings.
    pub listings: Vec<Listing>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Sites(Vec<SiteLine>),
    /// With no listing: those before are gone. With some: they come beside those before.
    Name(String, Vec<ListingLine>),
}

#[derive(Serialize, Deserialize)]
struct SiteLine {
    name: Label,
    organization: Label,
    origins: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cname_target: Option<String>,
    version: i64,
}

#[derive(Serialize, Deserialize)]
struct ListingLine {
    id: i64,
    organization: Label,
    site: Label,
    via: Via,
    holder: bool,
    preview: String,
    proof: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redirect: Option<(String, u16)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
}

impl ListingLine {
    fn of(listing: &Listing) -> Self {
        let settings = &listing.settings;
        Self {
            id: listing.id,
            organization: listing.organization.clone(),
            site: listing.site.clone(),
            via: listing.via,
            holder: listing.holder,
            preview: listing.preview.clone(),
            proof: listing.proof.clone(),
            origin: settings.origin.as_ref().map(ToString::to_string),
            redirect: settings.redirect.as_ref().map(|redirect| (redirect.to.to_string(), redirect.status)),
            metadata: settings.metadata.as_deref().map(str::to_owned),
        }
    }

    fn read(self, name: &CertificateName) -> Option<Listing> {
        let origin = self.origin.map(|origin| origin.parse()).transpose().ok()?;
        let redirect = match self.redirect {
            Some((to, status)) => Some(Redirect { to: to.parse().ok()?, status }),
            None => None,
        };
        Some(Listing {
            id: self.id,
            name: name.clone(),
            organization: self.organization,
            site: self.site,
            via: self.via,
            holder: self.holder,
            preview: self.preview,
            proof: self.proof,
            settings: Settings { origin, redirect, metadata: self.metadata.map(Into::into) },
        })
    }
}

fn sites_line(sites: &[StoredSite]) -> Line {
    let line = |site: &StoredSite| SiteLine {
        name: site.name.clone(),
        organization: site.organization.clone(),
        origins: site.origins.iter().map(ToString::to_string).collect(),
        cname_target: site.cname_target.as_ref().map(ToString::to_string),
        version: site.version,
    };
    Line::Sites(sites.iter().map(line).collect())
}

fn name_line(name: &CertificateName, listings: &[Listing]) -> Line {
    Line::Name(name.to_string(), listings.iter().map(ListingLine::of).collect())
}

fn put(into: &mut impl Write, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *into, line)?;
    into.write_all(b"\n")
}

/// A copy that fails costs the copy, never the service.
pub(super) fn copied(done: io::Result<()>) {
    static COMPLAINTS: Seldom = Seldom::new(Duration::from_secs(60));
    if let Err(error) = done
        && let Some(unsaid) = COMPLAINTS.permit()
    {
        tracing::warn!(%error, unsaid, "this machine's copy of the listed hostnames is not up to date");
    }
}

/// A whole copy that is being written; it takes the place of the one before when it is finished.
pub struct Rewrite {
    shelter: Shelter,
    file: BufWriter<File>,
    path: PathBuf,
}

impl Rewrite {
    /// Adds listings.
    pub fn add(&mut self, listings: &[Listing]) -> io::Result<()> {
        listings.iter().try_for_each(|listing| {
            put(&mut self.file, &name_line(&listing.name, std::slice::from_ref(listing)))
        })
    }

    /// Puts it in its place.
    pub fn finish(self) -> io::Result<()> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_data()?;
        let mut current = self.shelter.0.file.lock();
        fs::rename(&self.path, &self.shelter.0.path)?;
        self.shelter.0.whole.store(file.metadata()?.len(), Ordering::Relaxed);
        self.shelter.0.added.store(0, Ordering::Relaxed);
        *current = Some(file);
        Ok(())
    }
}

impl Shelter {
    /// As [`Shelter::read`], beside what else is to be done.
    pub(super) async fn load(&self) -> io::Result<Kept> {
        let shelter = self.clone();
        tokio::task::spawn_blocking(move || shelter.read()).await.map_err(io::Error::other).flatten()
    }

    /// Lets a store that has never had a hostname take in what this machine had copied of one that was lost.
    pub(super) async fn restore_into(&self, records: &dyn Records) -> Result<(), Error> {
        let kept = match self.load().await {
            Ok(kept) => kept,
            Err(error) => {
                copied(Err(error));
                return Ok(());
            }
        };
        if kept.listings.is_empty() && kept.sites.is_empty() {
            return Ok(());
        }
        let taken = records.restore(&kept.sites, &kept.listings).await?;
        if taken > 0 {
            tracing::warn!(
                taken,
                "the store is new; it took in the hostnames that this machine had copied, and \
                tokens have to be made anew"
            );
        }
        Ok(())
    }

    /// In `data_dir`; nothing is read or written yet.
    pub fn new(data_dir: &Path) -> Self {
        let (file, whole, added) = (Mutex::new(None), AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { path: data_dir.join(FILE), file, whole, added }))
    }

    /// Begins a whole copy.
    pub fn rewrite(&self, sites: &[StoredSite]) -> io::Result<Rewrite> {
        let path = self.0.path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&path)?;
        let mut file = BufWriter::new(file);
        put(&mut file, &sites_line(sites))?;
        Ok(Rewrite { shelter: self.clone(), file, path })
    }

    /// Adds that `name` has `listings` now, and no others.
    pub fn note(&self, name: &CertificateName, listings: &[Listing]) -> io::Result<()> {
        let gone = Line::Name(name.to_string(), Vec::new());
        match listings {
            [] => self.append(&[gone]),
            listings => self.append(&[gone, name_line(name, listings)]),
        }
    }

    /// Adds that these are the sites now.
    pub fn note_sites(&self, sites: &[StoredSite]) -> io::Result<()> {
        self.append(&[sites_line(sites)])
    }

    fn append(&self, lines: &[Line]) -> io::Result<()> {
        let mut file = self.0.file.lock();
        // Before the first whole copy there is nothing that could be added to.
        let Some(file) = file.as_mut() else { return Ok(()) };
        let mut octets = Vec::new();
        for line in lines {
            put(&mut octets, line)?;
        }
        self.0.added.fetch_add(octets.len() as u64, Ordering::Relaxed);
        file.write_all(&octets)
    }

    /// Whether so much was added that a whole copy would be much smaller.
    pub fn is_bloated(&self) -> bool {
        let added = self.0.added.load(Ordering::Relaxed);
        added > BLOATED && added > 4 * self.0.whole.load(Ordering::Relaxed)
    }

    /// What it holds; nothing where there is no file. What cannot be read, such as a last line that
    /// a crash cut short, is left out.
    pub fn read(&self) -> io::Result<Kept> {
        let file = match File::open(&self.0.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
            Err(error) => return Err(error),
        };
        let mut sites = Vec::new();
        let mut names: HashMap<CertificateName, Vec<Listing>> = HashMap::new();
        for line in BufReader::new(file).lines() {
            match serde_json::from_str(&line?) {
                Ok(Line::Sites(lines)) => sites = lines.into_iter().filter_map(read_site).collect(),
                Ok(Line::Name(name, lines)) => {
                    let Ok(name) = name.parse::<CertificateName>() else { continue };
                    if lines.is_empty() {
                        names.remove(&name);
                        continue;
                    }
                    let listings: Vec<_> = lines.into_iter().filter_map(|line| line.read(&name)).collect();
                    names.entry(name).or_default().extend(listings);
                }
                Err(error) => tracing::debug!(%error, "a line of the listed hostnames cannot be read"),
            }
        }
        Ok(Kept { sites, listings: names.into_values().flatten().collect() })
    }
}

fn read_site(line: SiteLine) -> Option<StoredSite> {
    let origins = line.origins.iter().map(|origin| origin.parse().ok()).collect::<Option<_>>()?;
    Some(StoredSite {
        name: line.name,
        organization: line.organization,
        origins,
        cname_target: line.cname_target.and_then(|target| target.parse().ok()),
        version: line.version,
        created_at: UnixTime(0),
        updated_at: UnixTime(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(id: i64, name: &str) -> Listing {
        let origin = Some("https://app.internal:8443".parse().unwrap());
        let redirect = Some(Redirect { to: "www.a.test".parse().unwrap(), status: 301 });
        Listing {
            id,
            name: name.parse().unwrap(),
            organization: "cats".parse().unwrap(),
            site: "site".parse().unwrap(),
            via: Via::Api,
            holder: true,
            preview: format!("p{id}"),
            proof: format!("proof-{id}"),
            settings: Settings { origin, redirect, metadata: Some("{\"a\":1}".into()) },
        }
    }

    #[test]
    fn what_was_noted_is_read_again_and_a_torn_line_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let shelter = Shelter::new(folder.path());
        assert!(shelter.read().unwrap().listings.is_empty());
        let mut rewrite = shelter.rewrite(&[]).unwrap();
        rewrite.add(&[listing(1, "a.test"), listing(2, "b.test")]).unwrap();
        rewrite.finish().unwrap();
        let gone: CertificateName = "a.test".parse().unwrap();
        shelter.note(&gone, &[]).unwrap();
        let path = folder.path().join(FILE);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"name\":[\"c.te").unwrap();
        let kept = shelter.read().unwrap();
        assert_eq!(kept.listings, [listing(2, "b.test")]);
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
}
