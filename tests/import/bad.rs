//! Bad PEM files of many kinds in one folder: each is told with its place and why, and costs no
//! other one anything.

use std::collections::BTreeMap;
use std::fs;

use nameplate::certs::import::haproxy;
use rcgen::{DnType, SanType};

use super::house::{Bed, Told};
use super::made::{Ca, Leaf, NOW, openssl, p256, params, pem_of};

/// What a file holds, and what is said of it; nothing where it is good.
type Case = (&'static str, Vec<u8>, &'static str);

/// A certificate that openssl made for `a.test` with this key.
fn self_signed(key: &str, more: &[&str]) -> Vec<u8> {
    let usual = ["req", "-x509", "-key", "/dev/stdin", "-subj", "/CN=a", "-days", "3650"];
    let san = ["-addext", "subjectAltName=DNS:a.test"];
    (openssl(&[&usual[..], &san, more].concat(), key) + key).into_bytes()
}

fn cut_and_mixed_up(leaf: &Leaf) -> Vec<Case> {
    let (chain, key) = (leaf.chain(), leaf.key.serialize_pem());
    let whole = leaf.text();
    let not_pem = "it is no valid PEM: a block has no end, or its base64 is broken";
    vec![
        ("empty", Vec::new(), "it has no certificate"),
        ("text", b"hello".to_vec(), "it has no certificate"),
        ("cut-in-the-leaf", whole[..200].into(), not_pem),
        ("cut-in-the-key", whole[..whole.len() - 40].into(), not_pem),
        ("garbage", chain.replace('M', "!").into(), not_pem),
        ("der", leaf.der.clone(), "it is DER, not PEM"),
        ("utf-16", whole.encode_utf16().flat_map(u16::to_le_bytes).collect(), "it has no certificate"),
        ("no-key", chain.clone().into(), "it has no private key"),
        ("no-certificate", key.clone().into(), "it has no certificate"),
        ("anothers-key", (chain.clone() + &p256().serialize_pem()).into(), "does not belong to any"),
        (
            "encrypted",
            (chain.clone() + &openssl(&["pkcs8", "-topk8", "-passout", "pass:x"], &key)).into(),
            "its private key is encrypted",
        ),
        ("no-der", (pem_of("CERTIFICATE", b"abc") + &key).into(), "a certificate in it cannot be parsed"),
        ("large", vec![b'\n'; (1 << 20) + 1], "it is larger than 1 MiB"),
    ]
}

fn unfit(ca: &Ca) -> Vec<Case> {
    let mut by_address = params(&[], 2099);
    by_address.subject_alt_names.push(SanType::IpAddress([192, 0, 2, 1].into()));
    let mut common_name = params(&[], 2099);
    common_name.distinguished_name.push(DnType::CommonName, "a.test");
    let two = ca.leaf(&["one.test"], 2099, p256()).text() + &ca.leaf(&["two.test"], 2099, p256()).text();
    let key = |arguments: &[&str]| openssl(arguments, "");
    let unsupported = "its key type is not supported";
    let explicit = key(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-param_enc", "explicit"]);
    let dsa_parameters = key(&["dsaparam", "1024"]);
    let dsa = openssl(&["gendsa", "/dev/stdin"], &dsa_parameters);
    vec![
        ("expired", ca.leaf_from(&["a.test"], 2020, 2021).text().into(), "it expired at 2021-01-01"),
        ("early", ca.leaf_from(&["a.test"], 2090, 2091).text().into(), "it is not valid before 2090-01-01"),
        ("by-address", ca.sign(by_address, p256()).text().into(), "it has no DNS name that can be served"),
        ("common-name-alone", ca.sign(common_name, p256()).text().into(), "it has no DNS name"),
        ("two-pairs", two.into(), "it has 2 certificates with their private keys"),
        ("sha-1", self_signed(&key(&["genrsa", "2048"]), &["-sha1"]), "it is signed with SHA-1"),
        ("rsa-1024", self_signed(&key(&["genrsa", "1024"]), &[]), unsupported),
        (
            "p-521",
            self_signed(&key(&["ecparam", "-name", "secp521r1", "-genkey", "-noout"]), &[]),
            unsupported,
        ),
        ("explicit-curve", self_signed(&explicit, &[]), unsupported),
        ("dsa", self_signed(&dsa, &[]), unsupported),
    ]
}

/// Odd ones that are good all the same, each for a name of its own.
fn odd(ca: &Ca) -> Vec<Case> {
    let leaf = |name: &str| ca.leaf(&[name], 2099, p256());
    let (crlf, mark, text, first) =
        (leaf("crlf.test"), leaf("mark.test"), leaf("text.test"), leaf("first.test"));
    let (reversed, twice, keys) = (leaf("reversed.test"), leaf("twice.test"), leaf("keys.test"));
    let intermediate = pem_of("CERTIFICATE", &ca.intermediate);
    let reversed_text = intermediate + &pem_of("CERTIFICATE", &reversed.der) + &reversed.key.serialize_pem();
    vec![
        ("crlf", crlf.text().replace('\n', "\r\n").into(), ""),
        ("mark", format!("\u{feff}{}", mark.text()).into(), ""),
        ("leading-text", format!("Bag Attributes\n  friendlyName: a\n\n{}", text.text()).into(), ""),
        ("key-first", (first.key.serialize_pem() + &first.chain()).into(), ""),
        ("reversed", reversed_text.into(), ""),
        ("twice", (twice.text() + &twice.text()).into(), ""),
        ("two-keys", (p256().serialize_pem() + &keys.text()).into(), ""),
    ]
}

#[tokio::test]
async fn each_bad_file_is_told_with_its_reason_and_the_good_ones_are_imported() {
    let (bed, ca) = (Bed::new().await, Ca::new());
    let cases = [cut_and_mixed_up(&ca.leaf(&["a.test"], 2099, p256())), unfit(&ca), odd(&ca)].concat();
    for (name, content, _) in &cases {
        bed.write(&format!("{name}.pem"), content);
    }
    fs::create_dir(bed.folder().join("folder.pem")).unwrap();
    std::os::unix::fs::symlink("itself.pem", bed.folder().join("itself.pem")).unwrap();
    // Certificates that openssl makes begin now, whenever that is.
    let (summary, told) = bed.apply(haproxy::open(&bed.folder(), now()).unwrap()).await;

    let told: BTreeMap<&str, &Told> = told.iter().map(|one| (&*one.place, one)).collect();
    let said = |file: &str| told[format!("{file}.pem").as_str()].skipped.as_deref().unwrap_or_default();
    for (name, _, why) in &cases {
        let said = said(name);
        assert_eq!(said.is_empty(), why.is_empty(), "{name}: {said}");
        assert!(said.contains(why), "{name}: {said}");
    }
    assert!(said("itself").contains("itself.pem cannot be read"), "{}", said("itself"));
    assert!(!told.contains_key("folder.pem"));
    let good = cases.iter().filter(|(_, _, why)| why.is_empty()).count() as u64;
    assert_eq!((summary.items, summary.used, summary.names), (cases.len() as u64 + 1, good, good));
    for name in ["crlf", "mark", "text", "first", "reversed", "twice", "keys"] {
        let found = bed.find(&format!("{name}.test")).await.unwrap_or_else(|| panic!("{name}"));
        assert_eq!(found.chain.len(), 2, "{name}");
    }
}

/// [`NOW`], or the machine's time where that is later.
fn now() -> nameplate::domain::clock::UnixTime {
    use nameplate::domain::clock::{Clock, SystemClock};
    NOW.max(SystemClock.now())
}
