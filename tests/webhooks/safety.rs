//! A webhook opens nothing that only this machine can reach, and its secret stays one.

use std::io;
use std::sync::{Arc, Mutex};

use nameplate::config::KeySource;
use nameplate::domain::access::Reach;
use nameplate::domain::registration::State;
use nameplate::store::key_file;
use nameplate::store::local::LocalTier;
use nameplate::store::rekey::rekey;
use nameplate::store::webhooks::Webhooks;

use crate::bed::{Bed, eventually};
use crate::receiver::{Behaviour, Receiver};

/// Sends one message to `url` where `allowed` may be reached beside what is public; the report.
async fn report_of(url: &str, allowed: &[&str]) -> String {
    let bed = Bed::new().await;
    bed.webhook(url, &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    let _worker = bed.worker_allowing(allowed);
    eventually("a try", async || bed.deliveries().await.iter().any(|one| !one.report.is_empty())).await;
    bed.deliveries().await.remove(0).report
}

#[tokio::test]
async fn addresses_that_are_not_public_are_never_connected_to() {
    let receiver = Receiver::start(Behaviour::Status(200)).await;
    let port = receiver.address.port();
    for host in ["127.0.0.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]", "0.0.0.0"] {
        for scheme in ["https", "http"] {
            let report = report_of(&format!("{scheme}://{host}:{port}/hook"), &["10.0.0.0/8"]).await;
            assert!(report.contains("not public"), "{host}: {report}");
        }
    }
    // A name is judged by what it leads to when it is connected to.
    for url in [format!("https://localhost:{port}/"), format!("http://localhost:{port}/")] {
        let report = report_of(&url, &["10.0.0.0/8"]).await;
        assert!(report.contains("no address that webhooks may lead to"), "{url}: {report}");
        assert!(!report.contains("127.0.0.1") && !report.contains("::1"), "{report}");
    }
    assert_eq!(receiver.connections(), 0);
    let plain = report_of("http://hooks.test/", &[]).await;
    assert!(plain.contains("must begin with https://"), "{plain}");
}

#[tokio::test]
async fn what_an_operator_allows_is_reached_by_name_and_by_address() {
    let receiver = Receiver::start(Behaviour::Status(200)).await;
    let port = receiver.address.port();
    for url in [format!("http://localhost:{port}/"), format!("http://127.0.0.1:{port}/")] {
        assert_eq!(report_of(&url, &["127.0.0.0/8"]).await, "it was delivered", "{url}");
    }
    // By HTTPS too: that this receiver speaks none shows that it was reached.
    let report = report_of(&format!("https://localhost:{port}/"), &["127.0.0.0/8"]).await;
    assert!(report.starts_with("no connection: "), "{report}");
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let target = Receiver::start(Behaviour::Status(200)).await;
    let receiver = Receiver::start(Behaviour::Redirect(target.url())).await;
    let report = report_of(&receiver.url(), &["127.0.0.0/8"]).await;
    assert_eq!(report, "the receiver answered 302; redirects are not followed");
    assert_eq!((receiver.messages().len(), target.connections()), (1, 0));
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_and_its_status_counts() {
    let receiver = Receiver::start(Behaviour::EndlessBody).await;
    assert_eq!(report_of(&receiver.url(), &["127.0.0.0/8"]).await, "it was delivered");
    eventually("the connection is closed", async || receiver.bodies_open() == 0).await;
}

#[tokio::test]
async fn a_change_of_the_sealing_key_keeps_secrets_openable() {
    let bed = Bed::new().await;
    let webhook = bed.webhook("https://hooks.test/", &[]).await;
    let file = KeySource::File(bed.folder.path().join("store.key"));
    let local = LocalTier::open(&bed.folder.path().join("local"), bed.key.clone()).unwrap();
    let before = bed.key.id();
    let rekeyed = rekey(&bed.key, &file, (&*bed.store, false), &local).await.unwrap();
    assert_eq!((rekeyed.stored, rekeyed.unusable), (1, 0));

    let key = key_file::open(&file).unwrap();
    assert!(!key.has_earlier() && key.id() != before);
    let bed = Bed { key, ..bed }.reopen().await;
    let found = bed.store.webhook(&Reach::All, &webhook.id).await.unwrap().unwrap();
    assert!(found.secret == webhook.secret);
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_the_log_nor_the_database_holds_a_secret() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    // Of all tests of this process: whether a line is looked at is kept for the whole of it.
    tracing::subscriber::set_global_default(subscriber.with_writer(move || writer.clone()).finish()).unwrap();
    let (bed, receiver) = (Bed::new().await, Receiver::start(Behaviour::Status(500)).await);
    let webhook = bed.webhook(&receiver.url(), &[]).await;
    let hostname = bed.hostname("a.test").await;
    bed.stands(&hostname, State::Serving, "one").await;
    let worker = bed.worker();
    eventually("a try", async || bed.counted("failed") == 1).await;
    receiver.behave(Behaviour::Status(410));
    bed.advance(6, &worker).await;
    eventually("another", async || bed.counted("disabled") == 1).await;
    worker.crash().await;
    bed.store.close().await;

    let written = webhook.secret.written();
    let base64 = written.strip_prefix("whsec_").unwrap().as_bytes();
    let mut places = vec![("the log", log.0.lock().unwrap().clone())];
    let said = String::from_utf8_lossy(&places[0].1).into_owned();
    let line = said
        .lines()
        .find(|line| line.contains("a delivery to a webhook failed") && line.contains(&webhook.id));
    assert!(line.is_some(), "{said}");
    for file in std::fs::read_dir(bed.folder.path().join("data")).unwrap() {
        let path = file.unwrap().path();
        places.push(("a file of the store", std::fs::read(path).unwrap()));
    }
    for (place, octets) in places {
        for form in [webhook.secret.octets(), base64] {
            assert!(!octets.windows(form.len()).any(|window| window == form), "{place}");
        }
    }
}
