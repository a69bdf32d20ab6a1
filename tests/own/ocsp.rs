//! OCSP stapling, with the responder and the client that Debian's OpenSSL has.

use std::path::Path;
use std::process::Stdio;

use openssl::nid::Nid;
use openssl::x509::extension::ExtendedKeyUsage;
use openssl::x509::{X509, X509Builder, X509Extension};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::bad::{SHOP, brought, registered};
use crate::bed::{eventually, free_port};
use crate::ca::{Key, OwnCa, p256, pem, pkcs8, rsa, serial};
use crate::house::{House, house};

const ALLOWED: &str = "[ocsp]\nallow_private = [\"127.0.0.0/8\"]\n";

/// From an hour ago, in seconds.
const WITHIN: (i64, i64) = (-3600, 90 * 24 * 3600);

/// Names the responder at this port in a certificate.
fn responder(port: u16) -> impl Fn(&mut X509Builder) {
    move |builder| {
        let url = format!("OCSP;URI:http://127.0.0.1:{port}/");
        let context = builder.x509v3_context(None, None);
        #[allow(deprecated, reason = "there is no other way to write this extension")]
        let extension = X509Extension::new_nid(None, Some(&context), Nid::INFO_ACCESS, &url).unwrap();
        builder.append_extension(extension).unwrap();
    }
}

/// A running responder.
struct Responder {
    _process: Child,
    _folder: TempDir,
}

impl Responder {
    /// One that signs with `signer`; each certificate has a letter: V is valid, R revoked.
    async fn start(port: u16, ca: &OwnCa, known: &[(char, &X509)], signer: (&X509, &Key)) -> Self {
        let folder = TempDir::new().unwrap();
        let line = |(status, certificate): &(char, &X509)| {
            let revoked = if *status == 'R' { "260101000000Z" } else { "" };
            format!("{status}\t400101000000Z\t{revoked}\t{0}\tunknown\t/CN={0}\n", serial(certificate))
        };
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("index.txt", known.iter().map(line).collect());
        write("issuer.pem", pem(&ca.intermediate));
        write("signer.pem", pem(signer.0));
        write("signer.key", pkcs8(signer.1));
        let process = command(folder.path(), port).spawn().unwrap();
        // Not by a connection, since one without a question makes it wait for ever.
        eventually("the responder listens", async || {
            std::fs::read_to_string(folder.path().join("log")).is_ok_and(|log| log.contains("waiting for"))
        })
        .await;
        Self { _process: process, _folder: folder }
    }
}

fn command(folder: &Path, port: u16) -> Command {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let mut command = Command::new("openssl");
    command
        .args(["ocsp", "-index", "index.txt", "-CA", "issuer.pem", "-rsigner", "signer.pem"])
        .args(["-rkey", "signer.key", "-ndays", "1", "-port", &port.to_string()])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    command
}

