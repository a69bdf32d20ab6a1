//! Of several certificates of one hostname each client gets one that it takes.

use openssl::ssl::SslVersion;
use serde_json::json;

use crate::bad::{SHOP, brought, registered};
use crate::bed::client::Client;
use crate::ca::{OwnCa, p256, pkcs8, rsa, serial};
use crate::house::house;

const ECDSA: &str = "ECDSA+SHA256:ECDSA+SHA384";
const RSA: &str = "RSA-PSS+SHA256:RSA+SHA256:RSA-PSS+SHA384:RSA+SHA384";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_one_whose_signatures_it_takes() {
    let house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, ec, rsa) = (OwnCa::new(), p256(), rsa(2048));
    let of_ec = ca.leaf(&[SHOP], &ec);
    let of_rsa = ca.leaf(&["*.customer.test", "more.test"], &rsa);
    let shown = async |version, signatures| {
        let roots = vec![ca.root.clone()];
        let client = Client { version: Some(version), signatures, roots, ..Client::default() };
        client.handshake(house.edge.https, SHOP).await.ok().map(|served| served.serial())
    };
    let versions = [SslVersion::TLS1_2, SslVersion::TLS1_3];

    brought(&house, &token, SHOP, &ca.fullchain(&of_rsa), &pkcs8(&rsa)).await;
    for version in versions {
        assert_eq!(shown(version, Some(RSA)).await, Some(serial(&of_rsa)));
        assert_eq!(shown(version, None).await, Some(serial(&of_rsa)));
        assert_eq!(shown(version, Some(ECDSA)).await, None, "it has nothing for this one");
    }
    let both = brought(&house, &token, SHOP, &ca.fullchain(&of_ec), &pkcs8(&ec)).await;
    assert_eq!(both["certificates"].as_array().unwrap().len(), 2);
    for version in versions {
        assert_eq!(shown(version, Some(RSA)).await, Some(serial(&of_rsa)), "{version:?}");
        assert_eq!(shown(version, Some(ECDSA)).await, Some(serial(&of_ec)), "{version:?}");
        assert_eq!(shown(version, None).await, Some(serial(&of_ec)), "{version:?}: the cheaper one");
    }
    let client = Client { roots: vec![ca.root.clone()], ..Client::default() };
    let get = async |host: &str| client.handshake(house.edge.https, SHOP).await.unwrap().get(host, "/").await;
    assert!(get(SHOP).await.starts_with("HTTP/1.1 200"));
    assert!(get("more.test").await.starts_with("HTTP/1.1 421"), "not both of them cover it");

    let path = format!("/sites/default/hostnames/{SHOP}/certificate?family=ecdsa");
    assert_eq!(house.call(&token, "DELETE", &path, None).await.status, 204);
    assert_eq!(shown(SslVersion::TLS1_3, None).await, Some(serial(&of_rsa)));
    let listed = house.get(&token, SHOP).await.attributes()["certificates"].clone();
    assert_eq!((&listed[0]["source"], &listed[0]["key_type"]), (&json!("own"), &json!("rsa2048")));
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_as_debian_has_it_gets_the_one_that_it_asks_for() {
    let house = house("").await;
    let token = house.token("cats", "write");
    registered(&house, &token, SHOP).await;
    let (ca, ec, rsa) = (OwnCa::new(), p256(), rsa(2048));
    brought(&house, &token, SHOP, &ca.fullchain(&ca.leaf(&[SHOP], &ec)), &pkcs8(&ec)).await;
    brought(&house, &token, SHOP, &ca.fullchain(&ca.leaf(&[SHOP], &rsa)), &pkcs8(&rsa)).await;
    for (arguments, kind) in [
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "rsaEncryption"),
        (["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "id-ecPublicKey"),
        (["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"], "rsaEncryption"),
        (["-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"], "id-ecPublicKey"),
    ] {
        let output = tokio::process::Command::new("openssl")
            .args(["s_client", "-connect", &house.edge.https.to_string(), "-servername", SHOP])
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(kind), "{arguments:?}: {said}");
    }
}
