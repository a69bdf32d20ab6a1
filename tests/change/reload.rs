//! The configuration file, loaded again.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::approval::{ApprovalEndpoint, Behaviour};
use crate::bed::client::{Refused, Served};
use crate::bed::origin::Origin;
use crate::bed::pem::{p256, pair};
use crate::bed::program::{Edge, Ran, run};
use crate::bed::{eventually, free_port};
use crate::config;

/// Writes `text` over the file of `edge`, keeping its data_dir.
fn rewrite(edge: &Edge, text: &str) {
    let data = edge.folder().join("data").display().to_string();
    std::fs::write(edge.config_file(), format!("data_dir = {data:?}\n{text}")).unwrap();
}

async fn reload(edge: &Edge) -> Ran {
    run(&["reload", "--config", edge.config_file().to_str().unwrap()]).await
}

fn listen(http: SocketAddr, https: SocketAddr, admin: SocketAddr) -> String {
    format!("[listen]\nhttp = [\"{http}\"]\nhttps = [\"{https}\"]\nadmin = \"{admin}\"\n")
}

fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

async fn request(served: &mut Served, host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    served.stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"GET /") {
        answer.push(served.stream.read_u8().await.expect("an answer that ends with what was asked"));
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_reload_changes_sites_for_connections_that_are_open_too() {
    let (before, after) = (Origin::start().await, Origin::start().await);
    let edge = Edge::start(&config(&["own.test"], before.address, "")).await;
    let mut kept = edge.handshake("own.test").await.unwrap();
    request(&mut kept, "own.test").await;
    assert!(matches!(edge.handshake("new.test").await, Err(Refused::Alert(112))));

    rewrite(&edge, &(listen(any(), any(), any()) + &config(&["own.test", "new.test"], after.address, "")));
    let ran = reload(&edge).await;
    let file = edge.config_file().display().to_string();
    assert_eq!((ran.code, ran.out), (0, format!("{file} is in force\n")), "{}", ran.err);
    request(&mut kept, "own.test").await;
    assert_eq!((before.requests().len(), after.requests().len()), (1, 1));
    assert!(edge.get("new.test", "/").await.starts_with("HTTP/1.1 200"));
    assert_eq!(edge.metric("reloads_total{result=\"done\"}").await, 1.0);
    assert_eq!(edge.metric("configuration_current").await, 1.0);
}

#[tokio::test]
async fn a_bad_file_keeps_the_configuration_and_says_why() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(&["own.test"], origin.address, "")).await;
    let file = edge.config_file().display().to_string();
    rewrite(&edge, "[limits]\nhandshake = \"10 secondz\"\n[[site]]\nname = \"other\"\n");
    let ran = reload(&edge).await;
    let why = format!("{file}:3:13: limits.handshake: \"10 secondz\" is not a duration");
    assert!(ran.code == 1 && ran.err.contains(&why), "{}", ran.err);
    assert!(ran.err.ends_with("the configuration before it stays in force\n"), "{}", ran.err);
    let logged = |edge: &Edge| {
        edge.log_lines().into_iter().any(|line| {
            line["level"] == "ERROR"
                && line["fields"]["error"].as_str().is_some_and(|error| error.contains(&why))
        })
    };
    assert!(logged(&edge), "{}", edge.log());
    assert_eq!(edge.metric("reloads_total{result=\"failed\"}").await, 1.0);
    assert_eq!(edge.metric("configuration_current").await, 0.0);
    assert!(edge.get("own.test", "/").await.starts_with("HTTP/1.1 200"));

    // A syntax that is broken, behind which the process is found all the same; then by signal.
    rewrite(&edge, "[[site\n");
    let ran = reload(&edge).await;
    assert!(ran.code == 1 && ran.err.contains(&format!("{file}:2:")), "{}", ran.err);
    edge.signal("HUP");
    let failed = "reloads_total{result=\"failed\"}";
    eventually("the signal is heeded", async || edge.metric(failed).await == 3.0).await;

    rewrite(&edge, &(listen(any(), any(), any()) + &config(&["own.test"], origin.address, "")));
    edge.signal("HUP");
    eventually("it is in force", async || edge.metric("configuration_current").await == 1.0).await;
    assert!(edge.get("own.test", "/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn what_a_running_process_cannot_change_changes_nothing_at_all() {
    let (before, after) = (Origin::start().await, Origin::start().await);
    let edge = Edge::start(&config(&["own.test"], before.address, "")).await;
    let holder = std::net::TcpListener::bind(any()).unwrap();
    let taken = holder.local_addr().unwrap();
    let plain = listen(any(), any(), any());
    let platform = format!(
        "{plain}[[platform]]\ndomain = \"plat.test\"\nsite = \"default\"\n\
         certificate_file = \"pair.pem\"\ncertificate_key_file = \"pair.key\"\n"
    );
    pair(&["*.other.test"], &p256(), 2040).write(&edge.folder(), "pair");
    for (text, why) in [
        (format!("{plain}[limits]\nhot_certificates = 7\n"), "limits.hot_certificates cannot change"),
        (format!("{plain}[store]\nkey_file = \"other.key\"\n"), "store.key_file cannot change"),
        (listen(any(), taken, any()), "cannot listen on"),
        (platform, "does not cover *.plat.test"),
    ] {
        if text.contains("other.key") {
            std::fs::copy(edge.folder().join("data/store.key"), edge.folder().join("other.key")).unwrap();
        }
        rewrite(&edge, &config(&["own.test", "new.test"], after.address, &text));
        let ran = reload(&edge).await;
        assert!(ran.code == 1 && ran.err.contains(why), "{why}: {}", ran.err);
        assert!(edge.get("own.test", "/").await.starts_with("HTTP/1.1 200"));
        assert!(edge.handshake("new.test").await.is_err(), "{why}: nothing of it is in force");
    }
    drop(holder);
    assert_eq!(after.requests().len(), 0);
}

#[tokio::test]
async fn listeners_come_and_go_with_the_configuration() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(&["own.test"], origin.address, "")).await;
    let free = || SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (https, admin) = (free(), free());
    let mut kept = edge.handshake("own.test").await.unwrap();
    rewrite(&edge, &(listen(any(), https, admin) + &config(&["own.test"], origin.address, "")));
    let ran = reload(&edge).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let listening = edge.listening();
    assert_eq!(listening["https"][0], https.to_string());
    assert_eq!(listening["http"][0], edge.http.to_string(), "what stays configured stays open");
    let served = edge.client.handshake(https, "own.test").await.unwrap();
    assert!(served.get("own.test", "/").await.starts_with("HTTP/1.1 200"));
    request(&mut kept, "own.test").await;
    assert!(crate::bed::plain(admin, "admin.test", "/readyz").await.starts_with("HTTP/1.1 200"));
    let location = crate::bed::plain(edge.http, "own.test", "/").await;
    let wanted = format!("location: https://own.test:{}/", https.port());
    assert!(location.contains(&wanted), "redirects name the new port: {location}");
    for gone in [edge.https, edge.admin] {
        let gone = async || tokio::net::TcpStream::connect(gone).await.is_err();
        eventually("the old one is closed", gone).await;
    }
}

