//! On demand: what the approval endpoint says decides what is obtained, and never what is served.

mod bed;

use std::time::{Duration, Instant};

use bed::approval::{ApprovalEndpoint, Behaviour};
use bed::client::Refused;
use bed::origin::Origin;
use bed::program::Edge;

/// unrecognized_name (RFC 6066 §9).
const UNRECOGNIZED_NAME: i32 = 112;
/// internal_error (RFC 8446 §6.2): could not be decided; trying again may help.
const INTERNAL_ERROR: i32 = 80;

/// An edge that asks `endpoint` and signs by its internal CA.
fn config(endpoint: &ApprovalEndpoint, origin: &Origin) -> String {
    format!(
        r#"
[[authority]]
name = "internal"
directory = "internal"

[on_demand]
approval = "{}"
approval_timeout = "500ms"
handshake_wait = "20s"

[[site]]
name = "default"
origins = ["{}"]
"#,
        endpoint.template(),
        origin.address,
    )
}

struct House {
    endpoint: ApprovalEndpoint,
    edge: Edge,
    _origin: Origin,
}

async fn house() -> House {
    house_with("30s").await
}

async fn house_with(approval_timeout: &str) -> House {
    let endpoint = ApprovalEndpoint::start().await;
    let origin = Origin::start().await;
    let config = config(&endpoint, &origin).replace("500ms", approval_timeout);
    let edge = Edge::start(&config).await;
    House { endpoint, edge, _origin: origin }
}

