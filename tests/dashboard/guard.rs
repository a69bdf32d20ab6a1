//! What the dashboard refuses, and what it tells browsers; without one.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::bed::ca::trusting;
use crate::house::{House, house};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const HERE: (&str, &str) = ("sec-fetch-site", "same-origin");

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn get(house: &House, path: &str, cookie: &str) -> (StatusCode, HeaderMap, String) {
    let url = format!("http://{}{path}", house.edge.admin);
    let response = house.http.get(url).header("cookie", cookie).send().await.unwrap();
    (response.status(), response.headers().clone(), response.text().await.unwrap())
}

async fn post(
    house: &House,
    path: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let url = format!("http://{}{path}", house.edge.admin);
    let mut request = house.http.post(url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone(), response.text().await.unwrap())
}

/// The cookie of a new session, and what its forms carry.
async fn session(house: &House, token: &str) -> (String, String) {
    let (status, headers, _) = post(house, "/sign-in", &format!("token={token}"), &[FORM, HERE]).await;
    assert_eq!(status, 303);
    let cookie = headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let (_, _, page) = get(house, "/", &cookie).await;
    let carried = page.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    (cookie, carried.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_the_sessions_word_or_from_elsewhere_changes_nothing() {
    let house = house("").await;
    let token = house.token("cats", "write");
    let ((cookie, carried), (_, anothers)) = (session(&house, &token).await, session(&house, &token).await);
    let body = |carried: &str| format!("hostname=shop.test&site=default&form_token={carried}");
    let signed_in = ("cookie", cookie.as_str());
    let origin = format!("http://{}", house.edge.admin);
    let refused: [(String, Headers<'_>, u16); 8] = [
        (body(""), &[signed_in, FORM, HERE], 403),
        (body("wrong"), &[signed_in, FORM, HERE], 403),
        (body(&anothers), &[signed_in, FORM, HERE], 403),
        (body(&carried), &[signed_in, FORM], 403),
        (body(&carried), &[signed_in, FORM, ("sec-fetch-site", "cross-site"), ("origin", &origin)], 403),
        (body(&carried), &[signed_in, FORM, ("origin", "http://evil.test")], 403),
        (body(&carried), &[signed_in, HERE, ("content-type", "text/plain")], 415),
        (body(&carried), &[FORM, HERE], 303),
    ];
    for (body, headers, status) in refused {
        for path in ["/register", "/sign-out"] {
            let answer = post(&house, path, &body, headers).await;
            assert_eq!(answer.0, status, "{path} {body} {headers:?}");
        }
    }
    assert_eq!(house.get(&token, "shop.test").await.status, 404, "nothing was registered");
    let (status, headers, _) = post(&house, "/register", &body(&carried), &[signed_in, FORM, HERE]).await;
    assert_eq!(
        (status.as_u16(), &headers["location"]),
        (303, &"/sites/default/hostnames/shop.test".parse().unwrap())
    );
    let by_origin = [signed_in, FORM, ("origin", origin.as_str())];
    assert_eq!(post(&house, "/sign-out", &body(&carried), &by_origin).await.0, 303);
    assert_eq!(get(&house, "/", &cookie).await.0, 303, "the session has ended, not the cookie alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_tells_the_browser_to_be_strict() {
    let house = house("").await;
    let (cookie, _) = session(&house, &house.token("cats", "read")).await;
    for path in [
        "/",
        "/sign-in",
        "/certificates",
        "/events",
        "/register",
        "/nothing",
        "/sites/default/hostnames/a.test",
    ] {
        let (_, headers, _) = get(&house, path, &cookie).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in
            ["default-src 'none'", "script-src 'self'", "form-action 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
    }
    let (status, headers, _) = get(&house, "/assets/style.css", "").await;
    assert_eq!(
        (status.as_u16(), &headers["content-type"]),
        (200, &"text/css; charset=utf-8".parse().unwrap())
    );
    assert_eq!(get(&house, "/nothing", "").await.0, 404);
    assert_eq!(
        house.call("", "GET", "/nothing", None).await.code(),
        "no_such_call",
        "the API answers for itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_is_kept_to_the_host_and_to_tls() {
    let folder = tempfile::TempDir::new().unwrap();
    let pair = crate::bed::pem::pair(&["localhost"], &crate::bed::pem::p256(), 2096);
    pair.write(folder.path(), "admin");
    let config = "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
        admin_certificate_file = \"admin.pem\"\nadmin_certificate_key_file = \"admin.key\"\n\
        [[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n\
        [[site]]\nname = \"default\"\norigins = [\"127.0.0.1:9\"]\n";
    let root = folder.path().join("admin.pem");
    let edge = crate::bed::program::Edge::start_in(folder, config).await;
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_nameplate"))
        .args(["token", "create", "--organization", "*", "--scope", "read", "--json", "--config"])
        .arg(edge.config_file())
        .output()
        .unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let url = format!("https://localhost:{}/sign-in", edge.admin.port());
    let request = trusting(&root).post(url).header(FORM.0, FORM.1).header(HERE.0, HERE.1);
    let response = request.body(format!("token={}", made["token"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(response.status(), 303, "{response:?}");
    let set = response.headers().get("set-cookie").expect("it is signed in").to_str().unwrap();
    assert!(set.starts_with("__Host-nameplate="), "{set}");
    for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Secure"] {
        assert!(set.contains(attribute), "{set}");
    }
}
