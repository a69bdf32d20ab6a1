//! certbot's folder, as Debian's certbot makes it.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use nameplate::certs::import::certbot::open;
use nameplate::domain::certificate::KeyType;
use nameplate::domain::clock::{Clock, SystemClock};
use nameplate::store::Store;
use tokio::process::Command;

use super::bed::ca::{Ca, Options};
use super::bed::{DEADLINE, free_port};
use super::house::{Bed, Told, look};
use super::made::{Ca as OwnCa, NOW, p256};

/// Lets certbot obtain a certificate as it is used by hand.
async fn certbot(ca: &Ca, port: u16, folder: &Path, more: &[&str]) {
    let at = |part: &str| folder.join(part).display().to_string();
    let run = Command::new("certbot")
        .args(["certonly", "--standalone", "--non-interactive", "--agree-tos", "--no-verify-ssl"])
        .args(["--email", "ops@example.com", "--server", &ca.directory()])
        .args(["--config-dir", &at("etc"), "--work-dir", &at("work"), "--logs-dir", &at("logs")])
        .args(["--http-01-address", "127.0.0.1", "--http-01-port", &port.to_string()])
        .args(more)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, run).await.expect("it ends").expect("certbot, from Debian");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

fn of<'a>(told: &'a [Told], place: &str) -> &'a Told {
    told.iter().find(|one| one.place == place).unwrap_or_else(|| panic!("{place}: {told:?}"))
}

#[tokio::test]
async fn what_certbot_made_is_imported_and_what_it_cannot_renew_is_told() {
    let port = free_port();
    let ca = Ca::start(Options::validating_at(port, free_port())).await;
    let bed = Bed::new().await;
    let folder = bed.folder();
    certbot(&ca, port, &folder, &["-d", "a.test", "-d", "www.a.test"]).await;
    certbot(&ca, port, &folder, &["-d", "b.test", "--key-type", "rsa", "--rsa-key-size", "3072"]).await;
    certbot(&ca, port, &folder, &["-d", "c.test", "--cert-name", "named otherwise"]).await;
    certbot(&ca, port, &folder, &["-d", "d.test"]).await;
    let etc = folder.join("etc");
    assert!(etc.join("live/README").exists(), "certbot writes it");
    fs::remove_file(etc.join("renewal/named otherwise.conf")).unwrap();
    fs::write(etc.join("renewal/d.test.conf"), "version = 2.1.0\n[renewalparams]\n").unwrap();
    fs::remove_dir_all(etc.join("archive/b.test")).unwrap();

    let now = SystemClock.now();
    let source = open(&etc, now).unwrap();
    assert_eq!(source.afterwards.len(), 1);
    let afterwards = source.afterwards[0].clone();
    assert!(afterwards.contains("(2 by standalone)"), "{afterwards}");
    assert!(afterwards.contains("systemctl disable --now certbot.timer"), "{afterwards}");
    let (summary, told) = bed.apply(source).await;
    assert_eq!((summary.items, summary.used, summary.names), (4, 3, 4), "{told:?}");
    assert_eq!(of(&told, "live/a.test").note, None);
    assert!(
        of(&told, "live/b.test").skipped.as_ref().unwrap().contains("b.test/fullchain.pem cannot be read")
    );
    assert_eq!(
        of(&told, "live/named otherwise").note.as_deref(),
        Some("certbot renews it no more: there is no renewal/named otherwise.conf")
    );
    assert_eq!(
        of(&told, "live/d.test").note.as_deref(),
        Some("certbot cannot renew it: renewal/d.test.conf does not name cert, privkey, chain and fullchain")
    );
    for name in ["a.test", "www.a.test", "c.test", "d.test"] {
        let found = bed.find(name).await.unwrap_or_else(|| panic!("{name}"));
        assert_eq!((found.key_type, found.chain.len()), (KeyType::P256, 2), "{name}");
        let renewal = bed.store.renewal_state(&found.name).await.unwrap().unwrap();
        assert!(renewal.due < found.validity.not_after, "{name}");
    }
}

#[tokio::test]
async fn renewal_configurations_without_certificates_and_folders_without_any_are_told() {
    let (bed, ca) = (Bed::new().await, OwnCa::new());
    let leaf = ca.leaf(&["a.test"], 2027, p256());
    bed.write("live/a.test/fullchain.pem", leaf.chain());
    bed.write("live/a.test/privkey.pem", leaf.key.serialize_pem());
    bed.write("live/other.test/fullchain.pem", leaf.chain());
    bed.write("live/other.test/privkey.pem", p256().serialize_pem());
    let conf = |more: &str| {
        format!(
            "# made by certbot\ncert = /x/cert.pem\nprivkey = /x/privkey.pem\nchain = /x/chain.pem\n\
             fullchain = /x/fullchain.pem\n\n[renewalparams]\naccount = 1\n{more}\n"
        )
    };
    bed.write("renewal/a.test.conf", conf("authenticator = webroot\nautorenew = False\n[[webroot_map]]"));
    bed.write("renewal/gone.test.conf", conf("authenticator = nginx"));
    bed.write("renewal/other.test.conf", conf(""));
    let source = open(&bed.folder(), NOW).unwrap();
    assert!(source.afterwards[0].contains("(1 by nginx)"), "{:?}", source.afterwards);
    let (summary, told) = look(source).await;
    assert_eq!((summary.items, summary.names), (3, 1));
    assert_eq!(of(&told, "live/a.test").note, None);
    assert!(of(&told, "live/gone.test").skipped.as_ref().unwrap().contains("cannot be read"));
    assert!(of(&told, "live/other.test").skipped.as_ref().unwrap().contains("does not belong"));
    assert!(of(&told, "live/other.test").note.as_ref().unwrap().contains("names no authenticator"));

    assert!(open(&bed.folder().join("renewal"), NOW).is_err(), "no certbot's folder");
}
