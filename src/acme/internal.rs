//! The internal CA (`directory = "internal"`): for development and private networks.
//!
//! A root (10 years) and an intermediate (5 years) are made once and kept in a folder that only
//! we may enter; leafs are signed in this process.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{Cause, Error, key};
use crate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::store::files::{FILE_MODE, FOLDER_MODE};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * YEAR.as_secs());
const INTERMEDIATE_LIFETIME: Duration = Duration::from_secs(5 * YEAR.as_secs());
/// A new intermediate is signed when the old one has less than this left.
const INTERMEDIATE_MARGIN: Duration = YEAR;
/// Certificates are valid from a little before they are made, for clients whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Names of the files in the folder.
const ROOT: &str = "root.pem";
const ROOT_KEY: &str = "root.key";
const INTERMEDIATE: &str = "intermediate.pem";
const INTERMEDIATE_KEY: &str = "intermediate.key";

/// The internal CA, opened.
pub struct InternalCa {
    files: Files,
    lifetime: Duration,
    root: Signer,
    intermediate: RwLock<Arc<Signer>>,
}

/// A certificate that signs others.
struct Signer {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
}

/// The folder, and whose it is for error messages.
struct Files {
    authority: Arc<str>,
    folder: PathBuf,
}

impl InternalCa {
    /// Opens the CA in `data_dir/internal-ca/`, or makes it there.
    ///
    /// - `lifetime`: of leafs; none outlives the intermediate
    ///
    /// Fails where the files cannot be read or written or do not belong together.
    pub fn open(
        authority: Arc<str>,
        data_dir: &Path,
        lifetime: Duration,
        now: UnixTime,
    ) -> Result<Self, Error> {
        let files = Files { authority, folder: data_dir.join("internal-ca") };
        if !files.path(ROOT).exists() {
            files.make_folder(now)?;
        }
        let root = files.load(ROOT, ROOT_KEY)?;
        let intermediate = Arc::new(files.load(INTERMEDIATE, INTERMEDIATE_KEY)?);
        let ca = Self { files, lifetime, root, intermediate: RwLock::new(intermediate) };
        ca.intermediate(now)?;
        Ok(ca)
    }

    /// Where the root certificate is, for those who want to trust it.
    pub fn root_pem_path(&self) -> PathBuf {
        self.files.path(ROOT)
    }

