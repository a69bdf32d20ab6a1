//! Every metric, with its help text. Labels are bounded; a hostname is never one.

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Buckets for what takes microseconds to seconds: handshakes, store operations.
const FAST: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];
/// Buckets for what takes milliseconds to minutes: orders, requests.
const SLOW: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Sites that have a label value of their own; further ones share `other`.
pub const SITES_WITH_A_LABEL: usize = 100;

/// What a metric is, for its documentation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Described {
    /// Its whole name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts, in a sentence.
    pub help: &'static str,
}

/// Declares each metric once: the docs of its field are its help text.
macro_rules! metrics {
    ($(
        $(#[doc = $help:literal])+
        $field:ident: $type:ty = $make:ident($name:literal $(, $buckets:ident)? $(, [$($label:literal),+])?);
    )+) => {
        /// The metrics of one process.
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        impl Metrics {
            /// Every metric, in the order they are declared.
            pub const ALL: &[Described] = &[$(Described {
                name: concat!("nameplate_", $name),
                kind: kind(stringify!($make)),
                labels: &[$($($label),+)?],
                help: concat!($($help),+).trim_ascii_start(),
            }),+];

            fn register(registry: Registry) -> Self {
                let make = Make { registry: &registry };
                Self {
                    $($field: make.$make(
                        $name,
                        concat!($($help),+).trim_ascii_start()
                        $(, $buckets)?
                        $(, &[$($label),+])?
                    ),)+
                    registry,
                }
            }
        }
    };
}

/// The kind of metric that a function of [`Make`] makes.
const fn kind(make: &str) -> &'static str {
    match make.as_bytes() {
        [b'c', ..] => "counter",
        [b'g', ..] => "gauge",
        _ => "histogram",
    }
}

