//! What a process wrote holds no secret: its log at its most talkative, its metrics, its files.

mod bed;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bed::approval::{ApprovalEndpoint, Behaviour};
use bed::ca::{Ca, Options};
use bed::origin::Origin;
use bed::program::Edge;
use bed::{eventually, free_port};
use nameplate::domain::clock::SystemClock;
use nameplate::store::Store;
use nameplate::store::key_file;
use nameplate::store::sqlite::SqliteStore;
use nameplate::store::tickets::TicketKeys;
use nameplate::telemetry::metrics::Metrics;
use sqlx::Connection;

const TOKEN: &str = "token-of-the-approval-endpoint";
const KEY_ID: &str = "account-1";
/// 32 octets, base64url.
const HMAC: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0ISEhISE";

/// Something that must be nowhere, in every form that it could take.
struct Secret {
    what: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn octets(what: &'static str, octets: &[u8]) -> Self {
        // The middle of it, at each of the three places that base64 may begin at: whatever stands
        // around it, one of them is there.
        let middle = &octets[octets.len() / 4..octets.len() - octets.len() / 4];
        let mut forms = vec![middle.to_vec()];
        for skip in 0..3 {
            let part = &middle[skip..skip + (middle.len() - skip) / 3 * 3];
            forms.push(STANDARD_NO_PAD.encode(part).into_bytes());
            forms.push(URL_SAFE_NO_PAD.encode(part).into_bytes());
        }
        let hexadecimal: String = middle.iter().map(|octet| format!("{octet:02x}")).collect();
        forms.push(hexadecimal.into_bytes());
        Self { what, forms }
    }

    fn text(what: &'static str, text: &str) -> Self {
        Self { what, forms: vec![text.as_bytes().to_vec()] }
    }

    fn is_in(&self, haystack: &[u8]) -> bool {
        // PEM breaks its lines.
        let flat: Vec<u8> = haystack.iter().copied().filter(|octet| *octet != b'\n').collect();
        let held = |hay: &[u8], form: &[u8]| hay.windows(form.len()).any(|window| window == form);
        self.forms.iter().any(|form| held(haystack, form) || held(&flat, form))
    }
}

/// The secrets that the process made, by the means of the process itself.
async fn made(data: &Path) -> Vec<Secret> {
    let sealing = std::fs::read_to_string(data.join("store.key")).unwrap();
    let url = format!("sqlite:{}?mode=ro", data.join("store.sqlite").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let account: String =
        sqlx::query_scalar("SELECT key FROM accounts").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let key = key_file::load(&data.join("store.key")).unwrap();
    let store =
        SqliteStore::open(data, key, Arc::new(SystemClock), Arc::new(Metrics::new("test"))).await.unwrap();
    let certificate = store.certificate(&"shop.test".parse().unwrap()).await.unwrap().unwrap();
    let credentials = store.account(&account).await.unwrap().unwrap();
    let tickets = store.ticket_keys().await.unwrap().keys.remove(0);
    store.close().await;
    let credentials: serde_json::Value = serde_json::from_slice(&credentials).unwrap();
    let account_key = credentials["key_pkcs8"].as_str().unwrap();
    vec![
        Secret::octets("the sealing key", &STANDARD.decode(sealing.trim()).unwrap()),
        Secret::octets("the certificate's key", certificate.key.der()),
        Secret::octets("the cipher key of session tickets", tickets.cipher()),
        Secret::octets("the MAC key of session tickets", tickets.mac()),
        Secret::octets("the account's key", &URL_SAFE_NO_PAD.decode(account_key).unwrap()),
        Secret::text("the token of the approval endpoint", TOKEN),
        Secret::text("the HMAC key of the external account", HMAC),
    ]
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            files(&path, found);
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
            found.push(path);
        }
    }
}

#[tokio::test]
async fn nothing_that_a_process_writes_holds_a_secret() {
    let (http, https) = (free_port(), free_port());
    let options = Options::validating_at(http, https);
    let ca = Ca::start(Options { external_account: Some((KEY_ID, HMAC)), ..options }).await;
    let (endpoint, origin) = (ApprovalEndpoint::start().await, Origin::start().await);
    endpoint.says("shop.test", Behaviour::Yes);
    let config = format!(
        "[listen]\nhttp = [\"127.0.0.1:{http}\"]\nhttps = [\"127.0.0.1:{https}\"]\nadmin = \"127.0.0.1:0\"\n\
         {}eab = {{ key_id = {KEY_ID:?}, hmac_key = {HMAC:?} }}\n\
         [on_demand]\napproval = \"{}?token={TOKEN}\"\n\
         [[site]]\nname = \"default\"\norigins = [\"{}\"]\n",
        ca.authority_toml("pebble", r#"["http-01"]"#),
        endpoint.template(),
        origin.address
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log-filter"), "trace").unwrap();
    let edge = Edge::start_in(folder, &config).await;
    edge.handshake("shop.test").await.unwrap();
    // Names that fail say more.
    endpoint.says("gone.test", Behaviour::Yes);
    ca.break_dns_of("gone.test").await;
    assert!(edge.handshake("gone.test").await.is_err());
    eventually("the local copy", async || edge.has_a_copy()).await;
    let metrics = bed::plain(edge.admin, "admin.test", "/metrics").await;
    let folder = edge.stop().await;

    let data = folder.path().join("data");
    let secrets = made(&data).await;
    let log = std::fs::read(folder.path().join("log")).unwrap();
    assert!(String::from_utf8_lossy(&log).contains("TRACE"), "the log is at its most talkative");
    let mut written = Vec::new();
    files(&data, &mut written);
    assert!(written.len() > 3, "{written:?}");
    for secret in &secrets {
        assert!(!secret.is_in(&log), "{} is in the log", secret.what);
        assert!(!secret.is_in(metrics.as_bytes()), "{} is in the metrics", secret.what);
        for path in written.iter().filter(|path| path.is_file() && !path.ends_with("store.key")) {
            assert!(!secret.is_in(&std::fs::read(path).unwrap()), "{} is in {}", secret.what, path.display());
        }
    }
    let key = std::fs::read(data.join("store.key")).unwrap();
    assert!(secrets[0].is_in(&key), "the search finds what is there");
}