#[tokio::test]
async fn limits_approval_and_certificates_follow() {
    let (endpoint, origin) = (ApprovalEndpoint::start().await, Origin::start().await);
    let edge = Edge::start(&config(&["own.test"], origin.address, "")).await;
    assert!(matches!(edge.handshake("shop.example").await, Err(Refused::Alert(112))), "nobody is asked");
    endpoint.says("shop.example", Behaviour::Yes);
    pair(&["*.plat.test", "plat.test"], &p256(), 2040).write(&edge.folder(), "pair");
    let more = format!(
        "{}[limits]\nconnections_per_client = 3\n[on_demand]\napproval = \"{}\"\n[[platform]]\n\
         domain = \"plat.test\"\nsite = \"default\"\ncertificate_file = \"pair.pem\"\n\
         certificate_key_file = \"pair.key\"\n",
        listen(any(), any(), any()),
        endpoint.template()
    );
    rewrite(&edge, &config(&["own.test"], origin.address, &more));
    let ran = reload(&edge).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(edge.get("shop.example", "/").await.starts_with("HTTP/1.1 200"));
    assert!(edge.get("a.plat.test", "/").await.starts_with("HTTP/1.1 200"));
    eventually("connections before are closed", async || edge.metric("connections").await == 0.0).await;
    let mut three = Vec::new();
    for _ in 0..3 {
        three.push(edge.handshake("own.test").await.unwrap());
    }
    assert!(edge.handshake("own.test").await.is_err(), "a fourth is one too many");

    // A verdict outlives a reload.
    three.clear();
    eventually("there is room", async || edge.metric("connections").await == 0.0).await;
    endpoint.says("late.example", Behaviour::No);
    assert!(edge.handshake("late.example").await.is_err());
    let questions = endpoint.questions_about("late.example");
    let ran = reload(&edge).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(edge.handshake("late.example").await.is_err());
    assert_eq!(endpoint.questions_about("late.example"), questions);
}

#[tokio::test]
async fn without_a_process_there_is_nothing_to_reload() {
    let origin = Origin::start().await;
    let edge = Edge::start(&config(&["own.test"], origin.address, "")).await;
    let path = edge.config_file();
    let folder = edge.stop().await;
    for command in ["reload", "upgrade"] {
        let ran = run(&[command, "--config", path.to_str().unwrap()]).await;
        assert!(ran.code == 1 && ran.err.contains("no process serves from"), "{}", ran.err);
    }
    drop(folder);
}
