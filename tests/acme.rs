//! Orders at a real CA: Pebble, with pebble-challtestsrv for DNS.

mod bed;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use bed::ca::{Ca, Options};
use bed::edge::Edge;
use bed::eventually;
use http::StatusCode;
use nameplate::acme::{Cause, Error, Step};
use nameplate::config::{Authority, ChallengeType, Directory, ExternalAccount, Secret};
use nameplate::domain::certificate::{Certificate, KeyType, Source};
use nameplate::domain::clock::{Clock, SystemClock};
use nameplate::domain::hostname::CertificateName;
use nameplate::store::{Challenge, ChallengeKind};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use ChallengeType::{Http01, TlsAlpn01};

fn name(text: &str) -> CertificateName {
    text.parse().unwrap()
}

/// Verifies as a client does: chain up to `root` (PEM), hostname, time.
fn assert_served_well(certificate: &Certificate, root: &str) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .unwrap();
    let chain: Vec<CertificateDer<'_>> = certificate.chain.iter().map(|der| der.clone().into()).collect();
    let server = ServerName::try_from(certificate.name.as_str().replace('*', "any")).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        u64::try_from(SystemClock.now().0).unwrap(),
    ));
    use rustls::client::danger::ServerCertVerifier;
    verifier.verify_server_cert(&chain[0], &chain[1..], &server, &[], now).unwrap();
    let key = PrivateKeyDer::Pkcs8(certificate.key.der().to_vec().into());
    CertifiedKey::from_der(chain, key, &provider).expect("the key belongs to the leaf");
}

