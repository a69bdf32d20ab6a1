//! Certificates from PEM texts, good ones and bad ones.

use std::fs;

use nameplate::certs::{PemError, pem};
use nameplate::domain::certificate::{Certificate, KeyType, Source};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SanType};
use tempfile::TempDir;

use super::made::{Ca, NOW, names, openssl, p256, params, pem_of};

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

fn read(text: &str) -> Result<Vec<Certificate>, PemError> {
    pem::read(text.as_bytes(), NOW)
}