    /// Signs a certificate for `name`, which may be a wildcard, with a fresh key.
    pub async fn obtain(
        &self,
        name: &CertificateName,
        key_type: KeyType,
        now: UnixTime,
    ) -> Result<Certificate, Cause> {
        let fresh = key::fresh(key_type).await?;
        let signer = match self.intermediate(now) {
            Ok(signer) => signer,
            Err(error) => {
                // The old one is still good for a while.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the internal CA could not be renewed"
                );
                self.intermediate.read().clone()
            }
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::DnsName(name.as_str().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let validity = backdated(now, self.lifetime, Some(signer.validity.not_after));
        set_validity(&mut params, validity);
        let leaf = params.signed_by(&fresh, &signer.issuer)?;
        Ok(Certificate {
            name: name.clone(),
            chain: vec![leaf.der().to_vec(), signer.der.to_vec()],
            key: PrivateKey::from_der(fresh.serialize_der()),
            key_type,
            validity,
            source: Source::Authority(self.files.authority.to_string()),
        })
    }

    /// The intermediate, a new one where the old one comes to its end.
    fn intermediate(&self, now: UnixTime) -> Result<Arc<Signer>, Error> {
        let current = self.intermediate.read().clone();
        if now.until(current.validity.not_after) >= INTERMEDIATE_MARGIN {
            return Ok(current);
        }
        let mut place = self.intermediate.write();
        if now.until(place.validity.not_after) < INTERMEDIATE_MARGIN {
            let (pem, key) = self.files.made(make_intermediate(&self.root.issuer, now))?;
            // Certificate and key are swapped one after the other; where a crash comes between,
            // the next start sees that they do not fit and says which files to remove.
            self.files.replace(INTERMEDIATE_KEY, &key)?;
            self.files.replace(INTERMEDIATE, &pem)?;
            *place = Arc::new(self.files.load(INTERMEDIATE, INTERMEDIATE_KEY)?);
        }
        Ok(place.clone())
    }
}

impl Files {
    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Makes the whole folder under another name and moves it into place, so that neither a crash
    /// nor a second process leaves half of one.
    fn make_folder(&self, now: UnixTime) -> Result<(), Error> {
        let making = self.folder.with_file_name(format!("internal-ca.{}", std::process::id()));
        let failed = |operation, path: &Path, source| self.failed(operation, path, source);
        match fs::remove_dir_all(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &making, error));
            }
            _ => {}
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&making)
            .map_err(|source| failed("create", &making, source))?;
        let half = Self { authority: self.authority.clone(), folder: making.clone() };
        let (root, root_key, issuer) = self.made(make_root(now))?;
        let (intermediate, intermediate_key) = self.made(make_intermediate(&issuer, now))?;
        half.replace(ROOT_KEY, &root_key)?;
        half.replace(ROOT, &root)?;
        half.replace(INTERMEDIATE_KEY, &intermediate_key)?;
        half.replace(INTERMEDIATE, &intermediate)?;
        if let Err(source) = fs::rename(&making, &self.folder) {
            // The leftover of a lost race is no fault of its own.
            let _removed = fs::remove_dir_all(&making);
            if !self.path(ROOT).exists() {
                return Err(failed("create", &self.folder, source));
            }
        }
        Ok(())
    }

    /// Writes a file that only we may read, whole or not at all.
    fn replace(&self, file: &str, text: &str) -> Result<(), Error> {
        let (path, part) = (self.path(file), self.path(&format!("{file}.part")));
        let write = || {
            let mut options = fs::OpenOptions::new();
            let mut handle = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&part)?;
            handle.write_all(text.as_bytes())?;
            handle.sync_all()?;
            fs::rename(&part, &path)
        };
        write().map_err(|source| self.failed("write", &path, source))
    }

    fn load(&self, certificate: &str, key: &str) -> Result<Signer, Error> {
        let read = |file: &str| {
            let path = self.path(file);
            fs::read_to_string(&path).map_err(|source| self.failed("read", &path, source))
        };
        let key_pem = zeroize::Zeroizing::new(read(key)?);
        let pair = KeyPair::from_pem(&key_pem)
            .map_err(|_| self.content(key, "holds no private key in PEM; remove the folder to start anew"))?;
        let unreadable =
            || self.content(certificate, "holds no certificate in PEM; remove the folder to start anew");
        let der = CertificateDer::from_pem_slice(read(certificate)?.as_bytes()).map_err(|_| unreadable())?;
        let (validity, public_key) = {
            let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| unreadable())?;
            let validity = Validity {
                not_before: UnixTime(parsed.validity().not_before.timestamp()),
                not_after: UnixTime(parsed.validity().not_after.timestamp()),
            };
            (validity, parsed.public_key().raw.to_vec())
        };
        if public_key != pair.subject_public_key_info() {
            let what = "does not belong to the key beside it; remove the folder to start anew";
            return Err(self.content(certificate, what));
        }
        let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(|_| unreadable())?;
        Ok(Signer { der, issuer, validity })
    }

    fn failed(&self, operation: &'static str, path: &Path, source: io::Error) -> Error {
        Error::File { authority: self.authority.clone(), operation, path: path.to_owned(), source }
    }

    fn content(&self, file: &str, what: &'static str) -> Error {
        Error::Content { authority: self.authority.clone(), path: self.path(file), what }
    }

    fn made<T>(&self, made: Result<T, rcgen::Error>) -> Result<T, Error> {
        made.map_err(|source| Error::InternalCa { authority: self.authority.clone(), source })
    }
}

fn make_root(now: UnixTime) -> Result<(String, String, Issuer<'static, KeyPair>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let params = authority_params("root", 1, &key, backdated(now, ROOT_LIFETIME, None));
    let (pem, key_pem) = (params.self_signed(&key)?.pem(), key.serialize_pem());
    Ok((pem, key_pem, Issuer::new(params, key)))
}

