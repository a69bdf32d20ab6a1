//! Secrets and the files that the configuration names.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::place::{Wrong, quoted};
use super::section::Section;
use super::{CertificateFiles, Secret};

/// Longest file of certificates or of a secret that is read, in octets.
const LONGEST_FILE: u64 = 1024 * 1024;

/// The bits of a file's mode that let others than its owner read or change it.
const OTHERS: u32 = 0o066;

fn about(path: &Path, error: &std::io::Error) -> Wrong {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => {
            Wrong::new(format!("{path} does not exist"), "create the file or correct the path")
        }
        ErrorKind::PermissionDenied => Wrong::new(
            format!("{path} must not be read by this user"),
            "run as the user that the file belongs to, or give it to this one",
        ),
        _ => Wrong::new(format!("{path} cannot be read: {error}"), "name a file that can be read"),
    }
}

fn file_metadata(path: &Path) -> Result<Metadata, Wrong> {
    let metadata = fs::metadata(path).map_err(|error| about(path, &error))?;
    if metadata.is_dir() {
        return Err(Wrong::new(format!("{} is a folder", path.display()), "name a file"));
    }
    Ok(metadata)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Wrong> {
    file_metadata(path)?;
    let file = File::open(path).map_err(|error| about(path, &error))?;
    let mut octets = Zeroizing::new(Vec::new());
    file.take(LONGEST_FILE + 1).read_to_end(&mut octets).map_err(|error| about(path, &error))?;
    if octets.len() as u64 > LONGEST_FILE {
        let what = format!("{} is longer than {LONGEST_FILE} octets", path.display());
        return Err(Wrong::new(what, "name another file"));
    }
    if octets.iter().all(u8::is_ascii_whitespace) {
        return Err(Wrong::new(
            format!("{} is empty", path.display()),
            "put the content in, or name another file",
        ));
    }
    Ok(octets)
}

/// Refuses a file that others than its owner may read or change.
fn kept_from_others(path: &Path, metadata: &Metadata) -> Result<(), Wrong> {
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        let what = format!("{} is open to others than its owner (mode {mode:04o})", path.display());
        return Err(Wrong::new(what, format!("chmod 600 {}", path.display())));
    }
    Ok(())
}

fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, Wrong> {
    kept_from_others(path, &file_metadata(path)?)?;
    read(path)
}

/// Checks the sealing key's file where there is one; a missing one is made at the first start.
///
/// `given`: the user named it. A defaulted one lies in the data folder, which a user who only
/// checks the configuration may not be allowed to look into.
pub(super) fn check_sealing_key(path: &Path, given: bool) -> Result<(), Wrong> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied && !given => Ok(()),
        Ok(metadata) if !given => kept_from_others(path, &metadata),
        _ => read_secret(path).map(drop),
    }
}

fn holds_pem(path: &Path, octets: &[u8], label: &str) -> Result<(), Wrong> {
    let found = octets.windows(label.len()).any(|window| window == label.as_bytes());
    if found {
        return Ok(());
    }
    Err(Wrong::new(format!("{} has no \"{label}\"", path.display()), "name a file in PEM format"))
}

/// Checks a PEM file of certificates.
pub(super) fn check_certificates(path: &Path) -> Result<(), Wrong> {
    holds_pem(path, &read(path)?, "-----BEGIN CERTIFICATE-----")
}

/// The content of a PEM file of certificates.
pub(super) fn certificates(path: &Path) -> Result<Vec<u8>, Wrong> {
    let octets = read(path)?;
    holds_pem(path, &octets, "-----BEGIN CERTIFICATE-----")?;
    Ok(octets.to_vec())
}

fn check_private_key(path: &Path) -> Result<(), Wrong> {
    holds_pem(path, &read_secret(path)?, "PRIVATE KEY-----")
}

/// A certificate and its key in two files, of which neither goes without the other; `None` where
/// both are missing or one is wrong.
pub(super) fn certificate_files(
    section: &Section<'_>,
    certificate: &'static str,
    key: &'static str,
) -> Option<CertificateFiles> {
    let checked = |name: &'static str, check: fn(&Path) -> Result<(), Wrong>| -> Option<PathBuf> {
        let (text, path) = section.path(name)?;
        text.read(|_| check(&path))?;
        Some(path)
    };
    for (one, other) in [(certificate, key), (key, certificate)] {
        if section.has(one) && !section.has(other) {
            let what = format!("it is missing beside {one}");
            section.problem(other, Wrong::new(what, "give both, or neither"));
        }
    }
    let certificate = checked(certificate, check_certificates);
    let key = checked(key, check_private_key);
    Some(CertificateFiles { certificate: certificate?, key: key? })
}

/// A secret given as exactly one of its three keys: the text itself, a file, a variable of the
/// environment. White space around it is not part of it.
pub(super) fn secret(section: &Section<'_>, keys: [&'static str; 3]) -> Option<Secret> {
    let [plain, file, variable] = keys;
    match keys.iter().filter(|&&key| section.has(key)).count() {
        1 => {}
        0 => {
            let what = format!("neither {plain} nor {file} nor {variable} is given");
            section.problem(plain, Wrong::new(what, "give one of them"));
            return None;
        }
        _ => {
            let what = format!("more than one of {plain}, {file} and {variable} is given");
            section.problem(plain, Wrong::new(what, "keep one of them"));
            return None;
        }
    }
    let empty = || Wrong::new("it is empty", "give the secret");
    if let Some(text) = section.text(plain, &format!("{plain} = \"…\"")) {
        return text.read(|text| trimmed(text).ok_or_else(empty));
    }
    if let Some((text, path)) = section.path(file) {
        return text.read(|_| {
            let octets = read_secret(&path)?;
            let no_text = || Wrong::new(format!("{} is not UTF-8 text", path.display()), "put text into it");
            let content = std::str::from_utf8(&octets).map_err(|_| no_text())?;
            trimmed(content).ok_or_else(empty)
        });
    }
    section.text(variable, &format!("{variable} = \"NAME\""))?.read(|name| self::variable(section, name))
}

/// What the variable `name` of the environment holds.
pub(super) fn variable(section: &Section<'_>, name: &str) -> Result<Secret, Wrong> {
    let content = section.source().variable(name).map(Zeroizing::new);
    let set = content.as_ref().and_then(|content| trimmed(content));
    set.ok_or_else(|| {
        // Shown only where it looks like a variable's name: it may be the secret itself.
        let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let name = if name.chars().all(plain) { quoted(name) } else { "this name".into() };
        let what = format!("the environment has nothing under {name}");
        Wrong::new(what, "set the variable for the process, or correct its name")
    })
}

/// Checks that `text` holds sealing keys, and nothing else.
pub(super) fn check_keys(text: &str) -> Result<(), Wrong> {
    const OCTETS: usize = 32;
    let is_key = |text: &str| {
        let mut octets = Zeroizing::new(Vec::with_capacity(2 * OCTETS));
        STANDARD.decode_vec(text, &mut octets).is_ok() && octets.len() == OCTETS
    };
    if text.split_ascii_whitespace().all(is_key) {
        return Ok(());
    }
    Err(Wrong::new(
        "the variable holds no sealing key",
        "give 32 octets in base64, as `openssl rand -base64 32` prints them; \
         during a change of keys those of before behind it",
    ))
}

fn trimmed(text: &str) -> Option<Secret> {
    let text = text.trim();
    (!text.is_empty()).then(|| Secret(Zeroizing::new(text.to_owned())))
}
