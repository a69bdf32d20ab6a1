//! What is taken, and what is not, with the reason.

use openssl::nid::Nid;
use openssl::symm::Cipher;
use serde_json::{Value, json};

use crate::bed::program::run;
use crate::ca::{OwnCa, ec, ed25519, of_its_kind, p256, pem, pkcs8, rsa, self_signed, serial, text};
use crate::house::{House, Reply, house};

pub const SHOP: &str = "shop.customer.test";

/// A registered hostname whose DNS leads elsewhere, so that nothing is ordered for it.
pub async fn registered(house: &House, token: &str, name: &str) {
    house.ca.set_dns("add-a", json!({ "host": format!("{name}."), "addresses": ["203.0.113.9"] })).await;
    assert_eq!(house.register(token, name).await.status, 201);
}

/// Brings a certificate for a hostname.
pub async fn put(house: &House, token: &str, name: &str, fullchain: &str, key: &str) -> Reply {
    let body = json!({ "data": { "attributes": { "fullchain": fullchain, "private_key": key } } });
    let path = format!("/sites/default/hostnames/{name}/certificate");
    house.call(token, "PUT", &path, Some(body)).await
}

/// Brings one, which must be taken.
pub async fn brought(house: &House, token: &str, name: &str, fullchain: &str, key: &str) -> Value {
    let reply = put(house, token, name, fullchain, key).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(!reply.body.to_string().contains("PRIVATE"), "no key is shown");
    reply.attributes().clone()
}

