//! Certificates of single hostnames in files that the configuration names.

use openssl::ssl::SslVersion;
use openssl::x509::X509;
use tempfile::TempDir;

use crate::bed::client::Client;
use crate::bed::eventually;
use crate::bed::house::{self, Plan};
use crate::bed::origin::Origin;
use crate::bed::pem::replace;
use crate::bed::program::{Edge, run};
use crate::ca::{Key, OwnCa, p256, pkcs8, rsa, serial};

const CONFIG: &str = r#"
[[certificate]]
certificate_file = "ec.pem"
certificate_key_file = "ec.key"
[[certificate]]
certificate_file = "rsa.pem"
certificate_key_file = "rsa.key"
"#;

/// Writes NAME.pem and NAME.key.
fn write(folder: &std::path::Path, name: &str, ca: &OwnCa, leaf: &X509, key: &Key) {
    replace(&folder.join(format!("{name}.pem")), &ca.fullchain(leaf));
    replace(&folder.join(format!("{name}.key")), &pkcs8(key));
}

async fn edge(folder: TempDir, origin: &Origin) -> Edge {
    let site = format!("[[site]]\nname = \"default\"\norigins = [\"{}\"]\n", origin.address);
    Edge::start_in(folder, &format!("{CONFIG}{site}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_a_file_is_served_and_each_client_gets_the_key_that_it_takes() {
    let (origin, folder) = (Origin::start().await, TempDir::new().unwrap());
    let (ca, ec, rsa) = (OwnCa::new(), p256(), rsa(2048));
    let of_ec = ca.leaf(&["a.test", "*.wild.test", "both.test"], &ec);
    let of_rsa = ca.leaf(&["both.test"], &rsa);
    write(folder.path(), "ec", &ca, &of_ec, &ec);
    write(folder.path(), "rsa", &ca, &of_rsa, &rsa);
    let edge = edge(folder, &origin).await;
    let shown = async |name: &str, signatures| {
        let roots = vec![ca.root.clone()];
        let client = Client { version: Some(SslVersion::TLS1_3), signatures, roots, ..Client::default() };
        client.handshake(edge.https, name).await.ok().map(|served| served.serial())
    };
    for name in ["a.test", "x.wild.test", "both.test"] {
        assert_eq!(shown(name, None).await, Some(serial(&of_ec)), "{name}");
        assert!(edge.get(name, "/").await.starts_with("HTTP/1.1 200"), "{name}");
    }
    assert_eq!(shown("both.test", Some("RSA-PSS+SHA256")).await, Some(serial(&of_rsa)));
    assert_eq!(shown("other.test", None).await, None);

    let newer = ca.leaf(&["both.test", "c.test"], &rsa);
    write(&edge.folder(), "rsa", &ca, &newer, &rsa);
    eventually("the changed file is in force", async || {
        shown("both.test", Some("RSA-PSS+SHA256")).await == Some(serial(&newer))
    })
    .await;
    assert_eq!(shown("c.test", None).await, Some(serial(&newer)));
    assert_eq!(shown("both.test", None).await, Some(serial(&of_ec)), "the other file is as it was");
    replace(&edge.folder().join("rsa.key"), &pkcs8(&p256()));
    eventually("a broken file is told of", async || edge.log().contains("stay in force")).await;
    assert_eq!(shown("c.test", None).await, Some(serial(&newer)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_has_ended_stops_nothing_and_one_that_is_none_ends_the_start() {
    let (origin, folder) = (Origin::start().await, TempDir::new().unwrap());
    let (ca, ec, rsa) = (OwnCa::new(), p256(), rsa(2048));
    write(folder.path(), "ec", &ca, &ca.leaf_within(&["a.test"], &ec, (-9, -1)), &ec);
    write(folder.path(), "rsa", &ca, &ca.leaf(&["b.test"], &rsa), &rsa);
    let edge = edge(folder, &origin).await;
    assert!(edge.handshake("a.test").await.is_err());
    assert!(edge.get("b.test", "/").await.starts_with("HTTP/1.1 200"));
    assert!(edge.log().contains("a certificate file is not valid now"), "{}", edge.log());
    let file = edge.config_file().display().to_string();
    let folder = edge.stop().await;
    replace(&folder.path().join("ec.key"), &pkcs8(&p256()));
    let ran = run(&["run", "--config", &file]).await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("ec.pem") && ran.err.contains("does not belong"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_for_one_name_the_other_one_is_served_on_when_one_ends() {
    let (origin, folder) = (Origin::start().await, TempDir::new().unwrap());
    let (ca, ec, rsa) = (OwnCa::new(), p256(), rsa(2048));
    let of_rsa = ca.leaf(&["a.test"], &rsa);
    write(folder.path(), "ec", &ca, &ca.leaf_within(&["a.test"], &ec, (-9, 40)), &ec);
    write(folder.path(), "rsa", &ca, &of_rsa, &rsa);
    let edge = edge(folder, &origin).await;
    assert_ne!(edge.handshake("a.test").await.unwrap().serial(), serial(&of_rsa));
    eventually("the other one is served", async || {
        edge.handshake("a.test").await.is_ok_and(|served| served.serial() == serial(&of_rsa))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_before_what_is_obtained_and_another_one_is_there_for_its_end() {
    let (ca, key, folder) = (OwnCa::new(), p256(), TempDir::new().unwrap());
    write(folder.path(), "own", &ca, &ca.leaf(&["shop.test"], &key), &key);
    let path = folder.path().display().to_string();
    let before = format!(
        "[[certificate]]\ncertificate_file = \"{path}/own.pem\"\ncertificate_key_file = \"{path}/own.key\"\n"
    );
    let house = house::house(Plan { before, ..Plan::default() }).await;
    house.endpoint.says("shop.test", crate::bed::approval::Behaviour::Yes);
    let client = Client::default();
    let shown = async || client.handshake(house.edge.https, "shop.test").await.map(|served| served.serial());
    assert!(shown().await.is_ok());
    let ending = ca.leaf_within(&["shop.test"], &key, (-3600, 30));
    write(folder.path(), "own", &ca, &ending, &key);
    eventually("the ending one is in force", async || shown().await.is_ok_and(|one| one == serial(&ending)))
        .await;
    eventually("another one is obtained", async || house.ca.orders_for("shop.test") == 1).await;
    assert_eq!(shown().await.unwrap(), serial(&ending));
    eventually("the other one takes its place", async || {
        shown().await.is_ok_and(|shown| shown != serial(&ending))
    })
    .await;
    assert_eq!(house.ca.orders_for("shop.test"), 1);
}