metrics! {
    /// The running version; always 1.
    build_info: IntGaugeVec = gauges("build_info", ["version"]);
    /// Reloads of the configuration file by result: done, failed.
    reloads: IntCounterVec = counters("reloads_total", ["result"]);
    /// 1 while the configuration in force is the one of the file as last loaded, 0 while that was refused.
    configuration_current: IntGauge = gauge("configuration_current");
    /// TLS handshakes by result: full, resumed, challenge, refused, timeout, failed.
    tls_handshakes: IntCounterVec = counters("tls_handshakes_total", ["result"]);
    /// Seconds from the first octet to the end of a handshake.
    tls_handshake_seconds: Histogram = histogram("tls_handshake_seconds", FAST);
    /// Session tickets by result: issued; and of those that clients showed: current_key, older_key, unknown_key.
    session_tickets: IntCounterVec = counters("session_tickets_total", ["result"]);
    /// Keys that session tickets are decrypted with.
    ticket_keys: IntGauge = gauge("ticket_keys");
    /// Seconds since the key that encrypts session tickets began to.
    ticket_key_age_seconds: IntGauge = gauge("ticket_key_age_seconds");
    /// 1 while session tickets are encrypted with a key that the fleet shares, 0 while with one of this machine's own.
    ticket_key_shared: IntGauge = gauge("ticket_key_shared");
    /// Certificate look-ups by result: hit, local, store, obtained, refused.
    certificate_lookups: IntCounterVec = counters("certificate_lookups_total", ["result"]);
    /// Certificates ready to use in memory.
    certificates_hot: IntGauge = gauge("certificates_hot");
    /// Names with a certificate in the store, as far as this machine knows.
    certificates_known: IntGauge = gauge("certificates_known");
    /// Certificates that end within this time, counted once a minute: 1d, 3d, 7d, 14d, 30d.
    certificates_expiring: IntGaugeVec = gauges("certificates_expiring", ["within"]);
    /// Certificates that are late to be renewed: half of the time that was left is over.
    certificates_late: IntGauge = gauge("certificates_late");
    /// Certificates that are due to be renewed and that no machine is at, counted once a minute up to 100000.
    renewals_due: IntGauge = gauge("renewals_due");
    /// Names whose renewal was stopped until they come back, as they are not approved or do not lead here.
    names_parked: IntGauge = gauge("names_parked");
    /// Questions for renewal information (RFC 9773) by result: window, broken, not_offered, failed.
    renewal_information: IntCounterVec = counters("renewal_information_total", ["result"]);
    /// 1 while an authority is asked, 0 while it is left alone, as it failed or wants that.
    authority_up: IntGaugeVec = gauges("authority_up", ["authority"]);
    /// Orders that an authority's limit on all of them leaves, as this machine's last order found it.
    authority_orders_left: IntGaugeVec = gauges("authority_orders_left", ["authority"]);
    /// Renewals by result: renewed, failed, denied, misled, hindered, parked.
    renewals: IntCounterVec = counters("renewals_total", ["result"]);
    /// Looks at a name's DNS before an order, by result: leads, misled, unknown.
    dns_checks: IntCounterVec = counters("dns_checks_total", ["result"]);
    /// Tries to have a certificate revoked by its authority, by result: told, failed.
    revocations: IntCounterVec = counters("revocations_total", ["result"]);
    /// OCSP responders' answers by result: good, revoked, unknown, invalid, failed.
    ocsp_responses: IntCounterVec = counters("ocsp_responses_total", ["result"]);
    /// Revoked certificates whose authority could not be told yet.
    revocations_pending: IntGauge = gauge("revocations_pending");
    /// Orders by authority and result: issued, failed.
    orders: IntCounterVec = counters("orders_total", ["authority", "result"]);
    /// Seconds an order took, by authority.
    order_seconds: HistogramVec = histograms("order_seconds", SLOW, ["authority"]);
    /// Orders under way on this machine.
    orders_pending: IntGauge = gauge("orders_pending");
    /// Approvals by result: approved, denied, unknown, cached, stale, shed.
    approvals: IntCounterVec = counters("approvals_total", ["result"]);
    /// Seconds the approval endpoint took.
    approval_seconds: Histogram = histogram("approval_seconds", SLOW);
    /// Messages to the name server by result: answered, nodata, nxdomain, refused, not_implemented, bad_version, malformed, ignored, limited, failed.
    dns_queries: IntCounterVec = counters("dns_queries_total", ["result"]);
    /// Challenges by type and result: answered, unknown, shed, error.
    challenges_answered: IntCounterVec = counters("challenges_answered_total", ["type", "result"]);
    /// Changes of TXT records for dns-01 by change (write, remove) and result: ok, error.
    dns_records: IntCounterVec = counters("dns_records_total", ["change", "result"]);
    /// Seconds from writing a TXT record until the zone's name servers showed it.
    dns_propagation_seconds: Histogram = histogram("dns_propagation_seconds", SLOW);
    /// Operations on the Redis of the bridge by operation (answer, publish, read, lock, write) and result: ok, none, unusable, shed, error.
    bridge_operations: IntCounterVec = counters("bridge_operations_total", ["operation", "result"]);
    /// Certificates that are still to be put into the Redis of the bridge.
    bridge_writes_pending: IntGauge = gauge("bridge_writes_pending");
    /// Tries to deliver to webhooks by result: delivered, failed, given_up, disabled.
    webhook_deliveries: IntCounterVec = counters("webhook_deliveries_total", ["result"]);
    /// Deliveries to webhooks that are neither delivered nor given up.
    webhook_deliveries_pending: IntGauge = gauge("webhook_deliveries_pending");
    /// 1 while the store is open, 0 while only this machine's own copies are served.
    store_open: IntGauge = gauge("store_open");
    /// When this machine last knew of no change of others that it had not looked at, in seconds since 1970.
    changes_seen_timestamp_seconds: IntGauge = gauge("changes_seen_timestamp_seconds");
    /// Records that were damaged and kept aside, by where: local, store.
    records_quarantined: IntCounterVec = counters("records_quarantined_total", ["place"]);
    /// Store operations by operation and result: ok, error.
    store_operations: IntCounterVec = counters("store_operations_total", ["operation", "result"]);
    /// Seconds a store operation took, by operation.
    store_operation_seconds: HistogramVec = histograms("store_operation_seconds", FAST, ["operation"]);
    /// Requests by listener, site and status class; the first 100 sites by name, the others as `other`.
    http_requests: IntCounterVec = counters("http_requests_total", ["listener", "site", "status_class"]);
    /// Seconds from a request's header to the end of its answer.
    http_request_seconds: Histogram = histogram("http_request_seconds", SLOW);
    /// Seconds an origin took to its response header.
    upstream_seconds: Histogram = histogram("upstream_seconds", SLOW);
    /// Redirects from HTTP to HTTPS.
    redirects: IntCounter = counter("redirects_total");
    /// Handshakes and requests refused for names that are not served, by reason.
    unknown_names_refused: IntCounterVec = counters("unknown_names_refused_total", ["reason"]);
    /// Octets of memory that the process holds, measured four times a second.
    memory_resident_bytes: IntGauge = gauge("memory_resident_bytes");
    /// Connections open, by listener.
    connections: IntGaugeVec = gauges("connections", ["listener"]);
    /// Connections closed unheard, by reason: total, client, handshakes, memory, proxy_protocol.
    connections_refused: IntCounterVec = counters("connections_refused_total", ["reason"]);
    /// HTTP/2 connections closed for floods of frames that carry nothing: reset, settings, ping, empty, window_update, other.
    http2_floods: IntCounterVec = counters("http2_floods_total", ["frames"]);
}

impl Metrics {
    /// Makes and registers all of them; `version` goes into `nameplate_build_info`.
    ///
    /// # Panics
    /// Never in practice: registering fails only on a name given twice, which any test shows.
    pub fn new(version: &str) -> Self {
        let registry = Registry::new_custom(Some("nameplate".into()), None).expect("a constant prefix");
        let metrics = Self::register(registry);
        metrics.build_info.with_label_values(&[version]).set(1);
        metrics.configuration_current.set(1);
        metrics
    }

    /// All of them in the text form that Prometheus reads (version 0.0.4).
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics could not be rendered");
        }
        text
    }
}

struct Make<'a> {
    registry: &'a Registry,
}

impl Make<'_> {
    fn keep<C: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("constant names and labels that are valid");
        self.registry.register(Box::new(metric.clone())).expect("each name is registered once");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
        self.keep(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}