async fn orders(edge: &Edge) -> f64 {
    edge.metric(r#"orders_total{authority="internal",result="issued"}"#).await
}

#[tokio::test]
async fn five_hundred_first_handshakes_make_one_question_and_one_order() {
    let House { endpoint, edge, _origin } = house().await;
    endpoint.says("herd.test", Behaviour::Gated(Box::new(Behaviour::Yes)));
    let gate = async {
        bed::eventually("the question arrives", async || endpoint.questions_about("herd.test") == 1).await;
        endpoint.open_gate();
    };
    let (served, ()) = tokio::join!(edge.handshakes(500, "herd.test"), gate);
    let serials: std::collections::HashSet<String> =
        served.into_iter().map(|served| served.expect("served").serial()).collect();
    assert_eq!(serials.len(), 1, "all are shown the same certificate");
    assert_eq!(endpoint.questions_about("herd.test"), 1);
    assert_eq!(orders(&edge).await, 1.0);
}

#[tokio::test]
async fn a_hundred_new_names_at_once_are_all_served() {
    let House { endpoint, edge, _origin } = house().await;
    let names: Vec<String> = (0..100).map(|n| format!("new{n}.test")).collect();
    for name in &names {
        endpoint.says(name, Behaviour::Yes);
    }
    for (name, served) in names.iter().zip(edge.handshakes_for(&names).await) {
        assert_eq!(served.unwrap().names(), [name.as_str()]);
    }
    assert_eq!(orders(&edge).await, 100.0);
}

#[tokio::test]
async fn clients_that_hang_up_change_nothing_for_the_others() {
    let House { endpoint, edge, _origin } = house().await;
    endpoint.says("left.test", Behaviour::Gated(Box::new(Behaviour::Yes)));
    let hello = bed::hello::with_sni(b"left.test");
    for _ in 0..20 {
        use tokio::io::AsyncWriteExt;
        let mut tcp = tokio::net::TcpStream::connect(edge.https).await.unwrap();
        tcp.write_all(&hello).await.unwrap();
    }
    bed::eventually("the question arrives", async || endpoint.questions_about("left.test") == 1).await;
    let gate = async {
        bed::eventually("everyone left is gone", async || {
            edge.metric(r#"connections{listener="https"}"#).await >= 1.0
        })
        .await;
        endpoint.open_gate();
    };
    let (served, ()) = tokio::join!(edge.handshake("left.test"), gate);
    assert_eq!(served.unwrap().names(), ["left.test"]);
    assert_eq!((endpoint.questions_about("left.test"), orders(&edge).await), (1, 1.0));
}

#[tokio::test]
async fn a_denied_name_is_refused_without_an_order_and_asked_about_once() {
    let House { endpoint, edge, _origin } = house().await;
    for _ in 0..20 {
        let refused = edge.handshake("denied.test").await.err();
        assert!(matches!(refused, Some(Refused::Alert(UNRECOGNIZED_NAME))), "{refused:?}");
    }
    assert_eq!((endpoint.questions_about("denied.test"), orders(&edge).await), (1, 0.0));
    assert!(!edge.log().contains("denied.test"));
}

#[tokio::test]
async fn a_fault_of_the_endpoint_is_no_denial_and_orders_nothing() {
    let House { endpoint, edge, _origin } = house_with("2s").await;
    let faults = [
        ("status.test", Behaviour::Status(500), 2),
        ("silent.test", Behaviour::Silent, 2),
        ("close.test", Behaviour::Close, 2),
        // An answer, if no verdict: asking again would bring the same one.
        ("redirect.test", Behaviour::Redirect(endpoint.template().replace("{hostname}", "yes.test")), 1),
    ];
    endpoint.says("yes.test", Behaviour::Yes);
    for (name, behaviour, questions) in faults {
        endpoint.says(name, behaviour);
        let refused = edge.handshake(name).await.err();
        assert!(matches!(refused, Some(Refused::Alert(INTERNAL_ERROR))), "{name}: {refused:?}");
        assert_eq!(orders(&edge).await, 0.0, "{name}");
        assert_eq!(endpoint.questions_about(name), questions, "{name}: one retry");
        endpoint.says(name, Behaviour::Yes);
    }
    for name in ["status.test", "silent.test", "redirect.test", "close.test"] {
        bed::eventually("the fault is forgotten", async || edge.handshake(name).await.is_ok()).await;
    }
}

#[tokio::test]
async fn an_endless_body_neither_hangs_nor_fills_memory() {
    let House { endpoint, edge, _origin } = house().await;
    endpoint.says("endless.test", Behaviour::EndlessBody);
    let begin = Instant::now();
    let outcome = edge.handshake("endless.test").await;
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(outcome.is_ok(), "200 is a yes, whatever comes behind it");
    bed::eventually("the body is left alone", async || endpoint.bodies_open() == 0).await;
}

#[tokio::test]
async fn served_names_outlive_the_endpoint_the_origin_and_a_restart() {
    let House { mut endpoint, edge, _origin } = house().await;
    endpoint.says("kept.test", Behaviour::Yes);
    let before = edge.handshake("kept.test").await.unwrap().serial();
    bed::eventually("a local copy is kept", async || edge.has_a_copy()).await;
    endpoint.stop().await;
    assert_eq!(edge.handshake("kept.test").await.unwrap().serial(), before);

    let edge = Edge::again(edge.stop().await).await;
    assert_eq!(edge.handshake("kept.test").await.unwrap().serial(), before);
    assert_eq!(orders(&edge).await, 0.0);

    let edge = Edge::again(edge.kill().await).await;
    assert_eq!(edge.handshake("kept.test").await.unwrap().serial(), before, "after a crash too");
    let refused = edge.handshake("new.test").await.err();
    assert!(matches!(refused, Some(Refused::Alert(INTERNAL_ERROR))), "could not ask: {refused:?}");
    assert_eq!(orders(&edge).await, 0.0);
}

#[tokio::test]
async fn the_request_reaches_the_site_and_plain_http_is_redirected_once_a_certificate_is_there() {
    let House { endpoint, edge, _origin } = house().await;
    endpoint.says("shop.test", Behaviour::Yes);
    let plain = bed::plain(edge.http, "shop.test", "/a/b?c=d").await;
    let port = edge.https.port();
    assert!(plain.starts_with("HTTP/1.1 301"), "{plain}");
    let location = format!("https://shop.test:{port}/a/b?c=d\r\n");
    assert!(plain.to_lowercase().contains(&format!("location: {location}")), "{plain}");
    let answer = edge.get("shop.test", "/a/b?c=d").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(orders(&edge).await, 1.0, "the redirect made the certificate");
    let stranger = bed::plain(edge.http, "stranger.test", "/").await;
    assert!(stranger.starts_with("HTTP/1.1 404"), "{stranger}");
}

#[tokio::test]
async fn an_endpoint_that_says_yes_to_everything_is_warned_of() {
    let endpoint = ApprovalEndpoint::start().await;
    let origin = Origin::start().await;
    let text = config(&endpoint, &origin).replace(&endpoint.template(), &endpoint.plain_url());
    endpoint.says_to_all_others(Behaviour::Yes);
    let edge = Edge::start(&text).await;
    bed::eventually("the warning", async || edge.log().contains("YES TO EVERYTHING")).await;
}
