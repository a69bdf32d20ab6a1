//! Sealing keys, sealed values and the local tier that is made of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nameplate::domain::certificate::{Certificate, KeyType, PrivateKey, Source, Validity};
use nameplate::domain::clock::UnixTime;
use nameplate::store::local::{DAMAGED_FOLDER, LocalTier};
use nameplate::store::seal::{Record, SealingKey};
use nameplate::store::{Error, SealError, key_file};
use tempfile::TempDir;

const A: Record<'static> = Record { kind: "certificate", of: "a.test", beside: b"chain" };

#[test]
fn a_sealed_value_opens_for_its_own_record_only() {
    let key = SealingKey::random();
    let sealed = key.seal(A, b"secret");
    assert_eq!(*key.open(A, &sealed).unwrap(), b"secret");
    for other in [
        Record { of: "b.test", ..A },
        Record { kind: "account", ..A },
        Record { beside: b"other", ..A },
        Record { of: "a.testchain", beside: b"", ..A },
    ] {
        assert!(matches!(key.open(other, &sealed), Err(SealError::Damaged { .. })));
    }
}

#[test]
fn a_sealed_value_that_was_changed_or_cut_does_not_open() {
    let key = SealingKey::random();
    let sealed = key.seal(A, b"secret");
    for index in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[index] ^= 1;
        assert!(key.open(A, &changed).is_err(), "octet {index}");
        assert!(key.open(A, &sealed[..index]).is_err(), "cut at {index}");
    }
}

#[test]
fn a_value_sealed_twice_looks_different_and_hides_its_content() {
    let key = SealingKey::random();
    let (one, two) = (key.seal(A, b"a secret text"), key.seal(A, b"a secret text"));
    assert_ne!(one, two);
    assert!(!one.windows(6).any(|part| part == b"secret"));
}

#[test]
fn another_key_is_named_in_the_error() {
    let (key, other) = (SealingKey::random(), SealingKey::random());
    let error = other.open(A, &key.seal(A, b"secret")).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, SealError::OtherKey { .. }));
    assert!(text.contains("a.test") && text.contains(&key.id()) && text.contains(&other.id()), "{text}");
}

#[test]
fn a_missing_key_is_made_once_and_read_by_its_owner_only() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data").join("store.key");
    assert!(matches!(key_file::load(&path).err(), Some(Error::File { .. })));
    let ids: Vec<String> = std::thread::scope(|scope| {
        let makers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| key_file::load_or_make(&path).unwrap().id())).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(key_file::load(&path).unwrap().id(), ids[0]);
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(files_under(folder.path()), std::slice::from_ref(&path), "nothing else is left");
    assert_eq!(STANDARD.decode(fs::read_to_string(path).unwrap().trim()).unwrap().len(), 32);
}

#[test]
fn a_key_file_that_others_read_or_that_holds_no_key_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.key");
    key_file::load_or_make(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = key_file::load_or_make(&path).err().unwrap().to_string();
    assert!(error.contains("640") && error.contains("chmod 600"), "{error}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    key_file::load(&path).unwrap();
    fs::remove_file(&path).unwrap();
    for wrong in ["", "not base64!", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33])] {
        fs::write(&path, wrong).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = key_file::load_or_make(&path).err().unwrap();
        assert!(matches!(error, Error::Seal(SealError::KeyFile { .. })), "{wrong:?}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), wrong, "it is not replaced");
    }
}

#[tokio::test]
async fn the_local_tier_gives_back_what_it_kept_until_it_forgets() {
    let folder = TempDir::new().unwrap();
    let (key, kept) = (SealingKey::random(), certificate("*.shop.test"));
    let tier = open(&folder, &key);
    assert!(tier.load(&kept.name).await.unwrap().is_none());
    tier.keep(&certificate("*.shop.test")).await.unwrap();
    tier.keep(&Certificate { key_type: KeyType::Ed25519, ..kept.clone() }).await.unwrap();
    tier.keep(&certificate("b.test")).await.unwrap();

    let found = open(&folder, &key).load(&kept.name).await.unwrap().unwrap();
    assert_eq!((found.name, found.chain, found.key), (kept.name.clone(), kept.chain, kept.key));
    assert_eq!((found.validity, found.source), (kept.validity, kept.source));
    assert_eq!(found.key_type, KeyType::Ed25519, "the newer one");

    tier.forget(&kept.name).await.unwrap();
    tier.forget(&kept.name).await.unwrap();
    assert!(tier.load(&kept.name).await.unwrap().is_none());
    assert!(tier.load(&certificate("b.test").name).await.unwrap().is_some());
}

