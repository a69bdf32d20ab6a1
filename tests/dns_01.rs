//! DNS-01 and the platform's wildcard: a real CA that asks a real DNS server, in which records are
//! written by signed updates (RFC 2136) or by a command.

mod bed;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use bed::bind::{Bind, KEY, KEY_NAME};
use bed::ca::{Ca, Options};
use bed::client::Refused;
use bed::origin::Origin;
use bed::power::{API_KEY, PowerDns};
use bed::program::Edge;
use bed::{eventually, free_port};
use nameplate::acme::zone::Zone;
use nameplate::config::file;
use nameplate::dns::resolver::{Asking, Kind, Resolver};
use nameplate::dns::write::{TxtRecord, Writer};
use nameplate::domain::clock::SystemClock;
use nameplate::store::seal::SealingKey;
use nameplate::store::sqlite::SqliteStore;
use nameplate::store::{LEASE_TTL, Store};
use nameplate::telemetry::metrics::Metrics;
use openssl::x509::X509;
use tempfile::TempDir;

/// A CA, an origin, and the edge of the platform `platform.test`.
struct House {
    ca: Ca,
    edge: Edge,
    origin: Origin,
}

/// - `resolver`: whom the CA asks
/// - `lifetime`: of its certificates, in seconds
/// - `rest`: lines before the site's
async fn house(resolver: Option<String>, lifetime: Option<u32>, rest: &str) -> House {
    let (http, https) = (free_port(), free_port());
    let options = Options { resolver, lifetime, ..Options::validating_at(http, https) };
    house_of(Ca::start(options).await, (http, https), rest).await
}

