//! certbot's folder, `/etc/letsencrypt`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Failed, Item, Kind, Skipped, Source, folder, item};
use crate::certs::pem;
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::peers::certbot::{CHAIN, KEY, LIVE, RENEWAL, Renewal};

/// One certificate of certbot's.
#[derive(Clone)]
struct Lineage {
    name: String,
    live: PathBuf,
    note: Option<String>,
}

/// What certbot keeps in `dir`. Certificates must be valid at `now`. Blocks on the disk.
pub fn open(dir: &Path, now: UnixTime) -> Result<Source, Failed> {
    let live = dir.join(LIVE);
    let mut lineages: BTreeMap<String, Lineage> = BTreeMap::new();
    for path in folder::folders(&live)? {
        let name = folder::name(&path);
        let note = Some(format!("certbot renews it no more: there is no {RENEWAL}/{name}.conf"));
        lineages.insert(name.clone(), Lineage { name, live: path, note });
    }
    let mut renewed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in renewal_files(&dir.join(RENEWAL))? {
        let Some(name) = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else { continue };
        // One without a folder in `live` is reported when its files are not found.
        let lineage = lineages.entry(name.clone()).or_insert_with(|| Lineage {
            live: live.join(&name),
            name: name.clone(),
            note: None,
        });
        lineage.note = match renewal(&name, &path) {
            Ok(renewal) if !renewal.automatic => None,
            Ok(renewal) => {
                renewed.entry(renewal.authenticator).or_default().push(name);
                None
            }
            Err(why) => Some(format!("certbot cannot renew it: {why}")),
        };
    }
    let lineages: Vec<Lineage> = lineages.into_values().collect();
    Ok(Source {
        kind: Kind { one: "folder", many: "folders", none: "certbot has no certificates there" },
        total: Some(lineages.len() as u64),
        items: folder::read(lineages, place, move |lineage| Item {
            content: content(&lineage.live, now),
            place: place(&lineage),
            note: lineage.note,
        }),
        afterwards: afterwards(&renewed),
    })
}

fn place(lineage: &Lineage) -> String {
    format!("{LIVE}/{}", lineage.name)
}

/// The `*.conf` of `dir`; none where it is missing.
fn renewal_files(dir: &Path) -> Result<Vec<PathBuf>, Failed> {
    match folder::list(dir) {
        Ok(files) => Ok(files
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
            .collect()),
        Err(Failed::Folder { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn renewal(name: &str, path: &Path) -> Result<Renewal, String> {
    let file = format!("{RENEWAL}/{name}.conf");
    let text = fs::read(path).map_err(|error| format!("{file} cannot be read: {error}"))?;
    Renewal::read(&file, &String::from_utf8_lossy(&text)).map_err(|error| error.to_string())
}

fn content(live: &Path, now: UnixTime) -> Result<Vec<Certificate>, Skipped> {
    let chain = pem::read_file(&live.join(CHAIN))?;
    let key = pem::read_file(&live.join(KEY))?;
    item::certificates(&item::joined(&chain, &key)?, None, now)
}

/// What is to be switched off, so that certbot does not go on renewing.
fn afterwards(renewed: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    if renewed.is_empty() {
        return Vec::new();
    }
    let by: Vec<String> = renewed.iter().map(|(by, names)| format!("{} by {by}", names.len())).collect();
    vec![format!(
        "certbot still renews these ({}), and its challenges no longer reach it once this machine answers \
         ports 80 and 443. When they are served from here, switch it off: all of it by `systemctl disable \
         --now certbot.timer` (and what is in /etc/cron.d/certbot or a crontab); a single one by the line \
         `autorenew = False` under [renewalparams] in {RENEWAL}/NAME.conf.",
        by.join(", ")
    )]
}