#[tokio::test]
async fn no_path_of_the_local_tier_shows_a_name_and_no_file_a_key() {
    let folder = TempDir::new().unwrap();
    let kept = certificate("shop.test");
    open(&folder, &SealingKey::random()).keep(&kept).await.unwrap();
    let files = files_under(&tier_folder(&folder));
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert!(!file.to_string_lossy().contains("shop"), "{file:?}");
    assert_eq!(
        (mode(file), mode(file.parent().unwrap()), mode(&tier_folder(&folder))),
        (0o600, 0o700, 0o700)
    );
    let content = fs::read(file).unwrap();
    for clear in [kept.key.der(), b"shop.test"] {
        assert!(!content.windows(clear.len()).any(|part| part == clear));
    }
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_the_others_are_good() {
    let folder = TempDir::new().unwrap();
    let tier = open(&folder, &SealingKey::random());
    let (a, b) = (certificate("a.test"), certificate("b.test"));
    tier.keep(&a).await.unwrap();
    let file = files_under(&tier_folder(&folder)).remove(0);
    tier.keep(&b).await.unwrap();
    for round in 1..=2 {
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let error = tier.load(&a.name).await.unwrap_err();
        assert!(error.to_string().contains("a.test"), "{error}");
        let aside = files_under(&tier_folder(&folder).join(DAMAGED_FOLDER));
        assert_eq!(aside.len(), round, "moved, and nothing deleted");
        assert!(tier.load(&a.name).await.unwrap().is_none());
        assert!(tier.load(&b.name).await.unwrap().is_some());
        tier.keep(&a).await.unwrap();
        assert!(tier.load(&a.name).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_file_in_another_names_place_is_not_served() {
    let folder = TempDir::new().unwrap();
    let tier = open(&folder, &SealingKey::random());
    let (a, b) = (certificate("a.test"), certificate("b.test"));
    tier.keep(&a).await.unwrap();
    let of_a = files_under(&tier_folder(&folder)).remove(0);
    tier.keep(&b).await.unwrap();
    let of_b = files_under(&tier_folder(&folder)).into_iter().find(|file| *file != of_a).unwrap();
    fs::copy(of_b, &of_a).unwrap();
    assert!(matches!(tier.load(&a.name).await, Err(Error::Seal(SealError::Damaged { .. }))));
}

#[tokio::test]
async fn files_of_another_key_stay_where_they_are() {
    let folder = TempDir::new().unwrap();
    let (key, kept) = (SealingKey::random(), certificate("a.test"));
    open(&folder, &key).keep(&kept).await.unwrap();
    let error = open(&folder, &SealingKey::random()).load(&kept.name).await.unwrap_err();
    assert!(matches!(error, Error::Seal(SealError::OtherKey { .. })), "{error}");
    assert!(open(&folder, &key).load(&kept.name).await.unwrap().is_some());
}

#[tokio::test]
async fn many_writers_of_one_name_leave_one_whole_file() {
    let folder = TempDir::new().unwrap();
    let tier = open(&folder, &SealingKey::random());
    let kept = certificate("a.test");
    let writes = (0..50).map(|_| tier.keep(&kept));
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    assert!(tier.load(&kept.name).await.unwrap().is_some());
    assert_eq!(files_under(&tier_folder(&folder)).len(), 1);
}

fn open(folder: &TempDir, key: &SealingKey) -> LocalTier {
    LocalTier::open(&tier_folder(folder), key.clone()).unwrap()
}

fn tier_folder(folder: &TempDir) -> PathBuf {
    folder.path().join("local")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_under(&path)),
            false => files.push(path),
        }
    }
    files
}

fn certificate(name: &str) -> Certificate {
    Certificate {
        name: name.parse().unwrap(),
        chain: vec![b"leaf".to_vec(), vec![7; 1_000]],
        key: PrivateKey::from_der(b"the private key".repeat(9)),
        key_type: KeyType::P384,
        validity: Validity { not_before: UnixTime(-5), not_after: UnixTime(4_000_000_000) },
        source: Source::Imported,
    }
}
