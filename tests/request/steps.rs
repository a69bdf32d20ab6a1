//! Steps that a program adds to the request path.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, StatusCode};
use nameplate::domain::files::{Files, Root};
use nameplate::domain::site::OriginTimeouts;
use nameplate::edge::middleware::{Middleware, Outcome, Outgoing, RequestContext, Response, ResponseHeaders};
use nameplate::edge::origin::Target;

use crate::bed::{Bed, Scripted, field, origin, status};

struct Step {
    elsewhere: Arc<Target>,
}

#[async_trait]
impl Middleware for Step {
    fn request(&self, request: &RequestContext<'_>) -> Outcome {
        match request.path() {
            "/teapot" => {
                let who = format!("{} {}", request.hostname(), request.site().unwrap_or("-"));
                Response::with_body(StatusCode::IM_A_TEAPOT, "text/plain", who).into()
            }
            "/later" => Outcome::Later,
            _ => Outcome::Continue,
        }
    }

    async fn later(&self, request: &RequestContext<'_>) -> Outcome {
        tokio::task::yield_now().await;
        Response::with_body(StatusCode::OK, "text/plain", request.client().ip().to_string()).into()
    }

    fn origin(&self, request: &RequestContext<'_>) -> Option<Arc<Target>> {
        (request.query() == Some("elsewhere")).then(|| self.elsewhere.clone())
    }

    fn outgoing(&self, request: &RequestContext<'_>, outgoing: &mut Outgoing<'_>) {
        if request.path() == "/old" {
            assert!(outgoing.set_target("/new?from=old"));
        }
        outgoing.set("X-Step", HeaderValue::from_static("out"));
        outgoing.remove("Cookie");
    }

    fn response(&self, _: &RequestContext<'_>, headers: &mut ResponseHeaders<'_>) {
        headers.set("X-Step", HeaderValue::from_static("back"));
    }
}

async fn bed(here: &Scripted, there: &Scripted) -> crate::bed::Edge {
    with_step(Bed::shop(&[here.address]), there).start().await
}

fn with_step(mut bed: Bed, there: &Scripted) -> Bed {
    let elsewhere = Arc::new(Target::new(&origin(there.address), OriginTimeouts::default()));
    bed.steps.push(Arc::new(Step { elsewhere }));
    bed
}

#[tokio::test]
async fn a_step_may_answer_at_once_or_later() {
    let (here, there) = (Scripted::ok().await, Scripted::ok().await);
    let edge = bed(&here, &there).await;
    let answer = edge.get("shop.test", "/teapot").await;
    assert_eq!((status(&answer), field(&answer, "X-Step")), (418, Some("back")), "{answer}");
    assert!(answer.ends_with("\r\n\r\nshop.test shop"), "{answer}");
    let answer = edge.get("shop.test", "/later").await;
    assert!(answer.ends_with("\r\n\r\n127.0.0.1"), "{answer}");
    assert_eq!(here.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_step_may_change_what_goes_out_and_comes_back() {
    let (here, there) = (Scripted::ok().await, Scripted::ok().await);
    let edge = bed(&here, &there).await;
    let answer = edge
        .exchange("GET /old HTTP/1.1\r\nHost: shop.test\r\nCookie: a=b\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!((status(&answer), field(&answer, "X-Step")), (200, Some("back")), "{answer}");
    let sent = here.only();
    assert!(sent.starts_with("GET /new?from=old HTTP/1.1\r\n"), "{sent}");
    assert_eq!((field(&sent, "X-Step"), field(&sent, "Cookie")), (Some("out"), None));
    assert_eq!(field(&sent, "X-Forwarded-For"), Some("127.0.0.1"));
}

#[tokio::test]
async fn a_step_may_choose_the_origin() {
    let (here, there) = (Scripted::ok().await, Scripted::ok().await);
    let edge = bed(&here, &there).await;
    assert_eq!(status(&edge.get("shop.test", "/?elsewhere").await), 200);
    assert_eq!((here.seen().len(), there.seen().len()), (0, 1));
}

#[tokio::test]
async fn steps_come_before_static_files_and_change_their_answers() {
    let (folder, there) = (tempfile::tempdir().unwrap(), Scripted::ok().await);
    std::fs::write(folder.path().join("index.html"), "a file").unwrap();
    let mut bed = with_step(Bed::shop(&[]), &there);
    bed.shop_site().files = Some(Files {
        root: Root { folder: folder.path().into(), below: vec![] },
        index: vec!["index.html".into()],
        fallback: None,
        not_found: None,
        cache_control: "no-cache".into(),
        immutable: vec![],
    });
    let edge = bed.start().await;
    let answer = edge.get("shop.test", "/").await;
    assert_eq!((status(&answer), field(&answer, "X-Step")), (200, Some("back")), "{answer}");
    assert!(answer.ends_with("\r\n\r\na file"), "{answer}");
    assert_eq!(status(&edge.get("shop.test", "/teapot").await), 418);
    assert_eq!(there.seen().len(), 0);
    assert!(edge.get("shop.test", "/?elsewhere").await.ends_with("ok"));
    assert_eq!(there.seen().len(), 1);
}
