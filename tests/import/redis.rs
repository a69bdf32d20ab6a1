//! Keys in a real Redis, as lua-resty-auto-ssl, lua-resty-acme and Kong have them.

use nameplate::certs::import::Source;
use nameplate::certs::import::keyed::open_redis;
use nameplate::peers::connection::Address;
use nameplate::peers::layout::Layout;
use nameplate::peers::{kong, lua_resty_acme, lua_resty_auto_ssl};
use serde_json::json;

use super::bed::program::run;
use super::bed::redis::Redis;
use super::house::{Bed, Told, look};
use super::made::{Ca, Leaf, NOW, p256, params, pem_of};

const AUTO_SSL: Layout = Layout::LuaRestyAutoSsl { prefix: None };

fn prefixed(prefix: &str) -> Layout {
    Layout::LuaRestyAutoSsl { prefix: Some(prefix.to_owned()) }
}

async fn open(redis: &Redis, layout: Layout) -> Source {
    let address = Address::new(&redis.url(), None, None).unwrap();
    open_redis(&address, layout, NOW).await.unwrap()
}

fn why<'a>(told: &'a [Told], place: &str) -> &'a str {
    let one = told.iter().find(|one| one.place == place).unwrap_or_else(|| panic!("{place}: {told:?}"));
    one.skipped.as_deref().unwrap_or_default()
}

fn pair(key: &str, value: impl Into<String>) -> (String, String) {
    (key.to_owned(), value.into())
}