async fn house_of(ca: Ca, (http, https): (u16, u16), rest: &str) -> House {
    let origin = Origin::start().await;
    let config = format!(
        "[listen]\nhttp = [\"127.0.0.1:{http}\"]\nhttps = [\"127.0.0.1:{https}\"]\nadmin = \"127.0.0.1:0\"\n\
         {}\n{}\n[[site]]\nname = \"default\"\norigins = [\"{}\"]\n",
        ca.authority_toml("pebble", r#"["http-01", "tls-alpn-01"]"#),
        rest.replace("{ca_dns}", &ca.dns_server()),
        origin.address,
    );
    let mut edge = Edge::start_in(TempDir::new().unwrap(), &config).await;
    edge.client.roots = X509::stack_from_pem(ca.root().await.as_bytes()).unwrap();
    House { ca, edge, origin }
}

/// `[dns]` and `[[platform]]`, whose zone is changed at `primary`.
fn platform(primary: &Bind, more: &str) -> String {
    format!(
        "[dns]\nresolvers = [\"{address}\"]\n[[platform]]\ndomain = \"platform.test\"\nsite = \"default\"\n\
         dns = {{ provider = \"rfc2136\", server = \"{address}\", key_name = \"{KEY_NAME}\", key = \"{KEY}\", \
         name_servers = [\"{address}\"] {more} }}\n",
        address = primary.address(),
    )
}

/// The TXT records that `server` has under `name`.
async fn texts(server: &Bind, name: &str) -> Vec<String> {
    let at: SocketAddr = server.address().parse().unwrap();
    let answer = Resolver::patient(&[at]).unwrap().ask(Asking::Server(at), name, Kind::Txt).await.unwrap();
    answer.texts.into_iter().map(|(text, _)| text).collect()
}

async fn served(edge: &Edge, name: &str) -> String {
    eventually("it is served", async || edge.handshake(name).await.is_ok()).await;
    edge.handshake(name).await.unwrap().serial()
}

#[tokio::test]
async fn a_platforms_wildcard_is_obtained_at_the_start_and_serves_every_subdomain() {
    let bind = Bind::taking_updates(&[("platform.test", "")], &["platform.test"]).await;
    let House { ca, edge, origin: _origin } = house(Some(bind.address()), None, &platform(&bind, "")).await;
    // Nobody visits it before.
    eventually("both certificates are there", async || {
        edge.metric(r#"orders_total{authority="pebble",result="issued"}"#).await == 2.0
    })
    .await;
    let one = served(&edge, "one.platform.test").await;
    for name in ["two.platform.test", "xn--bcher-kva.platform.test"] {
        assert_eq!(served(&edge, name).await, one, "{name}");
    }
    let own = served(&edge, "platform.test").await;
    assert_ne!(own, one, "the domain has one of its own");
    // Two labels below the domain the wildcard covers nothing, and nobody approved that.
    assert!(matches!(edge.handshake("a.b.platform.test").await, Err(Refused::Alert(112))));
    assert_eq!(ca.orders(), 2);
    let challenge = "_acme-challenge.platform.test";
    eventually("the records are gone", async || texts(&bind, challenge).await.is_empty()).await;
    assert_eq!(edge.metric(r#"dns_records_total{change="write",result="ok"}"#).await, 2.0);
    let removed = r#"dns_records_total{change="remove",result="ok"}"#;
    eventually("their removal is counted", async || edge.metric(removed).await == 2.0).await;
    let edge = restarted(edge).await;
    assert_eq!(edge.handshake("three.platform.test").await.unwrap().serial(), one, "after a restart");
    assert_eq!(ca.orders(), 2);
}

async fn restarted(edge: Edge) -> Edge {
    let client = edge.client.clone();
    let folder = edge.stop().await;
    bed::house::again(folder, client).await
}

#[tokio::test]
async fn visitors_before_the_first_certificate_wait_for_it_together() {
    let bind = Bind::taking_updates(&[("platform.test", "")], &["platform.test"]).await;
    let (http, https) = (free_port(), free_port());
    let options = Options { resolver: Some(bind.address()), ..Options::validating_at(http, https) };
    let ca = Ca::start(options).await;
    let root = ca.root().await;
    ca.halt();
    let House { ca, mut edge, origin: _origin } = {
        let origin = Origin::start().await;
        let config = format!(
            "[listen]\nhttp = [\"127.0.0.1:{http}\"]\nhttps = [\"127.0.0.1:{https}\"]\nadmin = \"127.0.0.1:0\"\n\
             {}\n{}\n[[site]]\nname = \"default\"\norigins = [\"{}\"]\n",
            ca.authority_toml("pebble", r#"["http-01"]"#),
            platform(&bind, ""),
            origin.address,
        );
        House { edge: Edge::start(&config).await, ca, origin }
    };
    edge.client.roots = X509::stack_from_pem(root.as_bytes()).unwrap();
    let names: Vec<String> = (0..30).map(|number| format!("visitor{number}.platform.test")).collect();
    let visits = names.iter().map(|name| edge.handshake(name));
    let (served, ()) = tokio::join!(futures::future::join_all(visits), async { ca.resume() });
    let serials: Vec<String> = served.into_iter().map(|visit| visit.unwrap().serial()).collect();
    assert!(serials.iter().all(|serial| *serial == serials[0]), "{serials:?}");
    eventually("the domain's own is there", async || ca.orders() == 2).await;
}

#[tokio::test]
async fn a_wildcard_is_renewed_while_the_one_before_is_served() {
    let bind = Bind::taking_updates(&[("platform.test", "")], &["platform.test"]).await;
    let House { ca: _ca, edge, origin: _origin } =
        house(Some(bind.address()), Some(40), &platform(&bind, "")).await;
    let first = served(&edge, "one.platform.test").await;
    eventually("the next certificate is served", async || {
        edge.handshake("two.platform.test").await.expect("served all the time").serial() != first
    })
    .await;
    let now = edge.handshake("two.platform.test").await.unwrap().serial();
    assert_eq!(edge.handshake("one.platform.test").await.unwrap().serial(), now);
}

#[tokio::test]
async fn an_alias_is_followed_into_the_zone_that_may_be_written() {
    let zones = [("platform.test", "_acme-challenge CNAME platform.acme.test."), ("acme.test", "")];
    let bind = Bind::taking_updates(&zones, &["acme.test"]).await;
    // A resolver, as an authority has one: a server of zones alone does not go from one to the other.
    let resolver = Bind::before(&bind).await;
    let House { ca, edge, origin: _origin } =
        house(Some(resolver.address()), None, &platform(&bind, "")).await;
    served(&edge, "one.platform.test").await;
    served(&edge, "platform.test").await;
    assert_eq!(ca.orders(), 2);
    eventually("the records are gone", async || texts(&bind, "platform.acme.test").await.is_empty()).await;
}

#[tokio::test]
async fn the_authority_is_told_once_a_slow_secondary_has_the_record() {
    let primary = Bind::taking_updates(&[("platform.test", "")], &["platform.test"]).await;
    let secondary = Bind::behind(&primary, &["platform.test"]).await;
    let rest = platform(&primary, "").replace(
        &format!("name_servers = [\"{}\"]", primary.address()),
        &format!("name_servers = [\"{}\", \"{}\"]", primary.address(), secondary.address()),
    );
    // It asks the one that is behind, so it would find nothing if it was told too early.
    let House { ca, edge, origin: _origin } = house(Some(secondary.address()), None, &rest).await;
    served(&edge, "one.platform.test").await;
    served(&edge, "platform.test").await;
    assert_eq!(ca.orders(), 2, "{}", edge.log());
    assert_eq!(edge.metric(r#"orders_total{authority="pebble",result="failed"}"#).await, 0.0);
}

#[tokio::test]
async fn name_servers_that_stay_behind_are_named() {
    let primary = Bind::taking_updates(&[("platform.test", "")], &["platform.test"]).await;
    let stranger = Bind::serving(&[("platform.test", "")]).await;
    let servers = format!("name_servers = [\"{}\"", primary.address());
    let rest = platform(&primary, ", propagation_timeout = \"2s\"")
        .replace(&servers, &format!("{servers}, \"{}\"", stranger.address()));
    let House { ca, edge, origin: _origin } = house(Some(primary.address()), None, &rest).await;
    let told = format!("these name servers do not show it: {}", stranger.address());
    eventually("it is told", async || edge.log().contains(&told)).await;
    let told = "a platform has no certificate for its names";
    eventually("it is told", async || edge.log().contains(told)).await;
    assert!(matches!(edge.handshake("one.platform.test").await, Err(Refused::Alert(_))));
    assert_eq!(ca.orders_for("*.platform.test"), 0, "the authority is not told that it is ready");
    let challenge = "_acme-challenge.platform.test";
    eventually("the records are gone", async || texts(&primary, challenge).await.is_empty()).await;
}

#[tokio::test]
async fn a_key_that_may_not_change_the_zone_is_explained() {
    let bind = Bind::taking_updates(&[("platform.test", "")], &[]).await;
    let House { ca: _ca, edge, origin: _origin } =
        house(Some(bind.address()), None, &platform(&bind, "")).await;
    eventually("it is told", async || {
        edge.log().contains("could not be written by the access to platform.test")
    })
    .await;
    assert!(edge.log().contains("REFUSED") || edge.log().contains("Refused"), "{}", edge.log());
    assert!(!edge.log().contains(KEY), "{}", edge.log());
    let explained = explained(&edge, "one.platform.test").await;
    let told = "It belongs to the platform domain platform.test, whose certificate could not be obtained: ";
    assert!(explained.contains(told) && explained.contains("could not be written by"), "{explained}");
}

/// What the command `explain` prints of a hostname.
async fn explained(edge: &Edge, hostname: &str) -> String {
    let run = async |arguments: &[&str]| {
        let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_nameplate")).args(arguments).output();
        let output = command.await.unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let config = edge.config_file().display().to_string();
    let made = ["token", "create", "--organization", "*", "--scope", "admin", "--json", "--config", &config];
    let made: serde_json::Value = serde_json::from_str(&run(&made).await).unwrap();
    let (api, token) = (format!("http://{}", edge.admin), made["token"].as_str().unwrap());
    run(&["explain", hostname, "--api", &api, "--token", token]).await
}

#[tokio::test]
async fn records_of_a_process_that_was_killed_are_removed_by_the_next_one() {
    let bind = Bind::taking_updates(&[("platform.test", "")], &["platform.test"]).await;
    let silent = Bind::serving(&[("platform.test", "")]).await;
    // The name server that stays behind holds the order up while its record stands.
    let servers = format!("name_servers = [\"{}\"", bind.address());
    let rest = platform(&bind, ", propagation_timeout = \"5m\"")
        .replace(&servers, &format!("{servers}, \"{}\"", silent.address()));
    let House { ca: _ca, edge, origin: _origin } = house(Some(bind.address()), None, &rest).await;
    let challenge = "_acme-challenge.platform.test";
    eventually("both records stand", async || texts(&bind, challenge).await.len() == 2).await;
    let left = texts(&bind, challenge).await;
    let folder = edge.kill().await;
    assert_eq!(texts(&bind, challenge).await.len(), 2, "nobody removed them yet");
    // The next one has nothing to order, so that it writes no records of its own.
    let config = std::fs::read_to_string(folder.path().join("nameplate.toml")).unwrap();
    let config = config.replace("[[authority]]", "[[authority]]\norder_timeout = \"1s\"");
    std::fs::write(folder.path().join("nameplate.toml"), config).unwrap();
    let _edge = Edge::again(folder).await;
    eventually("they are gone", async || {
        let now = texts(&bind, challenge).await;
        !left.iter().any(|value| now.contains(value))
    })
    .await;
}

#[tokio::test]
async fn a_providers_api_writes_records_and_removes_them() {
    let power = PowerDns::serving("platform.test").await;
    let rest = format!(
        "[dns]\nresolvers = [\"{address}\"]\n[[platform]]\ndomain = \"platform.test\"\nsite = \"default\"\n\
         dns = {{ provider = \"powerdns\", token = \"{API_KEY}\", endpoint = \"{}\", \
         name_servers = [\"{address}\"] }}\n",
        power.endpoint(),
        address = power.address(),
    );
    let House { ca, edge, origin: _origin } = house(Some(power.address()), None, &rest).await;
    let one = served(&edge, "one.platform.test").await;
    assert_eq!(served(&edge, "two.platform.test").await, one);
    served(&edge, "platform.test").await;
    assert_eq!(ca.orders(), 2);
    eventually("the records are gone", async || {
        edge.metric(r#"dns_records_total{change="remove",result="ok"}"#).await == 2.0
    })
    .await;
    assert!(!edge.log().contains(API_KEY), "{}", edge.log());
}

#[test]
fn every_documented_provider_takes_the_keys_that_it_is_documented_with() {
    let text = std::fs::read_to_string("docs/dns-01.md").unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut providers = 0;
    for row in rows {
        let (names, keys) = row.split_once(" | ").unwrap();
        // Behind a semicolon: what may be given too.
        let required = keys.split(';').next().unwrap();
        let words = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        for name in words(&format!("`{names}")) {
            let mut table = format!("[[dns_zone]]\nzone = \"example.io\"\nprovider = {name:?}\n");
            for key in words(required).iter().map(|key| key.strip_suffix("_file").unwrap_or(key)) {
                table.push_str(&format!("{key} = \"a\"\n"));
            }
            let config = file::parse(&table, "nameplate.toml".as_ref()).unwrap_or_else(|why| panic!("{why}"));
            // Google's secret is a file of JSON, in which it looks at once.
            assert!(Writer::new(&config.dns_zones[0]).is_ok() || name == "google", "{name}");
            providers += 1;
        }
    }
    assert_eq!(providers, 22);
}

/// A command that sets and clears records of pebble-challtestsrv, which is the CA's DNS.
fn hook(folder: &TempDir, management: &str, ending: &str) -> String {
    let path = folder.path().join("hook");
    let script = format!(
        "#!/bin/sh\n\
         [ \"$1\" = extra ] || exit 3\n\
         case $2 in present) call=set-txt;; cleanup) call=clear-txt;; *) exit 4;; esac\n\
         echo \"$2 $3\" >> {}\n\
         curl -s --fail -d '{{\"host\":\"'$3'\",\"value\":\"'$4'\"}}' {management}/$call\n{ending}\n",
        folder.path().join("calls").display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

async fn by_command(ending: &str) -> (House, TempDir) {
    let (http, https) = (free_port(), free_port());
    let ca = Ca::start(Options::validating_at(http, https)).await;
    let folder = TempDir::new().unwrap();
    let hook = hook(&folder, &ca.dns_management(), ending);
    let rest = format!(
        "[dns]\nresolvers = [\"{{ca_dns}}\"]\n[[dns_zone]]\nzone = \"shop.test\"\nprovider = \"exec\"\n\
         command = [\"{hook}\", \"extra\"]\nname_servers = [\"{{ca_dns}}\"]\n"
    );
    let rest = format!(
        "{rest}[[site]]\nname = \"shop\"\nhostnames = [\"www.shop.test\"]\norigins = [\"127.0.0.1:1\"]\n"
    );
    (house_of(ca, (http, https), &rest).await, folder)
}

#[tokio::test]
async fn a_command_writes_records_and_removes_them() {
    let (House { ca, edge, origin: _origin }, folder) = by_command("").await;
    served(&edge, "www.shop.test").await;
    assert_eq!(ca.orders(), 1);
    let calls = || std::fs::read_to_string(folder.path().join("calls")).unwrap();
    let wanted = "present _acme-challenge.www.shop.test.\ncleanup _acme-challenge.www.shop.test.\n";
    eventually("it is called twice", async || calls() == wanted).await;
}

#[tokio::test]
async fn a_certificate_does_not_wait_until_its_record_is_removed() {
    let ending = r#"while [ "$2" = cleanup ] && [ ! -e "${0%hook}go" ]; do sleep 0.1; done"#;
    let (House { edge, ca: _ca, origin: _origin }, folder) = by_command(ending).await;
    served(&edge, "www.shop.test").await;
    let removed = async || edge.metric(r#"dns_records_total{change="remove",result="ok"}"#).await;
    assert_eq!(removed().await, 0.0);
    // Whoever tidies up passes by what is under way, and goes on.
    let tidied = r#"store_operations_total{operation="abandoned_records",result="ok"}"#;
    for _ in 0..2 {
        let before = edge.metric(tidied).await;
        eventually("it is tidied up", async || edge.metric(tidied).await > before).await;
    }
    std::fs::write(folder.path().join("go"), "").unwrap();
    eventually("it is removed", async || removed().await == 1.0).await;
}

#[tokio::test]
async fn what_a_command_complains_of_is_told() {
    let (House { ca, edge, origin: _origin }, _folder) =
        by_command("echo the token ran out >&2; exit 7").await;
    assert!(edge.handshake("www.shop.test").await.is_err());
    eventually("it is told", async || edge.log().contains("the token ran out")).await;
    assert!(edge.log().contains("exit status: 7"), "{}", edge.log());
    assert_eq!(ca.orders_for("www.shop.test"), 0);
}

#[tokio::test]
async fn a_change_waits_for_the_turn_at_its_zone_and_gives_it_back_also_where_it_is_given_up() {
    let folder = TempDir::new().unwrap();
    let (hook, calls) = (folder.path().join("hook"), folder.path().join("calls"));
    let script = format!("#!/bin/sh\necho $3 >> {}\n[ $3 != endless ] || exec sleep 1000\n", calls.display());
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let table = format!("[[dns_zone]]\nzone = \"shop.test\"\nprovider = \"exec\"\ncommand = [{hook:?}]\n");
    let config = file::parse(&table, "nameplate.toml".as_ref()).unwrap();
    let metrics = Arc::new(Metrics::new("test"));
    let key = SealingKey::random();
    let store = SqliteStore::open(folder.path(), key, Arc::new(SystemClock), metrics.clone()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let zone = Arc::new(Zone::new(Writer::new(&config.dns_zones[0]).unwrap(), false, store.clone()));
    let lease = async || store.lease_zone(zone.writer.zone(), LEASE_TTL).await.unwrap();
    let present = |value: &str| {
        let owner = "_acme-challenge.shop.test".to_owned();
        let record = TxtRecord { apex: "shop.test".into(), owner, value: value.into() };
        let zone = zone.clone();
        tokio::spawn(async move { zone.present(&record).await })
    };

    let others = lease().await.expect("nobody has it");
    let waiting = present("one");
    let looks = metrics.store_operations.with_label_values(&["lease_zone", "ok"]);
    eventually("it has looked some times", async || looks.get() > 3).await;
    assert!(!calls.exists(), "it is not its turn");
    store.release_zone(&others).await.unwrap();
    waiting.await.unwrap().unwrap();
    let called = || std::fs::read_to_string(&calls).unwrap();
    assert_eq!(called(), "one\n");

    let endless = present("endless");
    eventually("it is under way", async || called() == "one\nendless\n").await;
    assert!(lease().await.is_none(), "it has the turn");
    endless.abort();
    eventually("the turn is given back", async || lease().await.is_some()).await;
}