/// What a client prints that asks for a status.
async fn said(house: &House, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &house.edge.https.to_string(), "-servername", SHOP, "-status"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn asked(house: &House, result: &str) -> f64 {
    house.edge.metric(&format!("ocsp_responses_total{{result=\"{result}\"}}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_the_certificate_that_is_shown_is_stapled_in_every_version() {
    let house = house(ALLOWED).await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, port) = (OwnCa::new(), free_port());
    let (ec, rsa) = (p256(), rsa(2048));
    let of_ec = ca.leaf_with(&[SHOP], &ec, WITHIN, responder(port));
    let of_rsa = ca.leaf_with(&[SHOP], &rsa, WITHIN, responder(port));
    // A responder of its own, which the issuer named.
    let key = p256();
    let delegated = ca.leaf_with(&["ocsp.test"], &key, WITHIN, |builder| {
        builder.append_extension(ExtendedKeyUsage::new().other("OCSPSigning").build().unwrap()).unwrap();
    });
    let known = [('V', &of_ec), ('V', &of_rsa)];
    let _responder = Responder::start(port, &ca, &known, (&delegated, &key)).await;
    for (leaf, key) in [(&of_ec, &ec), (&of_rsa, &rsa)] {
        brought(&house, &token, SHOP, &ca.fullchain(leaf), &pkcs8(key)).await;
    }
    eventually("both were asked about", async || asked(&house, "good").await == 2.0).await;
    for (arguments, leaf) in [
        (["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"], &of_ec),
        (["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], &of_rsa),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], &of_ec),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], &of_rsa),
    ] {
        let said = said(&house, &arguments).await;
        assert!(said.contains("OCSP Response Status: successful"), "{arguments:?}: {said}");
        assert!(said.contains("Cert Status: good"), "{arguments:?}: {said}");
        assert!(said.contains(&format!("Serial Number: {}", serial(leaf))), "{arguments:?}: {said}");
    }
    for _ in 0..20 {
        said(&house, &["-tls1_3"]).await;
    }
    assert_eq!(asked(&house, "good").await, 2.0, "no handshake asks");
}

/// What comes of a certificate that its responder knows by this letter (`-`: not at all), whose answers
/// are signed by what `sign` gives: what a client prints, and the log.
async fn with(status: char, sign: impl Fn(&OwnCa) -> (X509, Key), result: &str) -> String {
    let mut house = house(ALLOWED).await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, port, key) = (OwnCa::new(), free_port(), p256());
    house.edge.client.roots.push(ca.root.clone());
    let leaf = ca.leaf_with(&[SHOP], &key, WITHIN, responder(port));
    let (signer, signers_key) = sign(&ca);
    let known = [(status, &leaf)];
    let known = if status == '-' { &[][..] } else { &known };
    let _responder = Responder::start(port, &ca, known, (&signer, &signers_key)).await;
    brought(&house, &token, SHOP, &ca.fullchain(&leaf), &pkcs8(&key)).await;
    eventually(result, async || asked(&house, result).await == 1.0).await;
    house.edge.handshake(SHOP).await.expect("it is served whatever its responder says");
    said(&house, &[]).await + &house.edge.log()
}

fn issuer(ca: &OwnCa) -> (X509, Key) {
    (ca.intermediate.clone(), ca.key.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_own_answer_is_stapled() {
    let said = with('V', issuer, "good").await;
    assert!(said.contains("Cert Status: good"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_and_an_unknown_certificate_are_served_without_a_staple_and_told_of() {
    for (status, result, told) in
        [('R', "revoked", "says that it was revoked"), ('-', "unknown", "unknown to it")]
    {
        let said = with(status, issuer, result).await;
        assert!(said.contains("OCSP response: no response sent"), "{said}");
        assert!(said.contains(told), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_stranger_signed_is_not_stapled() {
    let stranger = |_: &OwnCa| {
        let other = OwnCa::new();
        (other.intermediate, other.key)
    };
    let not_named = |ca: &OwnCa| {
        let key = p256();
        (ca.leaf(&["no-responder.test"], &key), key)
    };
    for said in [with('V', stranger, "invalid").await, with('V', not_named, "invalid").await] {
        assert!(said.contains("OCSP response: no response sent"), "{said}");
        assert!(said.contains("no OCSP response could be had"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_responder_that_is_not_public_is_not_asked_unless_that_is_allowed() {
    let house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, key) = (OwnCa::new(), p256());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let leaf = ca.leaf_with(&[SHOP], &key, WITHIN, responder(listener.local_addr().unwrap().port()));
    brought(&house, &token, SHOP, &ca.fullchain(&leaf), &pkcs8(&key)).await;
    eventually("that is counted", async || asked(&house, "failed").await == 1.0).await;
    let connected =
        std::future::poll_fn(|context| std::task::Poll::Ready(listener.poll_accept(context).is_ready()));
    assert!(!connected.await, "nobody was asked");
}
