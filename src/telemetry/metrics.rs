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

/// The metrics of one process. The fields' docs are their help texts' long form.
pub struct Metrics {
    registry: Registry,
    /// TLS handshakes by `result`: full, resumed, challenge, refused, timeout, failed.
    pub tls_handshakes: IntCounterVec,
    /// Seconds from the first octet to the end of a handshake.
    pub tls_handshake_seconds: Histogram,
    /// Certificate look-ups by `result`: hit, local, store, obtained, refused.
    pub certificate_lookups: IntCounterVec,
    /// Certificates ready to use in memory.
    pub certificates_hot: IntGauge,
    /// Names that have a certificate in the store, as far as this machine knows.
    pub certificates_known: IntGauge,
    /// Orders by `authority` and `result`: issued, failed.
    pub orders: IntCounterVec,
    /// Seconds an order took, by `authority`.
    pub order_seconds: HistogramVec,
    /// Orders under way on this machine.
    pub orders_pending: IntGauge,
    /// Approvals by `result`: approved, denied, unknown, cached, stale, shed.
    pub approvals: IntCounterVec,
    /// Seconds the approval endpoint took.
    pub approval_seconds: Histogram,
    /// Challenges answered by `type` and `result`: answered, unknown, shed, error.
    pub challenges_answered: IntCounterVec,
    /// Store operations by `operation` and `result`: ok, error.
    pub store_operations: IntCounterVec,
    /// Seconds a store operation took, by `operation`.
    pub store_operation_seconds: HistogramVec,
    /// Requests by `listener`, `site` and `status_class`.
    pub http_requests: IntCounterVec,
    /// Seconds from a request's header to the end of its answer.
    pub http_request_seconds: Histogram,
    /// Seconds an origin took to its response header.
    pub upstream_seconds: Histogram,
    /// Redirects from HTTP to HTTPS.
    pub redirects: IntCounter,
    /// Handshakes and requests refused for names that are not served, by `reason`.
    pub unknown_names_refused: IntCounterVec,
    /// Connections open, by `listener`.
    pub connections: IntGaugeVec,
    /// Connections closed unheard, by `reason`: total, client, proxy_protocol.
    pub connections_refused: IntCounterVec,
}

impl Metrics {
    /// Makes and registers all of them; `version` goes into `nameplate_build_info`.
    ///
    /// # Panics
    /// Never in practice: registering fails only on a name given twice, which any test shows.
    pub fn new(version: &str) -> Self {
        let registry = Registry::new_custom(Some("nameplate".into()), None).expect("a constant prefix");
        let make = Make { registry: &registry };
        make.gauges("build_info", "The running version; always 1.", &["version"])
            .with_label_values(&[version])
            .set(1);
        Self {
            tls_handshakes: make.counters(
                "tls_handshakes_total",
                "TLS handshakes by result: full, resumed, challenge, refused, timeout, failed.",
                &["result"],
            ),
            tls_handshake_seconds: make.histogram(
                "tls_handshake_seconds",
                "Seconds from the first octet to the end of a handshake.",
                FAST,
            ),
            certificate_lookups: make.counters(
                "certificate_lookups_total",
                "Certificate look-ups by result: hit, local, store, obtained, refused.",
                &["result"],
            ),
            certificates_hot: make.gauge("certificates_hot", "Certificates ready to use in memory."),
            certificates_known: make.gauge(
                "certificates_known",
                "Names with a certificate in the store, as far as this machine knows.",
            ),
            orders: make.counters(
                "orders_total",
                "Orders by authority and result: issued, failed.",
                &["authority", "result"],
            ),
            order_seconds: make.histograms(
                "order_seconds",
                "Seconds an order took, by authority.",
                SLOW,
                &["authority"],
            ),
            orders_pending: make.gauge("orders_pending", "Orders under way on this machine."),
            approvals: make.counters(
                "approvals_total",
                "Approvals by result: approved, denied, unknown, cached, stale, shed.",
                &["result"],
            ),
            approval_seconds: make.histogram("approval_seconds", "Seconds the approval endpoint took.", SLOW),
            challenges_answered: make.counters(
                "challenges_answered_total",
                "Challenges by type and result: answered, unknown, shed, error.",
                &["type", "result"],
            ),
            store_operations: make.counters(
                "store_operations_total",
                "Store operations by operation and result: ok, error.",
                &["operation", "result"],
            ),
            store_operation_seconds: make.histograms(
                "store_operation_seconds",
                "Seconds a store operation took, by operation.",
                FAST,
                &["operation"],
            ),
            http_requests: make.counters(
                "http_requests_total",
                "Requests by listener, site and status class.",
                &["listener", "site", "status_class"],
            ),
            http_request_seconds: make.histogram(
                "http_request_seconds",
                "Seconds from a request's header to the end of its answer.",
                SLOW,
            ),
            upstream_seconds: make.histogram(
                "upstream_seconds",
                "Seconds an origin took to its response header.",
                SLOW,
            ),
            redirects: make.counter("redirects_total", "Redirects from HTTP to HTTPS."),
            unknown_names_refused: make.counters(
                "unknown_names_refused_total",
                "Handshakes and requests refused for names that are not served, by reason.",
                &["reason"],
            ),
            connections: make.gauges("connections", "Connections open, by listener.", &["listener"]),
            connections_refused: make.counters(
                "connections_refused_total",
                "Connections closed unheard, by reason: total, client, proxy_protocol.",
                &["reason"],
            ),
            registry,
        }
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
