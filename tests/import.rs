//! Certificates from PEM files, and whole folders of them into the store.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nameplate::certs::import::{PemFolder, Report, import_folder};
use nameplate::certs::{PemError, pem};
use nameplate::domain::certificate::{Certificate, KeyType, Source};
use nameplate::domain::clock::{SystemClock, UnixTime};
use nameplate::store::Store;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::SqliteStore;
use nameplate::telemetry::metrics::Metrics;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType, date_time_ymd,
};
use tempfile::TempDir;

/// 2026-06-01T00:00:00Z: leafs of the tests are valid from 2026-01-01 to 2027-01-01 or later.
const NOW: UnixTime = UnixTime(1_780_272_000);

#[test]
fn every_name_of_a_leaf_becomes_a_certificate() {
    let ca = Ca::new();
    let pair = ca.leaf(&["Shop.test", "*.shop.test", "shop.test", "localhost"], 2027, p256());
    let read = read(&pair.text()).unwrap();
    assert_eq!(names(&read), ["shop.test", "*.shop.test", "localhost"], "each once");
    for one in &read {
        assert_eq!(one.chain, [pair.der.clone(), ca.intermediate.clone()]);
        assert_eq!(one.key.der(), pair.key.serialize_der());
        assert_eq!((one.key_type, &one.source), (KeyType::P256, &Source::Imported));
        assert_eq!(one.validity.not_before.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(one.validity.not_after.to_string(), "2027-01-01T00:00:00Z");
    }
}

#[test]
fn the_order_of_blocks_does_not_matter_and_strangers_are_left_out() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let leaf = ca.leaf(&["a.test"], 2027, p256());
    let parameters = "-----BEGIN DH PARAMETERS-----\nMAA=\n-----END DH PARAMETERS-----\n";
    let mut parts = [
        pem_of("CERTIFICATE", &leaf.der),
        pem_of("CERTIFICATE", &ca.root),
        pem_of("CERTIFICATE", &ca.intermediate),
        pem_of("CERTIFICATE", &stranger.intermediate),
        pem_of("CERTIFICATE", &leaf.der),
        leaf.key.serialize_pem(),
        parameters.to_owned(),
        "a line of text\n".to_owned(),
    ];
    for _ in 0..parts.len() {
        parts.rotate_left(1);
        for text in [parts.concat(), parts.concat().replace('\n', "\r\n")] {
            let read = read(&text).unwrap();
            assert_eq!(read[0].chain, [leaf.der.clone(), ca.intermediate.clone()]);
        }
    }
}

#[test]
fn of_issuers_with_one_name_the_one_with_the_right_key_follows() {
    let (ca, twin) = (Ca::new(), Ca::new());
    let leaf = ca.leaf(&["a.test"], 2027, p256());
    let text = [
        leaf.key.serialize_pem(),
        pem_of("CERTIFICATE", &leaf.der),
        pem_of("CERTIFICATE", &twin.intermediate),
        pem_of("CERTIFICATE", &ca.intermediate),
    ];
    assert_eq!(read(&text.concat()).unwrap()[0].chain, [leaf.der, ca.intermediate]);
}

#[test]
fn a_leaf_without_chain_and_a_self_signed_one_are_read() {
    let leaf = Ca::new().leaf(&["a.test"], 2027, p256());
    let text = pem_of("CERTIFICATE", &leaf.der) + &leaf.key.serialize_pem();
    assert_eq!(read(&text).unwrap()[0].chain, [leaf.der]);

    let key = p256();
    let own = params(&["b.test"], 2027).self_signed(&key).unwrap();
    let text = key.serialize_pem() + &pem_of("CERTIFICATE", own.der());
    assert_eq!(read(&text).unwrap()[0].chain, [own.der().to_vec()]);
}

