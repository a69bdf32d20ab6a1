//! Caddy's file storage.

use std::path::{Path, PathBuf};

use super::{Failed, Item, Kind, Skipped, Source, below, folder, item};
use crate::certs::pem;
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::peers::{self, caddy};

/// One folder with a certificate.
#[derive(Clone)]
struct Place {
    text: String,
    path: PathBuf,
    issuer: String,
}

/// The first of Caddy's usual folders that is there; `home` is the user's.
pub fn usual_folder(home: Option<&str>) -> Result<PathBuf, Failed> {
    let folders = caddy::data_folders(home);
    let found = folders.iter().map(Path::new).find(|path| path.join(caddy::FOLDER).is_dir());
    found.map(Path::to_owned).ok_or_else(|| Failed::NoFolder { tried: folders.join(", ") })
}

/// What Caddy keeps in `dir`, its data folder.
///
/// - `issuers`: Caddy's names of the issuers whose certificates are brought; where none is given,
///   those of all but Caddy's own authority
/// - `now`: when they must be valid
///
/// Blocks on the disk.
pub fn open(dir: &Path, issuers: Vec<String>, now: UnixTime) -> Result<Source, Failed> {
    let mut places = Vec::new();
    for issuer in folder::folders(&dir.join(caddy::FOLDER))? {
        for path in folder::folders(&issuer)? {
            places.push(Place { text: below(dir, &path), path, issuer: folder::name(&issuer) });
        }
    }
    Ok(Source {
        kind: Kind { one: "folder", many: "folders", none: "Caddy has no certificates there" },
        total: Some(places.len() as u64),
        items: folder::read(
            places,
            |place: &Place| place.text.clone(),
            move |place| Item {
                content: wanted(&place.issuer, &issuers).and_then(|()| content(&place.path, now)),
                place: place.text,
                note: None,
            },
        ),
        afterwards: Vec::new(),
    })
}

fn wanted(issuer: &str, issuers: &[String]) -> Result<(), Skipped> {
    let issuer_text = || issuer.to_owned();
    match issuers {
        [] if caddy::is_internal(issuer) => Err(Skipped::Internal { issuer: issuer_text() }),
        [_, ..] if issuers.iter().all(|wanted| wanted != issuer) => {
            Err(Skipped::OtherIssuer { issuer: issuer_text() })
        }
        _ => Ok(()),
    }
}

/// The JSON beside the two files has the names too; the leaf is what clients go by.
fn content(path: &Path, now: UnixTime) -> Result<Vec<Certificate>, Skipped> {
    let name = folder::name(path);
    let domain = caddy::domain(&name);
    let filed = domain.parse().map_err(|why| peers::Error::Domain { domain, why, cure: "" })?;
    let chain = pem::read_file(&path.join(format!("{name}.crt")))?;
    let key = pem::read_file(&path.join(format!("{name}.key")))?;
    item::certificates(&item::joined(&chain, &key)?, Some(&filed), now)
}
