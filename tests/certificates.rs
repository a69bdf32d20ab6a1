//! Certificates that an operator brings: from files, and imported.

mod bed;

use std::path::Path;

use bed::approval::{ApprovalEndpoint, Behaviour};
use bed::client::{Refused, Served};
use bed::eventually;
use bed::origin::Origin;
use bed::pem::{p256, pair, replace, rsa};
use bed::program::{Edge, Ran, run};
use tempfile::TempDir;

/// unrecognized_name (RFC 6066 §9).
const UNRECOGNIZED_NAME: i32 = 112;

fn alert(outcome: Result<Served, Refused>) -> i32 {
    match outcome {
        Err(Refused::Alert(number)) => number,
        Err(Refused::Otherwise(why)) => panic!("no alert came: {why}"),
        Ok(served) => panic!("it was served: {:?}", served.names()),
    }
}

async fn serial(edge: &Edge, sni: &str) -> String {
    edge.handshake(sni).await.unwrap_or_else(|why| panic!("{sni}: {why:?}\n{}", edge.log())).serial()
}

/// A site of a platform and one of on-demand names, each with an origin of its own.
struct Platform {
    folder: TempDir,
    own: Origin,
    shops: Origin,
}

impl Platform {
    async fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), own: Origin::start().await, shops: Origin::start().await }
    }

    async fn edge(self) -> (Edge, Origin, Origin) {
        let config = format!(
            r#"
[listen]
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
default_certificate_file = "default.pem"
default_certificate_key_file = "default.key"
[[platform]]
domain = "example.io"
site = "own"
certificate_file = "wildcard.pem"
certificate_key_file = "wildcard.key"
[on_demand]
site = "shops"
[[site]]
name = "own"
origins = ["{}"]
[[site]]
name = "shops"
origins = ["{}"]
"#,
            self.own.address, self.shops.address
        );
        (Edge::start_in(self.folder, &config).await, self.own, self.shops)
    }
}

#[tokio::test]
async fn a_platforms_wildcard_serves_one_level_and_the_domain_itself() {
    let platform = Platform::new().await;
    let wildcard = pair(&["*.example.io", "example.io"], &p256(), 2099);
    wildcard.write(platform.folder.path(), "wildcard");
    let default = pair(&["default.test"], &rsa(), 2099);
    default.write(platform.folder.path(), "default");
    let (edge, own, shops) = platform.edge().await;
    for name in ["a.example.io", "B.Example.io", "example.io"] {
        assert_eq!(serial(&edge, name).await, wildcard.serial, "{name}");
        assert!(edge.get(name, "/").await.starts_with("HTTP/1.1 200"), "{name}");
    }
    assert_eq!((own.requests().len(), shops.requests().len()), (3, 0));
    for name in ["a.b.example.io", "example.com", "io"] {
        assert_eq!(alert(edge.handshake(name).await), UNRECOGNIZED_NAME, "{name}");
    }
    assert!(bed::plain(edge.http, "x.example.io", "/").await.starts_with("HTTP/1.1 301"));

    let without = edge.handshake("").await.unwrap();
    assert_eq!((without.names(), without.serial()), (vec!["default.test".to_owned()], default.serial));
    let answer = without.get("a.example.io", "/").await;
    assert!(answer.starts_with("HTTP/1.1 421"), "the default certificate is not for it: {answer}");
    assert_eq!(edge.metric("orders_total").await, 0.0);
}

#[tokio::test]
async fn changed_files_come_into_force_without_a_restart_and_broken_ones_do_not() {
    let platform = Platform::new().await;
    let folder = platform.folder.path().to_owned();
    let names = ["*.example.io", "example.io"];
    pair(&names, &p256(), 2098).write(&folder, "wildcard");
    pair(&["default.test"], &p256(), 2098).write(&folder, "default");
    let (edge, _own, _shops) = platform.edge().await;
    serial(&edge, "a.example.io").await;

    let newer = pair(&names, &rsa(), 2099);
    newer.write(&folder, "wildcard");
    eventually("the new wildcard", async || serial(&edge, "a.example.io").await == newer.serial).await;
    let default = pair(&["default.test"], &rsa(), 2099);
    default.write(&folder, "default");
    eventually("the new default", async || serial(&edge, "").await == default.serial).await;

    let complaints = |edge: &Edge| edge.log().matches("changed certificate files cannot be used").count();
    let stranger = pair(&["*.other.test"], &p256(), 2099);
    let broken: [(&str, &dyn Fn()); 4] = [
        ("no PEM", &|| replace(&folder.join("wildcard.pem"), "garbage")),
        ("another key", &|| replace(&folder.join("wildcard.pem"), &stranger.certificate)),
        ("other names", &|| stranger.write(&folder, "wildcard")),
        ("no file", &|| std::fs::remove_file(folder.join("wildcard.pem")).unwrap()),
    ];
    for (what, break_it) in broken {
        let before = complaints(&edge);
        break_it();
        eventually(what, async || complaints(&edge) > before).await;
        assert_eq!(serial(&edge, "a.example.io").await, newer.serial, "{what}");
    }
    assert!(edge.log().contains("does not cover *.example.io; it covers *.other.test"), "{}", edge.log());
    let last = pair(&names, &p256(), 2099);
    last.write(&folder, "wildcard");
    eventually("the mended files", async || serial(&edge, "a.example.io").await == last.serial).await;
}