#[test]
fn keys_of_every_supported_type_and_form_are_read() {
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap();
    let ca = Ca::new();
    for (key, key_type, older_form) in [
        (p256(), KeyType::P256, Some("EC PRIVATE KEY")),
        (KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), KeyType::P384, Some("EC PRIVATE KEY")),
        (KeyPair::generate_for(&PKCS_ED25519).unwrap(), KeyType::Ed25519, None),
        (rsa(RsaKeySize::_2048), KeyType::Rsa2048, Some("RSA PRIVATE KEY")),
        (rsa(RsaKeySize::_3072), KeyType::Rsa, Some("RSA PRIVATE KEY")),
    ] {
        let leaf = ca.leaf(&["a.test"], 2027, key);
        let read_once = read(&leaf.text()).unwrap().remove(0);
        assert_eq!(read_once.key_type, key_type);
        let kept = pem_of("PRIVATE KEY", read_once.key.der());
        // As OpenSSL writes them: PKCS#8, and SEC1 or PKCS#1.
        let certificate = pem_of("CERTIFICATE", &leaf.der);
        let plain = openssl(&["pkey"], &kept);
        assert_eq!(read(&(certificate.clone() + &plain)).unwrap()[0].key_type, key_type);
        if let Some(label) = older_form {
            let older = openssl(&["pkey", "-traditional"], &kept);
            assert!(older.contains(label), "{older}");
            assert_eq!(read(&(certificate + &older)).unwrap()[0].key_type, key_type);
        }
    }
}

#[test]
fn what_cannot_be_served_is_refused_with_its_reason() {
    let ca = Ca::new();
    let leaf = ca.leaf(&["a.test"], 2027, p256());
    let certificate = pem_of("CERTIFICATE", &leaf.der);
    let key = leaf.key.serialize_pem();
    let encrypted = openssl(&["pkcs8", "-topk8", "-passout", "pass:x"], &key);
    let old_encrypted = openssl(&["ec", "-aes128", "-passout", "pass:x"], &key);
    let p521 = openssl(&["ecparam", "-name", "secp521r1", "-genkey", "-noout"], "");
    let p521 = p521.clone()
        + &openssl(
            &["req", "-x509", "-key", "/dev/stdin", "-subj", "/CN=a", "-addext", "subjectAltName=DNS:a.test"],
            &p521,
        );
    let ip = SanType::IpAddress([127, 0, 0, 1].into());
    let mut nameless = params(&["a_b.test"], 2027);
    nameless.subject_alt_names.push(ip);
    let nameless = ca.sign(nameless, p256());
    let trailing = pem_of("CERTIFICATE", &[leaf.der.clone(), vec![0]].concat());
    let over = ca.leaf_from(&["a.test"], 2020, 2021);
    let early = ca.leaf_from(&["a.test"], 2030, 2031);
    type Is = fn(&PemError) -> bool;
    let cases: [(&str, String, Is); 14] = [
        ("nothing", String::new(), |e| matches!(e, PemError::NoCertificate)),
        ("no key", certificate.clone(), |e| matches!(e, PemError::NoKey)),
        ("no certificate", key.clone(), |e| matches!(e, PemError::NoCertificate)),
        ("another's key", certificate.clone() + &p256().serialize_pem(), |e| {
            matches!(e, PemError::KeyMismatch)
        }),
        ("encrypted", certificate.clone() + &encrypted, |e| matches!(e, PemError::EncryptedKey)),
        ("encrypted as of old", certificate.clone() + &old_encrypted, |e| {
            matches!(e, PemError::EncryptedKey)
        }),
        ("P-521", p521, |e| matches!(e, PemError::UnsupportedKey)),
        ("no names", nameless.text(), |e| matches!(e, PemError::NoNames)),
        ("expired", over.text(), |e| matches!(e, PemError::Expired { .. })),
        ("too early", early.text(), |e| matches!(e, PemError::NotYetValid { .. })),
        ("cut", certificate[..certificate.len() - 40].to_owned(), |e| matches!(e, PemError::NotPem)),
        ("no base64", certificate.replace('M', "!") + &key, |e| matches!(e, PemError::NotPem)),
        ("no DER", pem_of("CERTIFICATE", b"abc") + &key, |e| matches!(e, PemError::Certificate { .. })),
        ("octets behind", trailing + &key, |e| matches!(e, PemError::Certificate { .. })),
    ];
    for (case, text, is) in cases {
        let error = read(&text).expect_err(case);
        assert!(is(&error), "{case}: {error}");
    }
}

#[test]
fn changed_and_cut_files_never_panic() {
    let text = Ca::new().leaf(&["a.test"], 2027, p256()).text().into_bytes();
    for index in 0..text.len() {
        let _any_answer = pem::read(&text[..index], NOW);
        let mut changed = text.clone();
        changed[index] = changed[index].wrapping_add(1);
        let _any_answer = pem::read(&changed, NOW);
    }
}