/// Serial number of what a handshake shows.
pub async fn shown(house: &House, name: &str) -> String {
    let served = house.edge.handshake(name).await;
    served.unwrap_or_else(|why| panic!("{name}: {why:?}\n{}", house.edge.log())).serial()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_at_the_beginning_of_a_text_hides_nothing() {
    let house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, key) = (OwnCa::new(), p256());
    let leaf = ca.leaf(&[SHOP], &key);
    let marked = |text: String| format!("\u{feff}{text}");
    brought(&house, &token, SHOP, &marked(ca.fullchain(&leaf)), &marked(pkcs8(&key))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_kind_are_taken_in_every_form_and_the_chain_is_mended() {
    let mut house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, stranger) = (OwnCa::new(), OwnCa::new());
    house.edge.client.roots.push(ca.root.clone());
    let keys = [
        ("rsa2048", rsa(2048)),
        ("rsa", rsa(3072)),
        ("rsa", rsa(4096)),
        ("p256", p256()),
        ("p384", ec(Nid::SECP384R1)),
    ];
    for (key_type, key) in &keys {
        for text in [pkcs8(key), of_its_kind(key)] {
            let leaf = ca.leaf(&["*.customer.test", "other.test"], key);
            let [one, issuer, root] = [&leaf, &ca.intermediate, &ca.root].map(pem);
            let chain = [root, pem(&stranger.intermediate), issuer.clone(), "words\r\n".into(), one.clone()];
            let attributes = brought(&house, &token, SHOP, &chain.concat(), &text).await;
            let kinds: Vec<&Value> =
                attributes["certificates"].as_array().unwrap().iter().map(|one| &one["key_type"]).collect();
            assert!(kinds.contains(&&json!(key_type)), "{kinds:?}");
            assert_eq!(attributes["warnings"], json!([]), "{key_type}");
            let path = format!("/sites/default/hostnames/{SHOP}/certificate");
            let served = house.edge.handshake(SHOP).await.unwrap();
            assert_eq!(served.serial(), serial(&leaf), "{key_type}: at once");
            assert_eq!(served.chain(), [one, issuer], "{key_type}: leaf first, without root and strangers");
            assert_eq!(house.call(&token, "DELETE", &path, None).await.status, 204);
        }
    }
    // No client of this kind is at hand that takes it by default, so it is shown by its facts alone.
    let key = ed25519();
    let attributes =
        brought(&house, &token, SHOP, &ca.fullchain(&ca.leaf(&[SHOP], &key)), &pkcs8(&key)).await;
    assert_eq!(attributes["certificates"][0]["key_type"], "ed25519");
    assert_eq!(attributes["warnings"][0]["code"], "ed25519");
    assert!(house.edge.get(SHOP, "/").await.starts_with("HTTP/1.1 200"), "OpenSSL's clients take it");
    assert_eq!(house.ca.orders_for(SHOP), 0);
}

/// What is wrong, with the texts, the code and the text to blame, and a part of the sentence.
fn faults(ca: &OwnCa) -> Vec<(&'static str, String, String, &'static str, &'static str, &'static str)> {
    const CHAIN: &str = "/data/attributes/fullchain";
    const KEY: &str = "/data/attributes/private_key";
    let key = p256();
    let good = ca.fullchain(&ca.leaf(&[SHOP], &key));
    let plain = pkcs8(&key);
    let locked = text(key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret"));
    let old = text(key.ec_key().unwrap().private_key_to_pem_passphrase(Cipher::aes_256_cbc(), b"secret"));
    let public = text(key.public_key_to_pem());
    let request = {
        let mut request = openssl::x509::X509Req::builder().unwrap();
        request.set_pubkey(&key).unwrap();
        request.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
        text(request.build().to_pem())
    };
    let of = |names: &[&str], key: &crate::ca::Key, within| ca.fullchain(&ca.leaf_within(names, key, within));
    let year = (-3600, 31_536_000);
    let (weak, long, curve) = (rsa(1024), rsa(4104), ec(Nid::SECP521R1));
    let torn = good.trim_end().trim_end_matches("-----END CERTIFICATE-----").to_owned();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    vec![
        ("words", "garbage".into(), plain.clone(), "not_pem", CHAIN, "no valid PEM"),
        ("nothing", String::new(), plain.clone(), "not_pem", CHAIN, "no valid PEM"),
        ("a torn block", torn, plain.clone(), "not_pem", CHAIN, "no end"),
        ("no X.509", garbage.into(), plain.clone(), "unreadable_certificate", CHAIN, "cannot be read"),
        ("a key as chain", plain.clone(), plain.clone(), "no_certificate", CHAIN, "no certificate"),
        ("a request", request, plain.clone(), "no_certificate", CHAIN, "signing request"),
        ("a word as key", good.clone(), "x".into(), "not_pem", KEY, "no valid PEM"),
        ("a chain as key", good.clone(), good.clone(), "no_private_key", KEY, "no private key"),
        ("a public key", good.clone(), public, "no_private_key", KEY, "public key"),
        ("a locked key", good.clone(), locked, "encrypted_key", KEY, "openssl pkey"),
        ("an old locked key", good.clone(), old, "encrypted_key", KEY, "encrypted"),
        ("two keys", good.clone(), plain.clone() + &pkcs8(&p256()), "several_keys", KEY, "several"),
        ("another key", good.clone(), pkcs8(&p256()), "key_mismatch", KEY, "does not belong"),
        ("a key of another kind", good, pkcs8(&rsa(2048)), "key_mismatch", KEY, "does not belong"),
        ("a weak key", of(&[SHOP], &weak, year), pkcs8(&weak), "weak_key", CHAIN, "1024 bits"),
        ("a long key", of(&[SHOP], &long, year), pkcs8(&long), "long_key", CHAIN, "4104 bits"),
        ("another curve", of(&[SHOP], &curve, year), pkcs8(&curve), "unsupported_key", CHAIN, "P-256"),
        ("the past", of(&[SHOP], &key, (-9, -1)), plain.clone(), "certificate_expired", CHAIN, "expired at"),
        (
            "the future",
            of(&[SHOP], &key, (99, 999)),
            plain.clone(),
            "certificate_not_yet_valid",
            CHAIN,
            "before",
        ),
        (
            "other names",
            of(&["a.test", "*.b.test", "customer.test"], &key, year),
            plain.clone(),
            "hostname_not_covered",
            CHAIN,
            "it covers a.test, *.b.test, customer.test",
        ),
        ("no names", of(&["a_b.test"], &key, year), plain, "hostname_not_covered", CHAIN, "no name"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_told_with_the_text_that_is_to_blame_and_changes_nothing() {
    let house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let ca = OwnCa::new();
    for (what, chain, key, code, pointer, part) in faults(&ca) {
        let reply = put(&house, &token, SHOP, &chain, &key).await;
        let error = &reply.body["errors"][0];
        assert_eq!((reply.status, reply.code()), (422, code), "{what}: {error}");
        assert_eq!(error["source"]["pointer"], pointer, "{what}");
        assert!(error["detail"].as_str().unwrap().contains(part), "{what}: {error}");
        assert!(!reply.body.to_string().contains("BEGIN PRIVATE KEY-----\n"), "{what}: no key comes back");
    }
    let path = format!("/sites/default/hostnames/{SHOP}/certificate");
    for (attributes, status, code) in [
        (json!({ "fullchain": "x" }), 422, "invalid_value"),
        (json!({ "fullchain": 7, "private_key": "x" }), 422, "wrong_type"),
        (json!({ "fullchain": "x", "private_key": "x", "password": "x" }), 422, "unknown_attribute"),
        (json!({ "fullchain": "x".repeat(70_000), "private_key": "x" }), 413, "body_too_large"),
    ] {
        let reply =
            house.call(&token, "PUT", &path, Some(json!({ "data": { "attributes": attributes } }))).await;
        assert_eq!((reply.status, reply.code()), (status, code));
    }
    assert!(house.edge.handshake(SHOP).await.is_err(), "nothing was taken");
    assert_eq!(house.call(&token, "DELETE", &path, None).await.status, 404);
    assert_eq!(house.get(&token, SHOP).await.attributes()["certificates"], json!([]));
    assert!(!house.edge.log().contains("PRIVATE KEY"), "no key is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_all_the_same_is_warned_of() {
    let house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, key) = (OwnCa::new(), p256());
    let codes = async |chain: &str, key: &str| {
        let attributes = brought(&house, &token, SHOP, chain, key).await;
        let warnings = attributes["warnings"].as_array().unwrap().clone();
        warnings.iter().map(|warning| warning["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let leaf = ca.leaf(&[SHOP], &key);
    assert_eq!(codes(&pem(&leaf), &pkcs8(&key)).await, ["chain_incomplete"]);
    assert_eq!(codes(&pem(&self_signed(&[SHOP], &key)), &pkcs8(&key)).await, ["self_signed"]);
    let soon = ca.leaf_within(&[SHOP], &key, (-90 * 86_400, 86_400));
    assert_eq!(codes(&ca.fullchain(&soon), &pkcs8(&key)).await, ["ends_soon"]);
    assert_eq!(codes(&ca.fullchain(&leaf), &pkcs8(&key)).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whoever_may_write_and_holds_the_name_brings_one() {
    let house = house("[[site]]\nname = \"dogs\"\norganization = \"dogs\"\norigins = [\"{other}\"]\n").await;
    let (cats, dogs) = (house.token("cats", "write"), house.token("dogs", "write"));
    registered(&house, &cats, SHOP).await;
    let body = json!({ "data": { "attributes": { "hostname": SHOP } } });
    assert_eq!(house.call(&dogs, "POST", "/sites/dogs/hostnames", Some(body)).await.status, 201);
    let (ca, key) = (OwnCa::new(), p256());
    let (chain, key) = (ca.fullchain(&ca.leaf(&[SHOP], &key)), pkcs8(&key));
    let body = json!({ "data": { "attributes": { "fullchain": chain, "private_key": key } } });
    let own = format!("/sites/default/hostnames/{SHOP}/certificate");
    let theirs = format!("/sites/dogs/hostnames/{SHOP}/certificate");
    for (token, path, status, code) in [
        (&house.token("cats", "read"), &own, 403, "scope_too_small"),
        (&dogs, &own, 404, "not_found"),
        (&dogs, &theirs, 409, "not_held"),
        (&cats, &"/sites/default/hostnames/other.test/certificate".to_owned(), 404, "not_found"),
    ] {
        let reply = house.call(token, "PUT", path, Some(body.clone())).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        assert!(status == 403 || reply.code() == code, "{}", reply.body);
    }
    assert_eq!(house.call(&dogs, "DELETE", &theirs, None).await.status, 404);
    assert_eq!(house.call(&cats, "PUT", &own, Some(body)).await.status, 200);
    assert_eq!(house.call(&cats, "DELETE", &format!("{own}?family=dsa"), None).await.status, 400);
    assert_eq!(house.call(&cats, "DELETE", &format!("{own}?family=rsa"), None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_brought_and_taken_away_from_the_shell_and_leaves_a_trail() {
    let house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, key) = (OwnCa::new(), p256());
    let leaf = ca.leaf(&[SHOP], &key);
    let folder = house.edge.folder();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let (chain, key) = (file("own.pem", &ca.fullchain(&leaf)), file("own.key", &pkcs8(&key)));
    let api = format!("http://{}", house.edge.admin);
    let shell = async |arguments: &[&str]| {
        run(&[&["hostname", "certificate"], arguments, &["--api", &api, "--token", &token]].concat()).await
    };
    let ran = shell(&["set", SHOP, "--certificate", &chain, "--key", &key]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("p256: valid until") && !ran.out.contains("PRIVATE"), "{}", ran.out);
    assert_eq!(handshake(&house).await.as_deref(), Some(&*serial(&leaf)));
    let ran = shell(&["set", SHOP, "--certificate", &key, "--key", &key]).await;
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.err.contains("no certificate") && ran.err.contains("fullchain"), "{}", ran.err);
    let ran = shell(&["remove", SHOP, "--family", "rsa"]).await;
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert_eq!(shell(&["remove", SHOP]).await.code, 0);
    assert_eq!(handshake(&house).await, None);
    let events = house.call(&token, "GET", "/events?filter[audit]=true", None).await.body.to_string();
    assert!(events.contains("certificate.set") && events.contains("certificate.removed"), "{events}");
    assert!(!events.contains("PRIVATE") && !house.edge.log().contains("PRIVATE"));
}

/// As a client that verifies nothing sees it.
async fn handshake(house: &House) -> Option<String> {
    let client = crate::bed::client::Client::default();
    client.handshake(house.edge.https, SHOP).await.ok().map(|served| served.serial())
}