/// An edge whose approval endpoint says no to everything, and what it was asked.
struct House {
    edge: Edge,
    endpoint: ApprovalEndpoint,
    shops: Origin,
    _default: Origin,
}

async fn house() -> House {
    let (shops, default) = (Origin::start().await, Origin::start().await);
    let endpoint = ApprovalEndpoint::start().await;
    endpoint.says_to_all_others(Behaviour::No);
    let config = format!(
        r#"
[[authority]]
name = "internal"
directory = "internal"
[on_demand]
approval = "{}"
site = "shops"
[[site]]
name = "default"
hostnames = ["own.test"]
origins = ["{}"]
[[site]]
name = "shops"
origins = ["{}"]
"#,
        endpoint.template(),
        default.address,
        shops.address
    );
    House { edge: Edge::start(&config).await, endpoint, shops, _default: default }
}

async fn import(folder: &Path, more: &[&str]) -> Ran {
    let folder = folder.display().to_string();
    run(&[&["import", "haproxy", &folder], more].concat()).await
}

async fn apply(edge: &Edge, folder: &Path) -> Ran {
    import(folder, &["--apply", "--config", &edge.config_file().display().to_string()]).await
}

/// A folder as haproxy has it, with what each good name is to be served with.
fn haproxy_folder() -> (TempDir, Vec<(&'static str, String)>) {
    let folder = TempDir::new().unwrap();
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
    let with_rsa = pair(&["rsa.test", "www.rsa.test"], &rsa(), 2099);
    let with_p256 = pair(&["ec.test"], &p256(), 2099);
    let wildcard = pair(&["*.wild.test", "wild.test"], &p256(), 2099);
    let local = pair(&["localhost"], &p256(), 2099);
    write("rsa.pem", &with_rsa.text());
    write("ec.pem", &with_p256.text());
    write("wild.pem", &wildcard.text());
    write("local.pem", &local.text());
    let mismatched = pair(&["mismatched.test"], &p256(), 2099).certificate + &p256().serialize_pem();
    write("mismatched.pem", &mismatched);
    write("expired.pem", &pair(&["expired.test"], &p256(), 2021).text());
    let served = vec![
        ("rsa.test", with_rsa.serial.clone()),
        ("www.rsa.test", with_rsa.serial),
        ("ec.test", with_p256.serial),
        ("any.wild.test", wildcard.serial.clone()),
        ("wild.test", wildcard.serial),
        ("localhost", local.serial),
    ];
    (folder, served)
}

#[tokio::test]
async fn a_dry_run_tells_of_every_file_and_writes_nothing() {
    let (folder, _) = haproxy_folder();
    let ran = import(folder.path(), &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let line = |file: &str| ran.out.lines().find(|line| line.starts_with(file)).unwrap_or_default();
    assert!(line("rsa.pem").contains("rsa.test www.rsa.test"), "{}", ran.out);
    assert!(line("rsa.pem").contains("2099-01-01") && line("rsa.pem").ends_with("will be imported"));
    assert!(line("wild.pem").contains("*.wild.test wild.test"), "{}", ran.out);
    assert!(line("mismatched.pem").contains("skipped: the private key does not belong"), "{}", ran.out);
    assert!(line("expired.pem").contains("skipped: it expired at 2021-01-01"), "{}", ran.out);
    assert!(ran.out.contains("6 names in 4 of 6 files; 2 files skipped"), "{}", ran.out);
    assert!(ran.out.contains("nothing was written; add --apply to import"), "{}", ran.out);
    assert!(!ran.out.contains("PRIVATE KEY"));

    let House { edge, endpoint: _endpoint, .. } = house().await;
    assert_eq!(alert(edge.handshake("ec.test").await), UNRECOGNIZED_NAME);
    assert_eq!(import(TempDir::new().unwrap().path(), &[]).await.code, 1, "nothing to import");
}

#[tokio::test]
async fn imported_names_are_served_though_nobody_approves_them_and_cost_no_order() {
    let House { edge, mut endpoint, shops, _default } = house().await;
    let (folder, served) = haproxy_folder();
    assert_eq!(alert(edge.handshake("ec.test").await), UNRECOGNIZED_NAME);
    assert_eq!(endpoint.questions_about("ec.test"), 1, "it is denied, and that is remembered");
    assert_eq!(edge.metric("certificates_known").await, 0.0);
    let ran = apply(&edge, folder.path()).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("6 names imported from 4 of 6 files; 2 files skipped"), "{}", ran.out);

    // As many names have a certificate: one that is served is covered by *.wild.test, which is one of them.
    eventually("what was imported is known", async || {
        edge.metric("certificates_known").await == served.len() as f64
    })
    .await;
    for (name, serial) in &served {
        assert_eq!(self::serial(&edge, name).await, *serial, "{name}");
        assert!(edge.get(name, "/").await.starts_with("HTTP/1.1 200"), "{name}");
    }
    assert_eq!(shops.requests().len(), served.len(), "they go to the site of on-demand names");
    for name in ["expired.test", "mismatched.test", "a.any.wild.test", "other.test"] {
        assert_eq!(alert(edge.handshake(name).await), UNRECOGNIZED_NAME, "{name}");
    }
    let about: usize = served.iter().map(|(name, _)| endpoint.questions_about(name)).sum();
    assert_eq!(about, 1, "and not even asked about");

    endpoint.stop().await;
    let edge = Edge::again(edge.stop().await).await;
    for (name, serial) in &served {
        assert_eq!(self::serial(&edge, name).await, *serial, "{name} after a restart");
    }
    assert_eq!(edge.metric("orders_total").await, 0.0);
}

#[tokio::test]
async fn an_import_done_again_takes_nothing_away_and_brings_nothing_old_back() {
    let House { edge, endpoint: _endpoint, .. } = house().await;
    let folder = TempDir::new().unwrap();
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
    let (old, newer) = (pair(&["a.test"], &p256(), 2098), pair(&["a.test"], &p256(), 2099));
    let other = pair(&["b.test"], &p256(), 2099);
    write("a.pem", &newer.text());
    write("b.pem", &other.text());
    assert_eq!(apply(&edge, folder.path()).await.code, 0);
    std::fs::remove_file(folder.path().join("b.pem")).unwrap();
    write("a.pem", &old.text());
    let ran = apply(&edge, folder.path()).await;
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("1 names were there already: the store has"), "{}", ran.out);
    let edge = Edge::again(edge.stop().await).await;
    assert_eq!(serial(&edge, "a.test").await, newer.serial);
    assert_eq!(serial(&edge, "b.test").await, other.serial, "what left the folder stays in the store");
}