fn make_intermediate(
    root: &Issuer<'static, KeyPair>,
    now: UnixTime,
) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let params = authority_params("intermediate", 0, &key, backdated(now, INTERMEDIATE_LIFETIME, None));
    Ok((params.signed_by(&key, root)?.pem(), key.serialize_pem()))
}

/// - `below`: how many certificates that sign may follow it
fn authority_params(part: &str, below: u8, key: &KeyPair, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    // Names that differ from one CA to the next keep a client that trusts two of them from
    // taking one for the other.
    let id: String = params.key_identifier(key).iter().take(4).map(|octet| format!("{octet:02x}")).collect();
    params.distinguished_name.push(DnType::OrganizationName, "Nameplate internal CA");
    params.distinguished_name.push(DnType::CommonName, format!("Nameplate internal {part} {id}"));
    set_validity(&mut params, validity);
    params
}

fn backdated(now: UnixTime, lifetime: Duration, latest: Option<UnixTime>) -> Validity {
    let not_after = now.plus(lifetime);
    Validity {
        not_before: UnixTime(now.0.saturating_sub(BACKDATED.as_secs().cast_signed())),
        not_after: latest.map_or(not_after, |latest| latest.min(not_after)),
    }
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let moment = |time: UnixTime| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(time.0).unwrap_or(0))
    };
    params.not_before = moment(validity.not_before);
    params.not_after = moment(validity.not_after);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixTime = UnixTime(1_795_320_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn open(folder: &Path, now: UnixTime) -> InternalCa {
        InternalCa::open("internal".into(), folder, DAY * 90, now).unwrap()
    }

    async fn shop(ca: &InternalCa, now: UnixTime) -> Certificate {
        ca.obtain(&"shop.test".parse().unwrap(), KeyType::P256, now).await.unwrap()
    }

    #[tokio::test]
    async fn leafs_of_two_starts_come_from_the_same_root() {
        let folder = tempfile::tempdir().unwrap();
        let before = shop(&open(folder.path(), NOW), NOW).await;
        let after = shop(&open(folder.path(), NOW), NOW).await;
        assert_eq!(before.chain[1], after.chain[1]);
        assert_ne!(before.key, after.key);
        assert_eq!(before.validity.not_after, NOW.plus(DAY * 90));
    }

    #[test]
    fn its_keys_can_be_read_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), NOW);
        let mode = |path: &str| {
            fs::metadata(folder.path().join("internal-ca").join(path)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode(""), 0o700); // as a literal: the promise itself
        for file in [ROOT, ROOT_KEY, INTERMEDIATE, INTERMEDIATE_KEY] {
            assert_eq!(mode(file), 0o600, "{file}");
        }
    }

    #[tokio::test]
    async fn an_intermediate_at_its_end_is_replaced_under_the_same_root() {
        let folder = tempfile::tempdir().unwrap();
        let ca = open(folder.path(), NOW);
        let before = shop(&ca, NOW).await;
        let root = fs::read(ca.root_pem_path()).unwrap();
        let later = NOW.plus(YEAR * 4 + DAY * 2);
        let after = shop(&ca, later).await;
        assert_ne!(before.chain[1], after.chain[1]);
        assert_eq!(after.validity.not_after, later.plus(DAY * 90));
        assert_eq!(shop(&open(folder.path(), later), later).await.chain[1], after.chain[1]);
        assert_eq!(fs::read(ca.root_pem_path()).unwrap(), root);
    }

    #[test]
    fn files_that_do_not_belong_together_are_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = |file: &str| folder.path().join("internal-ca").join(file);
        open(folder.path(), NOW);
        fs::copy(path(ROOT_KEY), path(INTERMEDIATE_KEY)).unwrap();
        let error = InternalCa::open("internal".into(), folder.path(), DAY, NOW).err().unwrap();
        assert!(error.to_string().contains("does not belong to the key beside it"), "{error}");
    }
}
