//! The access log's lines.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::bed::{Bed, Scripted, field, status};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged by this thread, which runs the whole of a test, while one request is served.
async fn logged(access_log: bool, path: &str) -> (String, String) {
    let lines = Lines::default();
    let made = lines.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || made.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let origin = Scripted::ok().await;
    let mut bed = Bed::shop(&[origin.address]);
    bed.settings.access_log = access_log;
    let edge = bed.start().await;
    let answer = edge.get("shop.test", path).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    (text, field(&answer, "X-Request-Id").unwrap().to_owned())
}

#[tokio::test]
async fn a_request_is_one_line_and_what_the_client_sent_is_escaped() {
    let (text, id) = logged(true, "/p\"x\"").await;
    let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(line["target"], "nameplate::access");
    let fields = &line["fields"];
    assert_eq!((&fields["host"], &fields["site"]), (&"shop.test".into(), &"shop".into()));
    assert_eq!((&fields["method"], &fields["status"]), (&"GET".into(), &200.into()));
    assert_eq!(fields["path"], "/p\\\"x\\\"");
    assert_eq!((&fields["client"], &fields["id"]), (&"127.0.0.1".into(), &id.into()));
}

#[tokio::test]
async fn nothing_is_logged_where_the_access_log_is_off() {
    assert_eq!(logged(false, "/").await.0, "");
}
