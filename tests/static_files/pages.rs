//! Pages for what is not there, what browsers keep, and the edge around it.

use std::os::unix::fs::PermissionsExt;

use crate::bed::program::{Edge, command, run};
use crate::bed::{client::Client, eventually};
use crate::client::Ask;
use crate::folder::{Folder, HOST, config};

async fn edge(folder: &Folder, more: &str) -> Edge {
    Edge::start(&config(&folder.root(), more)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_is_shown_for_what_is_not_there_but_never_for_what_is_hidden() {
    let folder = Folder::full();
    let edge = edge(&folder, "fallback = \"/index.html\"\nimmutable = [\"/docs/\"]").await;
    for target in ["/nothing", "/app/route/7", "/bare/", "/nothing/", "/docs/nothing.js", "/out.txt"] {
        let answer = Ask::get(target).of(&edge, HOST).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "This is index.html.\n"), "{target}");
        assert_eq!(answer.field("content-type"), "text/html; charset=utf-8", "{target}");
        assert_eq!(answer.field("cache-control"), "no-cache", "{target}");
    }
    for target in ["/.env", "/.git/config", "/a/.b"] {
        assert_eq!(Ask::get(target).of(&edge, HOST).await.status, 404, "{target}");
    }
    let etag = Ask::get("/route").of(&edge, HOST).await.field("etag").to_owned();
    assert_eq!(Ask::get("/other").with("If-None-Match", &etag).of(&edge, HOST).await.status, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_site_s_own_page_comes_with_404_whatever_the_request_s_conditions() {
    let folder = Folder::full();
    folder.write("404.html", "nothing here");
    let edge = edge(&folder, "not_found = \"/404.html\"\nhsts = true").await;
    for target in ["/nothing", "/bare/", "/.env", "/docs/guide.txt/x", "/out.txt"] {
        let ask = Ask::get(target).with("If-None-Match", "*").with("Range", "bytes=0-1");
        let answer = ask.of(&edge, HOST).await;
        assert_eq!((answer.status, answer.text().as_str()), (404, "nothing here"), "{target}");
        assert_eq!(answer.field("content-type"), "text/html; charset=utf-8");
        assert_eq!((answer.field("etag"), answer.field("accept-ranges")), ("", ""));
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
        assert!(answer.field("strict-transport-security").starts_with("max-age="));
        assert_eq!(answer.field("x-request-id").len(), 32);
    }
    std::fs::remove_file(folder.root().join("404.html")).unwrap();
    let answer = Ask::get("/nothing").of(&edge, HOST).await;
    assert!(
        answer.status == 404 && answer.text().contains("There is no page at this address."),
        "{answer:?}"
    );
    let answer = Ask::get("/nothing").with("Accept", "application/json").of(&edge, HOST).await;
    assert!(answer.text().contains("no_file"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_browsers_keep_is_as_the_site_says_and_answers_are_counted_as_any() {
    let folder = Folder::full();
    let edge = edge(&folder, "cache_control = \"public, max-age=60\"\nimmutable = [\"/docs/deep/\"]").await;
    for (target, kept) in [
        ("/", "public, max-age=60"),
        ("/docs/guide.txt", "public, max-age=60"),
        ("/docs/deep/er/file.txt", "public, max-age=31536000, immutable"),
    ] {
        let answer = Ask::get(target).of(&edge, HOST).await;
        assert_eq!(answer.field("cache-control"), kept, "{target}");
        assert_eq!(answer.field("x-content-type-options"), "nosniff", "{target}");
        let known = Ask::get(target).with("If-None-Match", answer.field("etag")).of(&edge, HOST).await;
        assert_eq!((known.status, known.field("cache-control")), (304, kept), "{target}");
        assert_eq!(known.field("etag"), answer.field("etag"));
    }
    Ask::get("/nothing").of(&edge, HOST).await;
    let count = async |class: &str| {
        let line =
            format!("http_requests_total{{listener=\"https\",site=\"pages\",status_class=\"{class}\"}}");
        edge.metric(&line).await
    };
    eventually("they are counted", async || {
        (count("2xx").await, count("3xx").await, count("4xx").await) == (3.0, 3.0, 1.0)
    })
    .await;
    let lines = edge.log_lines();
    let line = lines.iter().find(|line| line["fields"]["path"] == "/docs/guide.txt").expect("an access line");
    assert_eq!((&line["fields"]["site"], &line["fields"]["status"]), (&"pages".into(), &200.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_comes_before_the_files() {
    let folder = Folder::full();
    folder.write(".well-known/acme-challenge/token", "a file");
    let edge = edge(&folder, "fallback = \"/index.html\"").await;
    let answer = Ask::get("/.well-known/acme-challenge/token").of(&edge, HOST).await;
    assert!(answer.status == 404 && answer.text().contains("There is no such challenge."), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_gets_the_same_files() {
    use http_body_util::BodyExt;
    let folder = Folder::full();
    let mut edge = edge(&folder, "").await;
    edge.client = Client { alpn: Some(b"\x02h2"), ..Client::default() };
    let (mut send, _connection) = edge.handshake(HOST).await.unwrap().http2().await;
    for (target, range, status, length) in [
        ("/", "", 200, 20),
        ("/big.bin", "", 200, 300_000),
        ("/big.bin", "bytes=1-250000", 206, 250_000),
        ("/docs", "", 301, 0),
        ("/empty.txt", "", 200, 0),
    ] {
        let request = http::Request::get(format!("https://{HOST}{target}"));
        let request = if range.is_empty() { request } else { request.header("range", range) };
        let answer = send.send_request(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{target}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), length, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_root() {
    let (before, after) = (Folder::new(), Folder::new());
    before.write("index.html", "before");
    after.write("index.html", "after");
    let edge = edge(&before, "").await;
    assert_eq!(Ask::get("/").of(&edge, HOST).await.text(), "before");
    let text = std::fs::read_to_string(edge.config_file()).unwrap();
    let text = text.replace(before.root().to_str().unwrap(), after.root().to_str().unwrap());
    std::fs::write(edge.config_file(), text).unwrap();
    let ran = run(&["reload", "--config", edge.config_file().to_str().unwrap()]).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(Ask::get("/").of(&edge, HOST).await.text(), "after");
}

/// Starts the edge as a process that file permissions hold for, which they do not for root.
async fn mortal(folder: &Folder) -> Edge {
    let own = tempfile::TempDir::new().unwrap();
    let data = own.path().join("data").display().to_string();
    let listen = "[listen]\nhttp = []\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n";
    let text = format!("data_dir = {data:?}\n{listen}{}", config(&folder.root(), ""));
    std::fs::write(own.path().join("nameplate.toml"), text).unwrap();
    let plain = command(own.path());
    let log = std::fs::File::options().append(true).open(own.path().join("log")).unwrap();
    let mut bound = tokio::process::Command::new("setpriv");
    bound.arg("--bounding-set=-dac_override,-dac_read_search").arg(plain.as_std().get_program());
    bound.args(plain.as_std().get_args()).stdout(std::process::Stdio::null()).stderr(log).kill_on_drop(true);
    let root = rustix::process::geteuid().is_root();
    Edge::spawn_by(own, if root { bound } else { plain }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_may_not_be_read_is_403_and_told_of() {
    let folder = Folder::full();
    folder.close("docs/guide.txt");
    let walked = std::fs::Permissions::from_mode(0o111);
    std::fs::set_permissions(folder.root().join("docs"), walked).unwrap();
    let edge = mortal(&folder).await;
    assert_eq!(Ask::get("/docs/guide.txt").of(&edge, HOST).await.status, 403);
    assert_eq!(
        Ask::get("/docs").of(&edge, HOST).await.status,
        301,
        "a folder need not be read to be walked through"
    );
    assert_eq!(Ask::get("/docs/").of(&edge, HOST).await.status, 200);
    let log = edge.log();
    assert!(
        log.contains("a file of a static site may not be read") && log.contains("give its user the right"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_missing_is_a_fault_that_is_told_of() {
    let folder = Folder::full();
    let edge = edge(&folder, "not_found = \"/404.html\"").await;
    std::fs::rename(folder.root(), folder.root().with_extension("away")).unwrap();
    let answer = Ask::get("/").of(&edge, HOST).await;
    assert!(answer.status == 500 && !answer.text().contains("site"), "{answer:?}");
    let log = edge.log();
    let told = format!("the root {} cannot be opened", folder.root().display());
    assert!(log.contains("a static site could not be read") && log.contains(&told), "{log}");
    std::fs::rename(folder.root().with_extension("away"), folder.root()).unwrap();
    assert_eq!(Ask::get("/").of(&edge, HOST).await.status, 200);
}
