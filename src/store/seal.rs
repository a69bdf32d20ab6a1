//! Sealing of private keys and account keys, before they reach a disk or a database.
//!
//! A sealed value is `version (1) ‖ key id (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. The version
//! stands for AES-256-GCM-SIV (RFC 8452): all machines of a fleet draw nonces for one key at
//! random and know nothing of each other, so a repeated nonce must not be a catastrophe; with
//! this AEAD it shows no more than that two values are the same.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::SealError;

/// Octets of a sealing key.
pub const KEY_OCTETS: usize = 32;

const VERSION: u8 = 1;
const ID_OCTETS: usize = 8;
const HEAD_OCTETS: usize = 1 + ID_OCTETS + NONCE_LEN;

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

/// The keys of a store: one seals, and that one and those before it open. Clones are the same keys
/// and change together. There is no `Debug`, and the octets are wiped with them.
#[derive(Clone)]
pub struct SealingKey {
    ring: Arc<ArcSwap<Ring>>,
}

struct Ring {
    current: Key,
    earlier: Vec<Key>,
}

struct Key {
    aead: LessSafeKey,
    id: [u8; ID_OCTETS],
}

impl Key {
    fn new(octets: &Zeroizing<[u8; KEY_OCTETS]>) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, octets.as_slice())
            .expect("AES-256 takes any key of 32 octets, and the type has that many");
        let mut hashed = Zeroizing::new(b"nameplate sealing key".to_vec());
        hashed.extend_from_slice(octets.as_slice());
        let mut id = [0; ID_OCTETS];
        id.copy_from_slice(&digest(&SHA256, &hashed).as_ref()[..ID_OCTETS]);
        Self { aead: LessSafeKey::new(unbound), id }
    }
}

impl Ring {
    fn key(&self, id: &[u8]) -> Option<&Key> {
        [&self.current].into_iter().chain(&self.earlier).find(|key| key.id == *id)
    }
}

impl SealingKey {
    /// Takes a key of [`KEY_OCTETS`] octets.
    pub fn new(octets: &Zeroizing<[u8; KEY_OCTETS]>) -> Self {
        Self::of(Ring { current: Key::new(octets), earlier: Vec::new() })
    }

    /// Draws a new key.
    pub fn random() -> Self {
        Self::new(&Zeroizing::new(rand::random()))
    }

    fn of(ring: Ring) -> Self {
        Self { ring: Arc::new(ArcSwap::from_pointee(ring)) }
    }

    /// Reads keys of 32 octets in base64 with white space between them: the first one seals, the
    /// others are of before. `None` where it holds anything else, or nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let key = |text: &str| {
            let mut octets = Zeroizing::new(Vec::with_capacity(2 * KEY_OCTETS));
            STANDARD.decode_vec(text, &mut octets).ok()?;
            Some(Key::new(&Zeroizing::new(octets.as_slice().try_into().ok()?)))
        };
        let mut keys = text.split_ascii_whitespace().map(key).collect::<Option<Vec<Key>>>()?;
        let current = (!keys.is_empty()).then(|| keys.remove(0))?;
        Some(Self::of(Ring { current, earlier: keys }))
    }

    /// Takes the keys of `other` in the place of its own, in all clones.
    pub fn replace_by(&self, other: &Self) {
        self.ring.store(other.ring.load_full());
    }

    /// Whether it has keys of before.
    pub fn has_earlier(&self) -> bool {
        !self.ring.load().earlier.is_empty()
    }

    /// The names of all its keys, that of the one that seals first.
    pub fn ids(&self) -> Vec<String> {
        let ring = self.ring.load();
        [&ring.current].into_iter().chain(&ring.earlier).map(|key| hexadecimal(&key.id)).collect()
    }

    /// A short name of the key that seals, in hexadecimal; it tells nothing about the key.
    pub fn id(&self) -> String {
        hexadecimal(&self.ring.load().current.id)
    }

    /// Seals anew what was sealed for `record`; `None` where the key that seals now did that.
    ///
    /// Fails as [`SealingKey::open`] does.
    pub fn reseal(&self, record: Record<'_>, sealed: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        if sealed.get(1..=ID_OCTETS) == Some(self.ring.load().current.id.as_slice()) {
            return Ok(None);
        }
        let opened = self.open(record, sealed)?;
        Ok(Some(self.seal(record, &opened)))
    }

    /// Seals `plaintext` for `record`.
    pub fn seal(&self, record: Record<'_>, plaintext: &[u8]) -> Vec<u8> {
        let ring = self.ring.load();
        let Key { aead, id } = &ring.current;
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = Vec::with_capacity(HEAD_OCTETS + plaintext.len() + aead.algorithm().tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let tag = aead
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
    /// Fails with [`SealError::OtherKey`] where none of its keys sealed it, else with
    /// [`SealError::Damaged`].
    pub fn open(&self, record: Record<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let damaged = || SealError::Damaged { what: record.named() };
        let (head, body) = sealed.split_at_checked(HEAD_OCTETS).ok_or_else(damaged)?;
        let (id, nonce) = head[1..].split_at(ID_OCTETS);
        if head[0] != VERSION {
            return Err(damaged());
        }
        let ring = self.ring.load();
        let Some(key) = ring.key(id) else {
            return Err(SealError::OtherKey {
                what: record.named(),
                sealed_with: hexadecimal(id),
                configured: hexadecimal(&ring.current.id),
            });
        };
        let mut opened = Zeroizing::new(body.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let length = key
            .aead
            .open_in_place(nonce, Aad::from(record.additional_data()), &mut opened)
            .map_err(|_| damaged())?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
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
