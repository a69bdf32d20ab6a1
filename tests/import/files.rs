//! Folders with a file for each key, as lua-resty-auto-ssl and lua-resty-acme have them.

use nameplate::certs::import::keyed::{open_lua_resty_acme, open_lua_resty_auto_ssl};
use nameplate::peers::{lua_resty_acme, lua_resty_auto_ssl};

use super::house::{Bed, Told, look};
use super::made::{Ca, NOW, p256};

fn why<'a>(told: &'a [Told], place: &str) -> &'a str {
    let one = told.iter().find(|one| one.place == place).unwrap_or_else(|| panic!("{place}: {told:?}"));
    one.skipped.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn lua_resty_auto_ssls_files_are_named_by_their_escaped_keys() {
    let (bed, ca) = (Bed::new().await, Ca::new());
    assert_eq!(lua_resty_auto_ssl::file_name("www.example.com:latest"), "www.example.com%3Alatest");
    let leaf = ca.leaf(&["www.example.com"], 2027, p256());
    bed.write("storage/file/www.example.com%3Alatest", leaf.auto_ssl());
    bed.write("storage/file/www.example.com%3A1490217323000", "a backup of old");
    bed.write("storage/file/www.example.com%3Achallenge%3Atoken", "token.thumbprint");
    bed.write("storage/file/www.example.com%3Aissue_cert_lock", "0a");
    bed.write("storage/file/empty.test%3Alatest", "");
    bed.write("letsencrypt/accounts/x/account_key.pem", "-----BEGIN RSA PRIVATE KEY-----");

    let dir = bed.folder();
    for dir in [&dir, &dir.join("storage/file")] {
        let (summary, told) = look(open_lua_resty_auto_ssl(dir, NOW).unwrap()).await;
        assert_eq!((summary.items, summary.names), (2, 1), "{told:?}");
        assert_eq!(why(&told, "www.example.com%3Alatest"), "");
        assert_eq!(why(&told, "empty.test%3Alatest"), "its value is empty, or it was removed meanwhile");
    }
    bed.apply(open_lua_resty_auto_ssl(&dir, NOW).unwrap()).await;
    assert_eq!(bed.find("www.example.com").await.unwrap().chain[0], leaf.der);
}

#[tokio::test]
async fn lua_resty_acmes_files_are_named_by_the_base64_of_their_keys() {
    let (bed, ca) = (Bed::new().await, Ca::new());
    let value = |name: &str| {
        let leaf = ca.leaf(&[name], 2027, p256());
        let (pkey, cert) = (leaf.key.serialize_pem(), leaf.chain());
        serde_json::json!({ "domain": name, "pkey": pkey, "cert": cert, "type": "ecc", "updated": 1.5 })
            .to_string()
    };
    let file =
        |namespace: &str, name: &str| lua_resty_acme::file_name(&lua_resty_acme::key(namespace, "ecc", name));
    bed.write(&file("", "for.ever.test"), format!("0::{}", value("for.ever.test")));
    bed.write(&file("", "with.end.test"), format!("1490217323.25::{}", value("with.end.test")));
    bed.write(&file("", "bare.test"), value("bare.test"));
    bed.write(&file("ns", "elsewhere.test"), value("elsewhere.test"));
    bed.write(&lua_resty_acme::file_name("update_lock:bare.test"), "0::1");
    bed.write("account.key", "-----BEGIN RSA PRIVATE KEY-----");

    let (summary, told) = bed.apply(open_lua_resty_acme(&bed.folder(), String::new(), NOW).unwrap()).await;
    assert_eq!((summary.items, summary.names), (3, 3), "{told:?}");
    for name in ["for.ever.test", "with.end.test", "bare.test"] {
        assert!(bed.find(name).await.is_some(), "{name}");
    }
    let (summary, _) = look(open_lua_resty_acme(&bed.folder(), "ns".into(), NOW).unwrap()).await;
    assert_eq!(summary.names, 1);
}