fn failures(error: &Error) -> &[nameplate::acme::Failure] {
    let Error::Failed { failures, .. } = error else { panic!("{error}") };
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_obtained_by_each_challenge_type() {
    let edge = Edge::start().await;
    let ca = Ca::start(edge.ca_options()).await;
    let root = ca.root().await;
    for (kind, host) in [(Http01, "http.test"), (TlsAlpn01, "alpn.test")] {
        let authorities = edge.authorities(&[ca.authority("pebble", &[kind])]);
        let certificate = authorities.obtain(&name(host)).await.unwrap();
        assert_served_well(&certificate, &root);
        assert_eq!(certificate.source, Source::Authority("pebble".into()));
        assert!(certificate.validity.holds(SystemClock.now()));
        assert_eq!(ca.orders_for(host), 1);
    }
    assert_eq!(ca.accounts(), 1, "the second start found the account in the store");
    assert_eq!(edge.orders("pebble", "issued"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_type_is_obtained_with_a_fresh_key() {
    let edge = Edge::start().await;
    let ca = Ca::start(edge.ca_options()).await;
    let root = ca.root().await;
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
        let authority = Authority { key_type, ..ca.authority("pebble", &[Http01]) };
        let authorities = edge.authorities(&[authority]);
        let first = authorities.obtain(&name("shop.test")).await.unwrap();
        // As saving the first one does.
        edge.store.forget_order(&name("shop.test")).await.unwrap();
        let second = authorities.obtain(&name("shop.test")).await.unwrap();
        assert_served_well(&first, &root);
        assert_eq!(first.key_type, key_type);
        assert_ne!(first.key, second.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_orders_makes_one_account() {
    let edge = Edge::start().await;
    let ca = Ca::start(edge.ca_options()).await;
    let authorities = Arc::new(edge.authorities(&[ca.authority("pebble", &[Http01])]));
    let orders: Vec<_> = (0..20)
        .map(|number| {
            let authorities = authorities.clone();
            tokio::spawn(async move { authorities.obtain(&name(&format!("n{number}.test"))).await })
        })
        .collect();
    for order in orders {
        order.await.unwrap().unwrap();
    }
    assert_eq!((ca.accounts(), ca.orders()), (1, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_that_fails_falls_through_to_the_next_type() {
    let edge = Edge::start().await;
    // Nobody listens where the CA looks for HTTP-01.
    let ca = Ca::start(Options { http_port: bed::free_port(), ..edge.ca_options() }).await;
    let authorities = edge.authorities(&[ca.authority("pebble", &[Http01, TlsAlpn01])]);
    let certificate = authorities.obtain(&name("shop.test")).await.unwrap();
    assert_served_well(&certificate, &ca.root().await);
    assert_eq!(ca.orders(), 2, "an authorization that failed takes a new order");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_each_type_fails_the_report_has_the_words_on_each() {
    let edge = Edge::start().await;
    let nobody = Options::validating_at(bed::free_port(), bed::free_port());
    let ca = Ca::start(nobody).await;
    let authorities = edge.authorities(&[ca.authority("pebble", &[TlsAlpn01, Http01])]);
    let error = authorities.obtain(&name("shop.test")).await.unwrap_err();
    let [failure] = failures(&error) else { panic!("{error}") };
    assert!(matches!(failure.cause, Cause::Authorization), "{error}");
    assert_eq!(failure.step, Step::Validation);
    let kinds: Vec<_> = failure.challenges.iter().map(|challenge| challenge.kind).collect();
    assert_eq!(kinds, ["tls-alpn-01", "http-01"]);
    let report = error.to_string();
    for part in ["no certificate for shop.test", "pebble", "connection", "What to do:", "ports 80 and 443"] {
        assert!(report.contains(part), "{part:?} in {report}");
    }
    assert_eq!(error.retry_after(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_dns_is_reported_in_the_words_of_the_ca() {
    let edge = Edge::start().await;
    let ca = Ca::start(edge.ca_options()).await;
    ca.break_dns_of("gone.test").await;
    let authorities = edge.authorities(&[ca.authority("pebble", &[Http01])]);
    let error = authorities.obtain(&name("gone.test")).await.unwrap_err();
    let [challenge] = failures(&error)[0].challenges.as_slice() else { panic!("{error}") };
    assert!(!challenge.problem.detail.is_empty(), "{error}");
    assert!(challenge.problem.detail.contains("gone.test"), "{error}");
    assert!(error.to_string().contains(&challenge.problem.detail));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_is_reported_and_nothing_stays_published() {
    let edge = Edge::start().await;
    let elsewhere = Edge::start().await;
    // The name leads to another edge, which does not know the token.
    let ca = Ca::start(elsewhere.ca_options()).await;
    let authorities = edge.authorities(&[ca.authority("pebble", &[TlsAlpn01, Http01])]);
    let error = authorities.obtain(&name("shop.test")).await.unwrap_err();
    let last = failures(&error)[0].challenges.last().unwrap();
    assert_eq!((last.kind, last.problem.kind.as_str()), ("http-01", "unauthorized"), "{error}");
    assert!(error.to_string().contains("another server answered"), "{error}");
    assert_eq!(edge.challenges.tls_alpn01(&"shop.test".parse().unwrap()).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_machine_of_the_fleet_answers_for_any_other() {
    let asked = Edge::start().await;
    let ordering = asked.beside().await;
    let ca = Ca::start(asked.ca_options()).await;
    let authorities = ordering.authorities(&[ca.authority("pebble", &[Http01])]);
    authorities.obtain(&name("shop.test")).await.unwrap();
    let answered =
        |edge: &Edge| edge.metrics.challenges_answered.with_label_values(&["http-01", "answered"]).get();
    assert!(answered(&asked) >= 1);
    assert_eq!(answered(&ordering), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_given_up_withdraws_its_answer() {
    let edge = Edge::start().await;
    // It accepts connections and says nothing, so that the validation hangs.
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tls_port = mute.local_addr().unwrap().port();
    let ca = Ca::start(Options { tls_port, ..edge.ca_options() }).await;
    let authorities = Arc::new(edge.authorities(&[ca.authority("pebble", &[TlsAlpn01])]));
    let host = "shop.test".parse().unwrap();
    let order = tokio::spawn({
        let authorities = authorities.clone();
        async move { authorities.obtain(&name("shop.test")).await }
    });
    let stored = async || edge.store.challenge(ChallengeKind::TlsAlpn01, "shop.test").await.unwrap();
    eventually("it is published", async || stored().await.is_some()).await;
    assert!(edge.challenges.tls_alpn01(&host).await.is_some());
    order.abort();
    assert!(order.await.unwrap_err().is_cancelled());
    eventually("it is withdrawn", async || stored().await.is_none()).await;
    assert_eq!(edge.challenges.tls_alpn01(&host).await, None);
    assert_eq!(edge.metrics.orders_pending.get(), 0);
}

#[tokio::test]
async fn a_newer_answer_of_another_machine_is_given_before_it_is_heard_of() {
    let edge = Edge::start().await;
    let publish = async |answer: &str| {
        let (kind, key) = (ChallengeKind::TlsAlpn01, "shop.test".to_owned());
        let expires = SystemClock.now().plus(Duration::from_secs(60));
        edge.store
            .publish_challenge(&Challenge { kind, key, answer: answer.to_owned(), expires })
            .await
            .unwrap();
    };
    publish("of an order that was broken off").await;
    edge.challenges.look_again(ChallengeKind::TlsAlpn01, "shop.test".into()).await.unwrap();
    publish("newer").await;
    let answer = edge.challenges.tls_alpn01(&"shop.test".parse().unwrap()).await;
    assert_eq!(answer.as_deref(), Some("newer"));
}

#[tokio::test]
async fn what_is_no_token_never_reaches_the_store() {
    let (edge, hostname) = (Edge::start().await, "shop.test".parse().unwrap());
    for token in ["x", "..", "a/b", &"a".repeat(1000), "tokens.have.no.dots.in.them"] {
        // Whatever stands in the store under it is not found.
        let expires = SystemClock.now().plus(std::time::Duration::from_secs(60));
        let challenge =
            Challenge { kind: ChallengeKind::Http01, key: token.to_owned(), answer: "a".into(), expires };
        edge.store.publish_challenge(&challenge).await.unwrap();
        assert_eq!(edge.challenges.http01(&hostname, token).await, None, "{token}");
    }
    let unknown = edge.metrics.challenges_answered.with_label_values(&["http-01", "unknown"]);
    assert_eq!(unknown.get(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_all_nonces_rejected_fails_no_order() {
    let edge = Edge::start().await;
    // At 80 % each kind of request is certain to meet more rejections than instant-acme tries.
    for (nonces_rejected, orders) in [(50, 20), (80, 5)] {
        let ca = Ca::start(Options { nonces_rejected, ..edge.ca_options() }).await;
        let authorities = edge.authorities(&[ca.authority("pebble", &[Http01])]);
        for number in 0..orders {
            let outcome = authorities.obtain(&name(&format!("n{number}.test"))).await;
            assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
        }
        assert_eq!(ca.orders(), orders, "no order was placed twice");
        assert_eq!(ca.accounts(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_account_is_bound() {
    // The first pair of Pebble's example configuration.
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let edge = Edge::start().await;
    let ca = Ca::start(Options { external_account: Some(("kid-1", KEY)), ..edge.ca_options() }).await;
    let without = edge.authorities(&[ca.authority("pebble", &[Http01])]);
    let error = without.obtain(&name("shop.test")).await.unwrap_err();
    assert_eq!(failures(&error)[0].step, Step::Account);
    assert!(error.to_string().contains("externalAccountRequired"), "{error}");

    let hmac_key = Secret(zeroize::Zeroizing::new(KEY.to_owned()));
    let eab = Some(ExternalAccount { key_id: "kid-1".into(), hmac_key });
    let authority = Authority { eab, ..ca.authority("pebble", &[Http01]) };
    edge.authorities(&[authority]).obtain(&name("shop.test")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_authority_is_used_where_the_first_is_down() {
    let edge = Edge::start().await;
    let mut down = Ca::start(edge.ca_options()).await;
    let up = Ca::start(edge.ca_options()).await;
    let configured = [down.authority("first", &[Http01]), up.authority("second", &[Http01])];
    down.stop();
    let authorities = edge.authorities(&configured);
    for host in ["a.test", "b.test"] {
        let certificate = authorities.obtain(&name(host)).await.unwrap();
        assert_eq!(certificate.source, Source::Authority("second".into()));
    }
    assert_eq!(edge.orders("first", "failed"), 1, "it is not asked again at once");
    assert_eq!(edge.orders("second", "issued"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_authority_is_down_each_is_in_the_report() {
    let edge = Edge::start().await;
    let mut ca = Ca::start(edge.ca_options()).await;
    let configured = [ca.authority("first", &[Http01]), ca.authority("second", &[Http01])];
    ca.stop();
    let error = edge.authorities(&configured).obtain(&name("shop.test")).await.unwrap_err();
    let down: Vec<_> = failures(&error).iter().map(|failure| &*failure.authority).collect();
    assert_eq!(down, ["first", "second"]);
    assert!(failures(&error).iter().all(|failure| matches!(failure.cause, Cause::Unreachable(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_keeps_its_wait_and_leads_to_the_next_authority() {
    let edge = Edge::start().await;
    let limited = Authority {
        name: "limited".into(),
        directory: Directory::Acme(start_limited_ca().await.parse().unwrap()),
        ..internal(KeyType::P256)
    };
    let error =
        edge.authorities(std::slice::from_ref(&limited)).obtain(&name("shop.test")).await.unwrap_err();
    assert!(matches!(failures(&error)[0].cause, Cause::RateLimited { .. }), "{error}");
    assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(120)));
    let report = error.to_string();
    assert!(report.contains("too many accounts") && report.contains("120 s"), "{report}");

    let both = edge.authorities(&[limited, internal(KeyType::P256)]);
    let certificate = both.obtain(&name("shop.test")).await.unwrap();
    assert_eq!(certificate.source, Source::Authority("internal".into()));
}

/// A CA that refuses every account for two minutes, which Pebble never does; its directory URL.
async fn start_limited_ca() -> String {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let directory = serde_json::json!({
        "newNonce": format!("{url}/nonce"),
        "newAccount": format!("{url}/account"),
        "newOrder": format!("{url}/order"),
    });
    let problem = r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many accounts"}"#;
    let app = Router::new()
        .route("/dir", axum::routing::get(async move || directory.to_string()))
        .route("/nonce", axum::routing::get(async || [("replay-nonce", "nonce")]))
        .route(
            "/account",
            axum::routing::post(async move || {
                (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "120")], problem)
            }),
        );
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("{url}/dir")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_forgot_the_account_gets_a_new_one() {
    let edge = Edge::start().await;
    let mut ca = Ca::start(edge.ca_options()).await;
    let authorities = edge.authorities(&[ca.authority("pebble", &[Http01])]);
    authorities.obtain(&name("a.test")).await.unwrap();
    // Pebble keeps everything in memory: it comes back without accounts.
    ca.restart().await;
    authorities.obtain(&name("b.test")).await.unwrap();
    assert_eq!(ca.accounts(), 1);
    let next_start = edge.authorities(&[ca.authority("pebble", &[Http01])]);
    next_start.obtain(&name("c.test")).await.unwrap();
    assert_eq!(ca.accounts(), 1, "the new account is the one that is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_the_authority_lacks_is_left_out() {
    let edge = Edge::start().await;
    let ca = Ca::start(edge.ca_options()).await;
    let profile = Some("shortlived".into());
    let authority = Authority { profile, ..ca.authority("pebble", &[Http01]) };
    edge.authorities(&[authority]).obtain(&name("shop.test")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_takes_no_longer_than_its_time() {
    let edge = Edge::start().await;
    let mute = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tls_port = mute.local_addr().unwrap().port();
    let ca = Ca::start(Options { tls_port, ..edge.ca_options() }).await;
    let order_timeout = std::time::Duration::from_millis(500);
    let authority = Authority { order_timeout, ..ca.authority("pebble", &[TlsAlpn01]) };
    let error = edge.authorities(&[authority]).obtain(&name("shop.test")).await.unwrap_err();
    assert!(matches!(failures(&error)[0].cause, Cause::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn without_an_authority_nothing_is_obtained() {
    let edge = Edge::start().await;
    let error = edge.authorities(&[]).obtain(&name("shop.test")).await.unwrap_err();
    assert!(matches!(error, Error::NoAuthority { .. }), "{error}");
}

#[tokio::test]
async fn a_wildcard_whose_record_nothing_can_write_is_not_ordered() {
    let edge = Edge::start().await;
    let nowhere = format!("https://127.0.0.1:{}/dir", bed::free_port());
    let authority = Authority {
        ca_file: None,
        directory: Directory::Acme(nowhere.parse().unwrap()),
        ..internal(KeyType::P256)
    };
    let alone = edge.authorities(std::slice::from_ref(&authority));
    let error = alone.obtain(&name("*.shop.test")).await.unwrap_err();
    let Error::Failed { failures, .. } = &error else { panic!("{error}") };
    assert!(matches!(failures[0].cause, Cause::NoRoad { .. }), "{error}");
    assert!(error.to_string().contains("What to do: give the platform dns"), "{error}");
    let with_internal = edge.authorities(&[authority, internal(KeyType::P256)]);
    with_internal.obtain(&name("*.shop.test")).await.unwrap();
}

fn internal(key_type: KeyType) -> Authority {
    Authority {
        name: "internal".into(),
        directory: Directory::Internal { lifetime: std::time::Duration::from_secs(90 * 24 * 3600) },
        contact: Vec::new(),
        challenges: vec![Http01],
        ca_file: None,
        eab: None,
        accounts: 1,
        profile: None,
        key_type,
        limits: nameplate::config::AuthorityLimits::None,
        caa_identities: Vec::new(),
        order_timeout: std::time::Duration::from_secs(60),
    }
}

#[tokio::test]
async fn the_internal_ca_signs_what_clients_accept() {
    let edge = Edge::start().await;
    for key_type in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
        let authorities = edge.authorities(&[internal(key_type)]);
        let root_path = authorities.internal_root().unwrap();
        assert_eq!(root_path, edge.data_dir.path().join("internal-ca/root.pem"));
        let root = std::fs::read_to_string(Path::new(&root_path)).unwrap();
        for host in ["shop.test", "*.shop.test"] {
            let certificate = authorities.obtain(&name(host)).await.unwrap();
            assert_served_well(&certificate, &root);
            assert_eq!(certificate.key_type, key_type);
        }
    }
}

/// Requests are counted, as test machines are busy; the time is printed for whoever wants to know.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_certificate_takes_few_round_trips() {
    let edge = Edge::start().await;
    let ca = Ca::start(edge.ca_options()).await;
    let authorities = edge.authorities(&[ca.authority("pebble", &[Http01])]);
    authorities.obtain(&name("first.test")).await.unwrap();
    let (before, started) = (ca.requests(), Instant::now());
    authorities.obtain(&name("second.test")).await.unwrap();
    println!("a cold certificate took {:?}", started.elapsed());
    // Nonce, order, authorization, challenge, finalize, certificate; the rest are looks.
    let requests = ca.requests() - before;
    assert!((6..=14).contains(&requests), "{requests}: {}", ca.log());
}