#[test]
fn certificate_and_key_may_be_in_two_files() {
    let folder = TempDir::new().unwrap();
    let leaf = Ca::new().leaf(&["*.example.io"], 2027, p256());
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    fs::write(&chain, pem_of("CERTIFICATE", &leaf.der).trim_end()).unwrap();
    fs::write(&key, leaf.key.serialize_pem()).unwrap();
    let read = pem::read_files(&chain, &key, NOW).unwrap();
    assert_eq!((names(&read), &read[0].source), (vec!["*.example.io"], &Source::File));

    let missing = pem::read_files(&chain, &folder.path().join("no.pem"), NOW).unwrap_err();
    assert!(missing.to_string().contains("no.pem"), "{missing}");
    fs::write(&key, vec![b'a'; (1 << 20) + 1]).unwrap();
    assert!(matches!(pem::read_files(&chain, &key, NOW), Err(PemError::TooLarge)));
}

#[tokio::test]
async fn a_dry_run_reports_and_an_applied_one_files() {
    let bed = Bed::new().await;
    let ca = Ca::new();
    bed.write("a.pem", &ca.leaf(&["a.test", "both.test"], 2027, p256()).text());
    bed.write("b.pem", &ca.leaf(&["both.test"], 2028, p256()).text());
    bed.write("c.pem", &ca.leaf(&["both.test"], 2027, p256()).text());
    bed.write("d.pem", "nothing");
    bed.write("e.txt", "not ours");
    fs::create_dir(bed.folder().join("f.pem")).unwrap();
    std::os::unix::fs::symlink("gone", bed.folder().join("g.pem")).unwrap();

    let report = bed.import(None).await;
    let files: Vec<(&str, bool)> = report.rows.iter().map(|row| (&*row.file, row.is_used())).collect();
    assert_eq!(
        files,
        [("a.pem", true), ("b.pem", true), ("c.pem", false), ("d.pem", false), ("g.pem", false)]
    );
    assert_eq!(report.names, 2);
    assert_eq!(report.rows[0].beaten, [("both.test".parse().unwrap(), 1)]);
    assert_eq!(report.rows[2].beaten, [("both.test".parse().unwrap(), 1)]);
    assert!(matches!(report.rows[3].skipped, Some(PemError::NoCertificate)));
    assert!(matches!(report.rows[4].skipped, Some(PemError::Unreadable { .. })));
    assert!(bed.store.names_after(None, 10).await.unwrap().is_empty(), "a dry run writes nothing");

    let report = bed.import(Some(&bed.store)).await;
    assert_eq!((report.names, report.kept), (2, 0));
    for (name, year) in [("a.test", "2027-01-01"), ("both.test", "2028-01-01")] {
        let found = bed.store.certificate(&name.parse().unwrap()).await.unwrap().unwrap();
        assert!(found.validity.not_after.to_string().starts_with(year), "{name}");
    }
}

#[tokio::test]
async fn what_the_store_has_for_longer_stays() {
    let bed = Bed::new().await;
    let ca = Ca::new();
    bed.write("a.pem", &ca.leaf(&["a.test"], 2028, p256()).text());
    bed.import(Some(&bed.store)).await;
    bed.write("a.pem", &ca.leaf(&["a.test"], 2027, p256()).text());
    assert_eq!(bed.import(Some(&bed.store)).await.kept, 1);
    let found = bed.store.certificate(&"a.test".parse().unwrap()).await.unwrap().unwrap();
    assert!(found.validity.not_after.to_string().starts_with("2028"));
}

#[tokio::test]
async fn more_files_than_a_batch_are_all_filed() {
    let bed = Bed::new().await;
    let ca = Ca::new();
    let key = p256();
    for number in 0..1_100 {
        let leaf = params(&[&format!("n{number}.test")], 2027).signed_by(&key, &ca.issuer).unwrap();
        bed.write(&format!("{number}.pem"), &(pem_of("CERTIFICATE", leaf.der()) + &key.serialize_pem()));
    }
    assert_eq!(bed.import(Some(&bed.store)).await.names, 1_100);
    assert_eq!(bed.store.names_after(None, 2_000).await.unwrap().len(), 1_100);
}

