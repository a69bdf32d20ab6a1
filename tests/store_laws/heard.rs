//! The statements that the driver tells of, as it does for whoever reads its log.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::{Event, Instrument, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// By the span that they were heard in; other tests run beside.
static HEARD: Mutex<BTreeMap<&'static str, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

struct Ear;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut spans = context.event_scope(event).into_iter().flatten();
        if let Some(span) = spans.find(|span| span.name().starts_with("heard")) {
            event.record(&mut Note(span.name()));
        }
    }
}

struct Note(&'static str);

impl Visit for Note {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Of one of a few words nothing is told here.
        if field.name() == "db.statement" && !value.is_empty() {
            HEARD.lock().unwrap().entry(self.0).or_default().insert(value.trim().to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Does `work` and returns the statements of it.
///
/// - `make`: makes a span of a name of its own, which begins with `heard`
pub async fn statements(make: fn() -> Span, work: impl Future<Output = ()>) -> BTreeSet<String> {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        let hearing = tracing_subscriber::registry().with(Ear);
        tracing::subscriber::set_global_default(hearing).expect("nobody else hears");
    });
    let span = make();
    let name = span.metadata().expect("it is heard").name();
    work.instrument(span).await;
    HEARD.lock().unwrap().remove(name).unwrap_or_default()
}
