//! Caddy's file storage, as Debian's caddy makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nameplate::certs::import::caddy::open;
use nameplate::domain::clock::{Clock, SystemClock};
use tokio::process::{Child, Command};

use super::bed::ca::{Ca, Options};
use super::bed::{eventually, free_port};
use super::house::{Bed, Told, look};
use super::made::{Ca as OwnCa, NOW, p256};

/// Caddy at work; killed when dropped.
fn caddy(ca: &Ca, (http, https): (u16, u16), folder: &Path, data: &Path) -> Child {
    let text = format!(
        "{{\n admin off\n skip_install_trust\n storage file_system {{\n  root {}\n }}\n http_port {http}\n \
         https_port {https}\n default_bind 127.0.0.1\n acme_ca {}\n acme_ca_root {}\n email ops@example.com\n}}\n\
         a.test, b.test {{\n respond \"here\"\n}}\n\
         *.wild.test, own.test {{\n tls internal\n respond \"here\"\n}}\n",
        data.display(),
        ca.directory(),
        ca.ca_file().display()
    );
    fs::write(folder.join("Caddyfile"), text).unwrap();
    let log = fs::File::create(folder.join("log")).unwrap();
    Command::new("caddy")
        .args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"])
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("caddy, from Debian")
}

fn of<'a>(told: &'a [Told], end: &str) -> &'a Told {
    told.iter().find(|one| one.place.ends_with(end)).unwrap_or_else(|| panic!("{end}: {told:?}"))
}

fn file(data: &Path, issuer: &str, name: &str, extension: &str) -> PathBuf {
    data.join(format!("certificates/{issuer}/{name}/{name}.{extension}"))
}

#[tokio::test]
async fn what_caddy_obtained_is_imported_and_its_own_authoritys_only_when_asked_for() {
    let ports = (free_port(), free_port());
    let ca = Ca::start(Options::validating_at(ports.0, ports.1)).await;
    let bed = Bed::new().await;
    let data = bed.folder();
    let work = tempfile::TempDir::new().unwrap();
    let _running = caddy(&ca, ports, work.path(), &data);
    let issuer = ca.directory().replace("https://", "").replace([':', '/'], "-");
    let all =
        [(&*issuer, "a.test"), (&issuer, "b.test"), ("local", "wildcard_.wild.test"), ("local", "own.test")];
    eventually("Caddy's certificates", async || {
        // The JSON is written last.
        all.iter().all(|(issuer, name)| file(&data, issuer, name, "json").exists())
    })
    .await;

    let now = SystemClock.now();
    let (summary, told) = bed.apply(open(&data, Vec::new(), now).unwrap()).await;
    assert_eq!((summary.items, summary.used, summary.names), (4, 2, 2), "{told:?}");
    assert_eq!(of(&told, "/a.test").place, format!("certificates/{issuer}/a.test"));
    assert_eq!(
        of(&told, "local/own.test").skipped.as_deref(),
        Some("it comes from Caddy's own authority, which no browser trusts; --issuer local brings it")
    );
    assert!(bed.find("a.test").await.is_some() && bed.find("b.test").await.is_some());
    assert!(bed.find("own.test").await.is_none());

    let (summary, told) = bed.apply(open(&data, vec!["local".into()], now).unwrap()).await;
    assert_eq!((summary.used, summary.names, summary.wildcards), (2, 2, 1), "{told:?}");
    assert!(of(&told, "/b.test").skipped.as_ref().unwrap().contains("--issuer asks for others"));
    assert!(bed.find("*.wild.test").await.is_some());
}

#[tokio::test]
async fn of_several_issuers_the_better_certificate_wins_and_half_ones_are_told() {
    let (bed, ca) = (Bed::new().await, OwnCa::new());
    let write = |issuer: &str, name: &str, covers: &str, until| {
        let leaf = ca.leaf(&[covers], until, p256());
        let place = format!("certificates/{issuer}/{name}/{name}");
        bed.write(&format!("{place}.crt"), leaf.chain());
        bed.write(&format!("{place}.key"), leaf.key.serialize_pem());
        bed.write(&format!("{place}.json"), format!("{{\"sans\":[{covers:?}]}}"));
    };
    write("acme-v02.api.letsencrypt.org-directory", "a.test", "a.test", 2027);
    write("acme.zerossl.com-v2-dv90", "a.test", "a.test", 2028);
    write("acme.zerossl.com-v2-dv90", "wildcard_.a.test", "*.a.test", 2028);
    write("acme.zerossl.com-v2-dv90", "b.test", "other.test", 2028);
    write("acme.zerossl.com-v2-dv90", "c.test", "c.test", 2028);
    fs::remove_file(file(&bed.folder(), "acme.zerossl.com-v2-dv90", "c.test", "key")).unwrap();
    bed.write("acme/acme.zerossl.com-v2-dv90/users/x/x.key", "an account");
    bed.write("ocsp/a.test-1", "");

    let (summary, told) = look(open(&bed.folder(), Vec::new(), NOW).unwrap()).await;
    assert_eq!((summary.items, summary.used, summary.names, summary.wildcards), (5, 2, 2, 1), "{told:?}");
    assert!(!of(&told, "directory/a.test").used && of(&told, "dv90/a.test").used);
    assert_eq!(
        of(&told, "/b.test").skipped.as_deref(),
        Some("it lies where b.test has its certificate, and is for other.test alone")
    );
    assert!(of(&told, "/c.test").skipped.as_ref().unwrap().contains("c.test.key cannot be read"));
    assert!(open(&bed.folder().join("ocsp"), Vec::new(), NOW).is_err(), "no Caddy's folder");
}
