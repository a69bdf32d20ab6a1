//! Routes, and the edge's own pages where there is none.

use nameplate::config::{CertificateFiles, PlatformCertificate};
use nameplate::domain::site::Site;

use crate::bed::{Bed, Scripted, field, name, origin, site, status};

#[tokio::test]
async fn a_host_that_the_certificate_does_not_cover_is_421_and_keeps_the_connection() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).start().await;
    for host in ["other.test", "127.0.0.1", "localhost", "[::1]:8443", "a.shop.test"] {
        let mut client = edge.connect().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(status(&client.answer(false).await), 421, "{host}");
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        assert_eq!(status(&client.answer(false).await), 200, "{host}");
    }
    assert_eq!(
        edge.metric(r#"nameplate_http_requests_total{listener="https",site="",status_class="4xx"}"#),
        5.0
    );
    assert_eq!(
        edge.metric(r#"nameplate_http_requests_total{listener="https",site="shop",status_class="2xx"}"#),
        5.0
    );
}

#[tokio::test]
async fn the_most_exact_site_has_the_hostname() {
    let (exact, wildcard, platform, demand) =
        (Scripted::ok().await, Scripted::ok().await, Scripted::ok().await, Scripted::ok().await);
    let of =
        |label: &str, names: &[&str], at: &Scripted| -> Site { site(label, names, vec![origin(at.address)]) };
    let mut bed = Bed::of(vec![
        of("exact", &["one.shop.test"], &exact),
        of("wildcard", &["*.shop.test"], &wildcard),
        of("platform", &[], &platform),
        of("default", &[], &demand),
    ])
    .presenting(&["one.shop.test", "*.shop.test", "*.edge.test", "edge.test", "customer.test"]);
    bed.config.platforms.push(nameplate::config::Platform {
        domain: name("edge.test"),
        site: "platform".into(),
        certificate: PlatformCertificate::Files(CertificateFiles {
            certificate: "/x".into(),
            key: "/x".into(),
        }),
    });
    bed.config.on_demand.approval = Some(nameplate::config::ApprovalUrl::Template {
        before: "http://127.0.0.1/".into(),
        after: String::new(),
    });
    let edge = bed.start().await;
    for host in
        ["one.shop.test", "two.shop.test", "ONE.shop.test", "a.edge.test", "edge.test", "customer.test"]
    {
        assert_eq!(status(&edge.get(host, "/").await), 200, "{host}");
    }
    let counts = [&exact, &wildcard, &platform, &demand].map(|origin| origin.seen().len());
    assert_eq!(counts, [2, 1, 2, 1]);
}

#[tokio::test]
async fn a_hostname_without_a_site_is_404() {
    let origin = Scripted::ok().await;
    let edge = Bed::shop(&[origin.address]).presenting(&["shop.test", "orphan.test"]).start().await;
    let answer = edge.get("orphan.test", "/").await;
    assert_eq!(status(&answer), 404, "{answer}");
    assert!(answer.contains("No site is set up for orphan.test."), "{answer}");
    assert_eq!(origin.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn pages_are_html_for_people_and_json_for_programs() {
    let edge = Bed::shop(&[]).presenting(&["orphan.test"]).start().await;
    let ask = |accept: &str| {
        edge.exchange(format!(
            "GET / HTTP/1.1\r\nHost: orphan.test\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        ))
    };
    let page = ask("text/html,*/*").await;
    assert_eq!(field(&page, "Content-Type"), Some("text/html; charset=utf-8"));
    assert_eq!(field(&page, "Cache-Control"), Some("no-store"));
    let id = field(&page, "X-Request-Id").unwrap();
    assert!(page.contains("<!doctype html>") && page.contains(&format!("Request {id}")), "{page}");

    let page = ask("application/json").await;
    assert_eq!(field(&page, "Content-Type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_str(page.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let error = &body["errors"][0];
    assert_eq!((&error["status"], &error["code"]), (&"404".into(), &"no_site".into()));
    assert_eq!(error["id"], field(&page, "X-Request-Id").unwrap());
}

#[tokio::test]
async fn a_page_for_head_has_no_body() {
    let edge = Bed::shop(&[]).presenting(&["orphan.test"]).start().await;
    let mut client = edge.connect().await;
    client.send("HEAD / HTTP/1.1\r\nHost: orphan.test\r\n\r\nHEAD / HTTP/1.1\r\nHost: orphan.test\r\nConnection: close\r\n\r\n").await;
    let answers = client.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 2, "{answers}");
    assert!(!answers.contains("<html"), "{answers}");
}

#[tokio::test]
async fn a_site_without_origins_is_503() {
    let edge = Bed::shop(&[]).start().await;
    assert_eq!(status(&edge.get("shop.test", "/").await), 503);
}