/// What lies in a Redis of lua-resty-auto-ssl beside three good certificates.
fn seen_in_the_field(ca: &Ca, shop: &Leaf, old: &Leaf, wild: &Leaf) -> Vec<(String, String)> {
    let over = ca.leaf_from(&["over.test"], 2020, 2021);
    let other = ca.leaf(&["other.test"], 2027, p256());
    let old_value = json!({ "fullchain_pem": old.chain(), "privkey_pem": old.key.serialize_pem() });
    let mismatched =
        json!({ "fullchain_pem": old.chain(), "privkey_pem": p256().serialize_pem(), "expiry": 1 });
    vec![
        pair(&lua_resty_auto_ssl::key(None, "shop.test"), shop.auto_ssl()),
        pair("old.test:latest", old_value.to_string()),
        pair("any.wild.test:latest", wild.auto_ssl()),
        pair("over.test:latest", over.auto_ssl()),
        pair("wrong.test:latest", other.auto_ssl()),
        pair("mismatched.test:latest", mismatched.to_string()),
        pair("fields.test:latest", r#"{"cert_pem":"","privkey_pem":"","fullchain_pem":""}"#),
        pair(
            "nulls.test:latest",
            r#"{"cert_pem":null,"privkey_pem":null,"fullchain_pem":null,"expiry":null}"#,
        ),
        pair("empty.test:latest", ""),
        pair("keyless.test:latest", json!({ "fullchain_pem": old.chain() }).to_string()),
        pair("text.test:latest", "no JSON: secret"),
        pair("kind.test:latest", r#"{"fullchain_pem":["secret"]}"#),
        pair("cut.test:latest", &shop.auto_ssl()[..100]),
        pair("large.test:latest", "x".repeat((1 << 20) + 1)),
        pair("a b.test:latest", shop.auto_ssl()),
        pair("p:prefixed.test:latest", shop.auto_ssl()),
        pair("shop.test:1490217323000", old.auto_ssl()),
        pair("shop.test:challenge:token", "token.thumbprint"),
        pair("shop.test:issue_cert_lock", "0a"),
        pair("latest", "x"),
        pair("other:latest:key", "x"),
    ]
}

#[tokio::test]
async fn lua_resty_auto_ssls_certificates_are_found_among_its_other_keys() {
    let (redis, ca, bed) = (Redis::start().await, Ca::new(), Bed::new().await);
    let shop = ca.leaf(&["shop.test"], 2027, p256());
    let old = ca.leaf(&["old.test"], 2027, p256());
    let wild = ca.leaf(&["*.wild.test"], 2027, p256());
    redis.set(&seen_in_the_field(&ca, &shop, &old, &wild)).await;
    let mut connection = redis.connection("").await;
    let () = redis::cmd("RPUSH").arg("list.test:latest").arg("x").query_async(&mut connection).await.unwrap();
    let () = redis::cmd("SET").arg(b"\xff:latest").arg("x").query_async(&mut connection).await.unwrap();

    let (summary, told) = bed.apply(open(&redis, AUTO_SSL).await).await;
    assert_eq!((summary.items, summary.used, summary.names, summary.wildcards), (17, 3, 3, 1), "{told:#?}");
    assert_eq!(bed.find("shop.test").await.unwrap().chain[0], shop.der);
    assert_eq!(bed.find("old.test").await.unwrap().chain[0], old.der, "without expiry and cert_pem");
    assert_eq!(bed.find("*.wild.test").await.unwrap().chain[0], wild.der);
    let emptied = "its value is empty, or it was removed meanwhile";
    for (key, reason) in [
        ("over.test", "it expired at 2021-01-01T00:00:00Z"),
        ("wrong.test", "it lies where wrong.test has its certificate, and is for other.test alone"),
        ("mismatched.test", "the private key does not belong to any certificate in it"),
        ("fields.test", emptied),
        ("nulls.test", emptied),
        ("empty.test", emptied),
        ("keyless.test", "its value has no privkey_pem"),
        ("large.test", "its value is larger than 1 MiB, so it is no certificate"),
        ("list.test", "its value is of another kind than a string, so it is not what was looked for"),
    ] {
        assert_eq!(why(&told, &format!("{key}:latest")), reason, "{key}");
    }
    for (key, part) in [
        ("text.test", "that lua-resty-auto-ssl writes: it is no JSON"),
        ("kind.test", "a field is of another kind"),
        ("cut.test", "it ends too soon"),
        ("a b.test", "\"a b.test\" in its key is no hostname"),
        ("p:prefixed.test", "give --prefix"),
    ] {
        let why = why(&told, &format!("{key}:latest"));
        assert!(why.contains(part), "{key}: {why}");
        assert!(!why.contains("secret"), "{key}: {why}");
    }
    assert_eq!(redis.calls("keys").await, 0, "KEYS holds everybody else up");
    assert!(redis.calls("scan").await > 0);
}

#[tokio::test]
async fn a_prefix_is_taken_as_it_is_and_a_database_by_its_number() {
    let (redis, ca) = (Redis::start().await, Ca::new());
    let value = |name: &str| ca.leaf(&[name], 2027, p256()).auto_ssl();
    redis
        .set(&[
            pair("a[1]*:in.test:latest", value("in.test")),
            pair("a1x:out.test:latest", value("out.test")),
            pair("a[1]*in.test:latest", value("in.test")),
            pair("in.test:latest", value("in.test")),
        ])
        .await;
    let (summary, told) = look(open(&redis, prefixed("a[1]*")).await).await;
    assert_eq!((summary.items, &*told[0].place), (1, "a[1]*:in.test:latest"));

    let mut one = redis.connection("/1").await;
    let () =
        redis::cmd("SET").arg("x:y:n.test:latest").arg(value("n.test")).query_async(&mut one).await.unwrap();
    let address = Address::new(&format!("{}/1", redis.url()), None, None).unwrap();
    let (summary, _) = look(open_redis(&address, prefixed("x:y"), NOW).await.unwrap()).await;
    assert_eq!((summary.items, summary.names), (1, 1));
    let (summary, _) = look(open(&redis, prefixed("x:y")).await).await;
    assert_eq!(summary.items, 0, "it is in another database");
}

#[tokio::test]
async fn lua_resty_acmes_and_kongs_keys_are_read() {
    let (redis, ca) = (Redis::start().await, Ca::new());
    let acme = |name: &str, until| {
        let leaf = ca.leaf(&[name], until, p256());
        let (pkey, cert) = (leaf.key.serialize_pem(), leaf.chain());
        json!({ "domain": name, "pkey": pkey, "cert": cert, "type": "ecc", "updated": 1_700_000_000 })
            .to_string()
    };
    let kongs = |name: &str| {
        let leaf = ca.leaf(&[name], 2027, p256());
        json!({ "key": leaf.key.serialize_pem(), "cert": leaf.chain() }).to_string()
    };
    redis
        .set(&[
            pair("domain:rsa:two.test", acme("two.test", 2027)),
            pair("domain:ecc:two.test", acme("two.test", 2028)),
            pair("update_lock:two.test", "1"),
            pair("account_key:x", "-----BEGIN PRIVATE KEY-----"),
            pair("token#http-01", "token.thumbprint"),
            pair("domain:dsa:none.test", "x"),
            pair(&lua_resty_acme::key("ns_", "ecc", "newer.test"), acme("newer.test", 2027)),
            pair("ns_::domain:rsa:older.test", acme("older.test", 2027)),
            pair(&kong::key(kong::PREFIX, "kong.test"), kongs("kong.test")),
            pair("kong_acme:renew_config:kong.test", r#"{"host":"kong.test","expire_at":1}"#),
            pair("kong_acme:cert_key:half.test", r#"{"key":"x"}"#),
            pair("kong_acme:fail_backoff:kong.test", "1"),
        ])
        .await;
    let acmes = |namespace: &str| Layout::LuaRestyAcme { namespace: namespace.to_owned() };
    let (summary, told) = look(open(&redis, acmes("")).await).await;
    assert_eq!((summary.items, summary.used, summary.names), (2, 1, 1), "{told:?}");
    assert!(told.iter().all(|one| one.used == (one.place == "domain:ecc:two.test")), "it lasts longer");
    let (summary, told) = look(open(&redis, acmes("ns_")).await).await;
    assert_eq!((summary.items, summary.names), (2, 2), "{told:?}");

    let (summary, told) = look(open(&redis, Layout::Kong { prefix: kong::PREFIX.to_owned() }).await).await;
    assert_eq!((summary.items, summary.names), (2, 1), "{told:?}");
    assert_eq!(why(&told, "kong_acme:cert_key:half.test"), "its value has no cert");
}

#[tokio::test]
async fn of_thousands_of_keys_each_is_read_once_though_keys_come_and_go() {
    let (redis, ca, bed) = (Redis::start().await, Ca::new(), Bed::new().await);
    let key = p256();
    let value = |name: &str| {
        let leaf = params(&[name], 2027).signed_by(&key, &ca.issuer).unwrap();
        json!({ "fullchain_pem": pem_of("CERTIFICATE", leaf.der()), "privkey_pem": key.serialize_pem() })
            .to_string()
    };
    let all: Vec<_> =
        (0..3_000).map(|n| pair(&format!("n{n}.test:latest"), value(&format!("n{n}.test")))).collect();
    redis.set(&all).await;
    let mut source = open(&redis, AUTO_SSL).await;
    assert_eq!(source.total, Some(3_000));

    // While it goes on the table of keys grows and shrinks, which lets SCAN give keys again; some
    // that it gave are gone when their values are read.
    use futures::StreamExt;
    let mut items = Vec::new();
    for _ in 0..50 {
        items.push(source.items.next().await.unwrap().unwrap());
    }
    let strangers: Vec<_> = (0..40_000).map(|n| pair(&format!("stranger{n}"), "x")).collect();
    redis.set(&strangers).await;
    let mut connection = redis.connection("").await;
    let read: std::collections::HashSet<String> = items.iter().map(|item| item.place.clone()).collect();
    let gone: Vec<&String> =
        all.iter().map(|(key, _)| key).filter(|key| !read.contains(*key)).take(900).collect();
    let () = redis::cmd("DEL").arg(&gone).query_async(&mut connection).await.unwrap();
    for _ in 0..500 {
        items.push(source.items.next().await.unwrap().unwrap());
    }
    let names: Vec<&String> = strangers.iter().map(|(key, _)| key).collect();
    let () = redis::cmd("DEL").arg(&names).query_async(&mut connection).await.unwrap();
    while let Some(item) = source.items.next().await {
        items.push(item.unwrap());
    }
    let mut places: Vec<&str> = items.iter().map(|item| &*item.place).collect();
    places.sort_unstable();
    let count = places.len();
    places.dedup();
    assert_eq!(places.len(), count, "each once");
    for (key, _) in all.iter().filter(|(key, _)| !gone.contains(&key)) {
        assert!(places.binary_search(&key.as_str()).is_ok(), "{key} is missing");
    }
    let (summary, told) = bed.apply(super::house::source(items, None)).await;
    let skipped: Vec<&Told> = told.iter().filter(|one| !one.used).collect();
    assert!(skipped.iter().all(|one| gone.contains(&&one.place)), "{skipped:?}");
    assert!(skipped.iter().all(|one| one.skipped.as_ref().unwrap().contains("removed meanwhile")));
    assert!(summary.names >= 2_100);
}

#[tokio::test]
async fn a_redis_that_goes_away_ends_the_import_and_what_was_read_stays() {
    let (mut redis, ca, bed) = (Redis::start().await, Ca::new(), Bed::new().await);
    let key = p256();
    let value = |name: &str| {
        let leaf = params(&[name], 2027).signed_by(&key, &ca.issuer).unwrap();
        json!({ "fullchain_pem": pem_of("CERTIFICATE", leaf.der()), "privkey_pem": key.serialize_pem() })
            .to_string()
    };
    let all: Vec<_> =
        (0..2_500).map(|n| pair(&format!("n{n}.test:latest"), value(&format!("n{n}.test")))).collect();
    redis.set(&all).await;
    let mut source = open(&redis, AUTO_SSL).await;
    use futures::StreamExt;
    let first = source.items.next().await.unwrap();
    redis.stop().await;
    source.items = futures::stream::iter([first]).chain(source.items).boxed();
    let (summary, _, ended) = bed.try_to_apply(source).await;
    let error = ended.unwrap_err().to_string();
    assert!(error.starts_with(&format!("127.0.0.1:{}: could not ", redis.port)), "{error}");
    assert!(summary.names >= 1 && summary.names < 2_500, "{summary:?}");
    assert!(error.contains("check that it runs there"), "{error}");
}

#[tokio::test]
async fn passwords_users_and_tls_let_in_and_are_never_shown() {
    let acl = [
        "--user",
        "reader",
        "on",
        ">pass:w@rd",
        "~*",
        "+scan",
        "+getrange",
        "+dbsize",
        "--user",
        "default",
        "off",
    ];
    let redis = Redis::start_with(&acl).await;
    let at = redis.url().replace("redis://", "");
    let command = async |url: &str, more: &[&str]| {
        run(&[&["import", "lua-resty-auto-ssl", "--redis", url], more].concat()).await
    };
    let ran = command(&format!("redis://reader:pass%3Aw%40rd@{at}"), &[]).await;
    assert_eq!((ran.code, &*ran.out), (1, "no keys with certificates there\n"), "{}", ran.err);
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "pass:w@rd\n").unwrap();
    let file = file.display().to_string();
    let ran = command(&format!("redis://reader@{at}"), &["--redis-password-file", &file]).await;
    assert_eq!(&*ran.out, "no keys with certificates there\n", "{}", ran.err);

    for (url, says) in [
        (format!("redis://reader:secret@{at}"), "; check user and password"),
        (format!("redis://{at}"), "; it wants a password: give --redis-password-file"),
        (format!("redis://:secret@{at}"), "; check user and password"),
        (format!("rediss://:secret@{at}"), "whether it wants TLS"),
        ("redis://:secret@127.0.0.1:1".to_owned(), "; check that it runs there"),
        (format!("redis://:secret@{at}/x"), "the address of Redis cannot be used"),
        (format!("http://:secret@{at}/"), "the address of Redis cannot be used"),
        ("secret".to_owned(), "the address of Redis cannot be used"),
    ] {
        let ran = command(&url, &[]).await;
        assert_eq!(ran.code, 1, "{url}: {}", ran.out);
        assert!(ran.err.contains(says), "{url}: {}", ran.err);
        assert!(!ran.err.contains("secret") && !ran.out.contains("secret"), "{url}: {}", ran.err);
    }
    let address = Address::new(&format!("redis://:secret@{at}"), None, None).unwrap();
    assert_eq!(format!("{address:?}"), at);

    let locked = Redis::start_with(&["--user", "default", "on", "nopass", "~*", "+dbsize"]).await;
    let ran = command(&locked.url(), &[]).await;
    assert!(ran.err.contains("the user needs the commands SCAN, GETRANGE and DBSIZE"), "{}", ran.err);

    let tls = Redis::start_with_tls().await;
    let url = format!("rediss://localhost:{}", tls.port);
    let ran = command(&url, &["--redis-ca-file", &tls.ca_file().display().to_string()]).await;
    assert_eq!(&*ran.out, "no keys with certificates there\n", "{}", ran.err);
    let ran = command(&url, &[]).await;
    assert!(ran.err.contains("could not connect") && ran.err.contains("certificate"), "{}", ran.err);
}