#[tokio::test]
async fn a_wrong_sealing_key_ends_the_start_and_loses_nothing() {
    let House { edge, endpoint: _endpoint, .. } = house().await;
    let (folder, served) = haproxy_folder();
    assert_eq!(apply(&edge, folder.path()).await.code, 0);
    let own = serial(&edge, "own.test").await;
    let config = edge.config_file().display().to_string();
    let home = edge.stop().await;
    let key_file = home.path().join("data/store.key");
    let right = std::fs::read_to_string(&key_file).unwrap();
    replace(&key_file, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    for command in [
        &["run", "--config", &config][..],
        &["import", "haproxy", &folder.path().display().to_string(), "--apply", "--config", &config],
    ] {
        let ran = run(command).await;
        assert_eq!(ran.code, 1, "{command:?}");
        assert!(ran.err.contains("was sealed with key "), "{}", ran.err);
        assert!(ran.err.contains("set store.key_file to the key it was sealed with"), "{}", ran.err);
        assert!(!ran.err.contains(right.trim()) && !ran.err.contains("AAAAAAAAAA"), "no key is shown");
    }
    replace(&key_file, &right);
    let edge = Edge::again(home).await;
    assert_eq!(serial(&edge, "own.test").await, own);
    for (name, serial) in &served {
        assert_eq!(self::serial(&edge, name).await, *serial, "{name}");
    }
}

#[tokio::test]
async fn a_single_label_is_served_where_it_was_imported_and_never_ordered_for() {
    let House { edge, endpoint, .. } = house().await;
    endpoint.says_to_all_others(Behaviour::Yes);
    for name in ["localhost", "intranet"] {
        assert_eq!(alert(edge.handshake(name).await), UNRECOGNIZED_NAME, "{name}");
    }
    let folder = TempDir::new().unwrap();
    let local = pair(&["localhost"], &p256(), 2099);
    std::fs::write(folder.path().join("local.pem"), local.text()).unwrap();
    assert_eq!(apply(&edge, folder.path()).await.code, 0);
    eventually("it is served", async || edge.handshake("localhost").await.is_ok()).await;
    assert_eq!(serial(&edge, "localhost").await, local.serial);
    assert!(bed::plain(edge.http, "localhost", "/").await.starts_with("HTTP/1.1 301"));
    assert!(bed::plain(edge.http, "intranet", "/").await.starts_with("HTTP/1.1 404"));
    assert_eq!(alert(edge.handshake("intranet").await), UNRECOGNIZED_NAME);
    assert_eq!(endpoint.questions_about("localhost") + endpoint.questions_about("intranet"), 0);
    assert_eq!(edge.metric("orders_total").await, 0.0);
}

#[tokio::test]
async fn a_longer_lasting_import_replaces_what_was_obtained_also_on_this_machines_disk() {
    let House { edge, .. } = house().await;
    serial(&edge, "own.test").await;
    eventually("a local copy is kept", async || edge.has_a_copy()).await;
    let folder = TempDir::new().unwrap();
    let longer = pair(&["own.test"], &p256(), 2099);
    std::fs::write(folder.path().join("own.pem"), longer.text()).unwrap();
    assert_eq!(apply(&edge, folder.path()).await.code, 0);
    let edge = Edge::again(edge.stop().await).await;
    assert_eq!(serial(&edge, "own.test").await, longer.serial);
}