#[tokio::test]
async fn the_command_shows_a_table_and_whether_there_was_anything() {
    let folder = TempDir::new().unwrap();
    let mut out = Vec::new();
    let none = nameplate::cli::import::import(folder.path(), None, &mut out).await.unwrap();
    assert_eq!((none, out.as_slice()), (false, b"no *.pem files there\n".as_slice()));

    let leaf = Ca::new().leaf(&["a.test"], 4000, p256());
    fs::write(folder.path().join("a.pem"), leaf.text()).unwrap();
    fs::write(folder.path().join("b\x1b.pem"), "nothing").unwrap();
    out.clear();
    assert!(nameplate::cli::import::import(folder.path(), None, &mut out).await.unwrap());
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("FILE ") && lines[0].ends_with("  VERDICT"), "{text}");
    assert!(
        lines[1].starts_with("a.pem ") && lines[1].contains("  a.test  4000-01-01T00:00:00Z  "),
        "{text}"
    );
    assert!(lines[1].ends_with("will be imported"), "{text}");
    assert!(
        lines[2].contains(r"b\u{1b}.pem") && lines[2].contains("skipped: it has no certificate"),
        "{text}"
    );
    assert_eq!(
        lines[3..],
        ["1 names in 1 of 2 files; 1 files skipped", "nothing was written; add --apply to import"]
    );
    assert!(
        nameplate::cli::import::import(Path::new("/no/such/folder"), None, &mut Vec::new()).await.is_err()
    );
}

/// A folder of PEM files and a store.
struct Bed {
    root: TempDir,
    store: SqliteStore,
}

impl Bed {
    async fn new() -> Self {
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("pem")).unwrap();
        let metrics = Arc::new(Metrics::new("test"));
        let data_dir = root.path().join("data");
        let store = SqliteStore::open(&data_dir, SealingKey::random(), Arc::new(SystemClock), metrics);
        Self { store: store.await.unwrap(), root }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("pem")
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder().join(file), text).unwrap();
    }

    async fn import(&self, store: Option<&SqliteStore>) -> Report {
        let store = store.map(|store| store as &dyn Store);
        import_folder(PemFolder::open(&self.folder()).unwrap(), store, NOW, |_| ()).await.unwrap()
    }
}

/// Root and intermediate; every one has the same names, and keys of its own.
struct Ca {
    root: Vec<u8>,
    intermediate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A leaf, its key and its CA's intermediate.
struct Leaf {
    der: Vec<u8>,
    key: KeyPair,
    intermediate: Vec<u8>,
}

impl Ca {
    fn new() -> Self {
        let authority = |name: &str| {
            let mut params = params(&[], 2040);
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let (root_key, key) = (p256(), p256());
        let root = authority("Root").self_signed(&root_key).unwrap();
        let intermediate =
            authority("Intermediate").signed_by(&key, &Issuer::new(authority("Root"), root_key)).unwrap();
        Self {
            root: root.der().to_vec(),
            intermediate: intermediate.der().to_vec(),
            issuer: Issuer::new(authority("Intermediate"), key),
        }
    }

    /// Valid from 2026 to the first day of `until`.
    fn leaf(&self, names: &[&str], until: i32, key: KeyPair) -> Leaf {
        self.sign(params(names, until), key)
    }

    fn leaf_from(&self, names: &[&str], from: i32, until: i32) -> Leaf {
        let mut params = params(names, until);
        params.not_before = date_time_ymd(from, 1, 1);
        self.sign(params, p256())
    }

    fn sign(&self, params: CertificateParams, key: KeyPair) -> Leaf {
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Leaf { der, key, intermediate: self.intermediate.clone() }
    }
}

impl Leaf {
    fn text(&self) -> String {
        let certificates = [&self.der, &self.intermediate].map(|der| pem_of("CERTIFICATE", der));
        certificates.concat() + &self.key.serialize_pem()
    }
}

fn params(names: &[&str], until: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn read(text: &str) -> Result<Vec<Certificate>, PemError> {
    pem::read(text.as_bytes(), NOW)
}

fn names(certificates: &[Certificate]) -> Vec<&str> {
    certificates.iter().map(|one| one.name.as_str()).collect()
}

fn pem_of(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// What `openssl` prints when it is given `input`.
fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
