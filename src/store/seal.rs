//! Sealing of private keys and account keys, before they reach a disk or a database.
//!
//! A sealed value is `version (1) ‖ key id (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. The version
//! stands for AES-256-GCM-SIV (RFC 8452): all machines of a fleet draw nonces for one key at
//! random and know nothing of each other, so a repeated nonce must not be a catastrophe; with
//! this AEAD it shows no more than that two values are the same.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::files::{failed, make_folder, shown, sync_folder, write_new};
use super::{Error, SealError};

/// Octets of a sealing key.
pub const KEY_OCTETS: usize = 32;

const VERSION: u8 = 1;
const ID_OCTETS: usize = 8;
const HEAD_OCTETS: usize = 1 + ID_OCTETS + NONCE_LEN;
/// A key file holds 44 characters and a line end; much more than that is another file.
const KEY_FILE_OCTETS: u64 = 4096;

/// The record that a sealed value belongs to. A value that is moved to another record, or whose
/// record is changed around it, does not open.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// Its kind: `certificate`, `account`.
    pub kind: &'static str,
    /// Whose it is: a hostname, an account's key.
    pub of: &'a str,
    /// What is kept unsealed beside it and must stay as it is; may be empty.
    pub beside: &'a [u8],
}

impl Record<'_> {
    /// The additional data: each part with its length before it, so that no two records share one.
    fn additional_data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(24 + self.kind.len() + self.of.len() + self.beside.len());
        for part in [self.kind.as_bytes(), self.of.as_bytes(), self.beside] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part);
        }
        data
    }

    fn named(&self) -> Arc<str> {
        format!("the {} of {}", self.kind, self.of).into()
    }
}

/// The key that seals and opens. It has no `Debug`, and its octets are wiped with it.
#[derive(Clone)]
pub struct SealingKey {
    aead: Arc<LessSafeKey>,
    id: [u8; ID_OCTETS],
}

impl SealingKey {
    /// Takes a key of [`KEY_OCTETS`] octets.
    pub fn new(octets: &Zeroizing<[u8; KEY_OCTETS]>) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, octets.as_slice())
            .expect("AES-256 takes any key of 32 octets, and the type has that many");
        let mut hashed = Zeroizing::new(b"nameplate sealing key".to_vec());
        hashed.extend_from_slice(octets.as_slice());
        let mut id = [0; ID_OCTETS];
        id.copy_from_slice(&digest(&SHA256, &hashed).as_ref()[..ID_OCTETS]);
        Self { aead: Arc::new(LessSafeKey::new(unbound)), id }
    }

    /// Draws a new key.
    pub fn random() -> Self {
        Self::new(&random_octets())
    }

    /// Reads the key file at `path`: 32 octets in base64.
    ///
    /// Fails where it cannot be read, where others may read it, or where it holds no key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| failed("read the sealing key", path, source);
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealError::KeyFileReadable { path: shown(path), mode }.into());
        }
        let mut text = Zeroizing::new(Vec::with_capacity(256));
        file.take(KEY_FILE_OCTETS).read_to_end(&mut text).map_err(unreadable)?;
        let no_key = || SealError::KeyFile { path: shown(path) };
        let mut octets = Zeroizing::new(Vec::with_capacity(2 * KEY_OCTETS));
        STANDARD.decode_vec(text.trim_ascii(), &mut octets).map_err(|_| no_key())?;
        let octets: [u8; KEY_OCTETS] = octets.as_slice().try_into().map_err(|_| no_key())?;
        Ok(Self::new(&Zeroizing::new(octets)))
    }

    /// Reads the key file at `path`, which is made with a new key where it is missing.
    ///
    /// Of several processes that make it at once, one wins and all get its key.
    pub fn load_or_make(path: &Path) -> Result<Self, Error> {
        match Self::load(path) {
            Err(Error::File { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            other => return other,
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        make_folder(folder)?;
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY_OCTETS));
        STANDARD.encode_string(random_octets().as_slice(), &mut text);
        text.push('\n');
        // Written aside and linked: a key file is whole or not there, and never replaced.
        let aside = path.with_extension(format!("{:016x}.new", rand::random::<u64>()));
        let made = write_new(&aside, text.as_bytes()).and_then(|()| std::fs::hard_link(&aside, path));
        let removed = std::fs::remove_file(&aside);
        match made {
            Err(source) if source.kind() == ErrorKind::AlreadyExists => {}
            // Without its key everything sealed is lost, so the name must survive a power cut too.
            made => made
                .and(removed)
                .and_then(|()| sync_folder(folder))
                .map_err(|source| failed("make the sealing key", path, source))?,
        }
        Self::load(path)
    }

    /// A short name of the key, in hexadecimal; it tells nothing about the key.
    pub fn id(&self) -> String {
        hexadecimal(&self.id)
    }

    /// Seals `plaintext` for `record`.
    pub fn seal(&self, record: Record<'_>, plaintext: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = Vec::with_capacity(HEAD_OCTETS + plaintext.len() + self.aead.algorithm().tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let tag = self
            .aead
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(record.additional_data()),
                &mut sealed[HEAD_OCTETS..],
            )
            .expect("sealing fails only beyond 2^36 octets (RFC 8452 §6)");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Opens what was sealed for `record`.
    ///
    /// Fails with [`SealError::OtherKey`] where another key sealed it, else with
    /// [`SealError::Damaged`].
    pub fn open(&self, record: Record<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let damaged = || SealError::Damaged { what: record.named() };
        let (head, body) = sealed.split_at_checked(HEAD_OCTETS).ok_or_else(damaged)?;
        let (id, nonce) = head[1..].split_at(ID_OCTETS);
        if head[0] != VERSION {
            return Err(damaged());
        }
        if id != self.id {
            return Err(SealError::OtherKey {
                what: record.named(),
                sealed_with: hexadecimal(id),
                configured: self.id(),
            });
        }
        let mut opened = Zeroizing::new(body.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let length = self
            .aead
            .open_in_place(nonce, Aad::from(record.additional_data()), &mut opened)
            .map_err(|_| damaged())?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

fn random_octets() -> Zeroizing<[u8; KEY_OCTETS]> {
    Zeroizing::new(rand::random())
}

/// Octets as lower-case hexadecimal digits.
pub(super) fn hexadecimal(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        // Writing to a String cannot fail.
        let _always_ok = write!(text, "{octet:02x}");
        text
    })
}
