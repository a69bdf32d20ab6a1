//! Approvals against a real HTTP endpoint.

mod bed;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bed::approval::{ApprovalEndpoint, Behaviour};
use bed::eventually;
use nameplate::approval::cache::Approvals;
use nameplate::config::{
    ApprovalUrl, CertificateFiles, Config, Dns, Limits, Listen, OnDemand, Platform, PlatformCertificate,
    Store, Webhooks,
};
use nameplate::domain::approval::{DenyReason, Verdict};
use nameplate::domain::clock::{Clock, UnixTime};
use nameplate::domain::hostname::Hostname;
use nameplate::domain::site::{OriginTimeouts, Site};
use nameplate::telemetry::metrics::Metrics;

const CACHE: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clock that stands until it is moved.
#[derive(Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

struct Bed {
    endpoint: ApprovalEndpoint,
    approvals: Arc<Approvals>,
    clock: Arc<Hands>,
    metrics: Arc<Metrics>,
}

impl Bed {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A bed whose configuration is changed before it starts.
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let endpoint = ApprovalEndpoint::start().await;
        let mut config = config(&endpoint.template());
        change(&mut config);
        let (clock, metrics) = (Arc::new(Hands::default()), Arc::new(Metrics::new("test")));
        let approvals = Approvals::new(&config, clock.clone(), metrics.clone()).unwrap();
        Self { endpoint, approvals: Arc::new(approvals), clock, metrics }
    }

    async fn ask(&self, name: &str) -> Verdict {
        self.approvals.decide(&host(name), Some(IpAddr::from([192, 0, 2, 7]))).await
    }

    fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::SeqCst);
    }

    fn counted(&self, result: &str) -> u64 {
        self.metrics.approvals.with_label_values(&[result]).get()
    }
}

fn host(name: &str) -> Hostname {
    name.parse().unwrap()
}

fn template(url: &str) -> ApprovalUrl {
    let (before, after) = url.split_once("{hostname}").unwrap();
    ApprovalUrl::Template { before: before.into(), after: after.into() }
}

fn config(url: &str) -> Config {
    Config {
        data_dir: "/nowhere".into(),
        listen: Listen {
            http: Vec::new(),
            https: Vec::new(),
            admin: ([127, 0, 0, 1], 0).into(),
            admin_certificate: None,
            metrics: None,
            proxy_protocol_from: Vec::new(),
            default_certificate: None,
            https_port: None,
        },
        store: Store {
            engine: nameplate::config::Engine::Embedded,
            key: nameplate::config::KeySource::File("/nowhere".into()),
        },
        authorities: Vec::new(),
        on_demand: OnDemand {
            approval: Some(template(url)),
            approval_timeout: Duration::from_secs(20),
            approval_concurrency: 100,
            approval_cache: CACHE,
            approval_cache_size: 1000,
            site: "default".into(),
            handshake_wait: Duration::from_secs(20),
        },
        certificates: vec![],
        platforms: vec![Platform {
            domain: host("example.io"),
            site: "default".into(),
            certificate: PlatformCertificate::Files(CertificateFiles {
                certificate: "/nowhere".into(),
                key: "/nowhere".into(),
            }),
        }],
        limits: Limits::default(),
        api: nameplate::config::Api::default(),
        sites: vec![Site {
            name: "fixed".into(),
            organization: "default".into(),
            hostnames: vec!["www.fixed.test".parse().unwrap(), "*.wild.test".parse().unwrap()],
            origins: Vec::new(),
            files: None,
            hsts: None,
            timeouts: OriginTimeouts::default(),
        }],
        access_log: false,
        dns_server: None,
        bridge: None,
        dns_zones: Vec::new(),
        dns: Dns::default(),
        webhooks: Webhooks::default(),
        ocsp: nameplate::config::Ocsp::default(),
        tickets: nameplate::config::Tickets::default(),
    }
}

fn approved(site: &str) -> Verdict {
    Verdict::Approved { site: site.into() }
}

fn assert_unknown(verdict: &Verdict, says: &str) {
    let Verdict::Unknown(why) = verdict else { panic!("{verdict:?}") };
    assert!(why.contains(says), "{why}");
}

#[tokio::test]
async fn two_hundreds_are_yes_and_three_codes_are_no() {
    let bed = Bed::start().await;
    for status in [200, 204, 299] {
        let name = format!("s{status}.test");
        bed.endpoint.says(&name, Behaviour::Status(status));
        assert_eq!(bed.ask(&name).await, approved("default"), "{status}");
    }
    for status in [403, 404, 410] {
        let name = format!("s{status}.test");
        bed.endpoint.says(&name, Behaviour::Status(status));
        assert_eq!(bed.ask(&name).await, Verdict::Denied(DenyReason::Endpoint { status }));
    }
}

#[tokio::test]
async fn every_other_code_means_that_it_could_not_be_asked() {
    let bed = Bed::start().await;
    for (status, questions) in [(304, 1), (400, 1), (401, 1), (429, 1), (500, 2), (503, 2)] {
        let name = format!("s{status}.test");
        bed.endpoint.says(&name, Behaviour::Status(status));
        assert_unknown(&bed.ask(&name).await, &format!("answered {status}"));
        assert_eq!(bed.endpoint.questions_about(&name), questions, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let bed = Bed::start().await;
    bed.endpoint.says("yes.test", Behaviour::Yes);
    let to = bed.endpoint.template().replace("{hostname}", "yes.test");
    bed.endpoint.says("moved.test", Behaviour::Redirect(to));
    assert_unknown(&bed.ask("moved.test").await, "redirects are not followed");
    assert_eq!(bed.endpoint.questions_about("yes.test"), 0);
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up_after_two_time_outs() {
    let bed = Bed::with(|config| config.on_demand.approval_timeout = Duration::from_millis(500)).await;
    bed.endpoint.says("silent.test", Behaviour::Silent);
    assert_unknown(&bed.ask("silent.test").await, "no answer");
    eventually("both questions came", async || bed.endpoint.questions_about("silent.test") == 2).await;
}

#[tokio::test]
async fn one_fault_is_met_by_a_second_try() {
    let bed = Bed::start().await;
    for (name, fault) in [("closes.test", Behaviour::Close), ("fails.test", Behaviour::Status(500))] {
        bed.endpoint.says(name, Behaviour::InTurn(vec![fault, Behaviour::Yes]));
        assert_eq!(bed.ask(name).await, approved("default"), "{name}");
        assert_eq!(bed.endpoint.questions_about(name), 2);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_gone_could_not_be_asked() {
    let mut bed = Bed::start().await;
    bed.endpoint.stop().await;
    assert_unknown(&bed.ask("shop.test").await, "no connection");
}

#[tokio::test]
async fn a_body_without_end_neither_delays_the_verdict_nor_stays() {
    let bed = Bed::with(|config| config.on_demand.approval_timeout = Duration::from_millis(500)).await;
    for (name, body) in [("flood.test", Behaviour::EndlessBody), ("hang.test", Behaviour::HangingBody)] {
        bed.endpoint.says(name, body);
        assert_eq!(bed.ask(name).await, approved("default"), "{name}");
        eventually("the body is closed", async || bed.endpoint.bodies_open() == 0).await;
    }
}

#[tokio::test]
async fn the_hostname_goes_into_the_path_or_the_query_and_the_client_into_a_header() {
    let bed = Bed::start().await;
    bed.ask("xn--bcher-kva.example").await;
    let question = &bed.endpoint.questions()[0];
    assert_eq!(question.target, "/approvalendpoint/xn--bcher-kva.example");
    assert_eq!(question.client.as_deref(), Some("192.0.2.7"));

    let url = bed.endpoint.plain_url();
    let by_query =
        Bed::with(|config| config.on_demand.approval = Some(ApprovalUrl::Query(url.parse().unwrap()))).await;
    by_query.approvals.decide(&host("shop.test"), None).await;
    let question = &bed.endpoint.questions()[1];
    assert_eq!(question.target, "/ask?token=t&domain=shop.test");
    assert_eq!(question.client, None);
}

#[tokio::test]
async fn a_verdict_is_kept_for_the_configured_time() {
    let bed = Bed::start().await;
    bed.endpoint.says("yes.test", Behaviour::Yes);
    for name in ["yes.test", "no.test"] {
        assert_eq!(bed.approvals.cached(&host(name)), None);
        let first = bed.ask(name).await;
        bed.pass(CACHE - Duration::from_secs(1));
        assert_eq!(bed.ask(name).await, first);
        assert_eq!(bed.approvals.cached(&host(name)), Some(first));
        assert_eq!(bed.endpoint.questions_about(name), 1, "{name}");
        bed.pass(Duration::from_secs(1));
        assert_eq!(bed.approvals.cached(&host(name)), None);
        bed.ask(name).await;
        assert_eq!(bed.endpoint.questions_about(name), 2, "{name}");
    }
    assert_eq!(bed.counted("cached"), 4);
}

#[tokio::test]
async fn the_answer_says_how_long_it_is_kept() {
    let bed = Bed::start().await;
    bed.endpoint.says("minute.test", Behaviour::Cached(404, "max-age=60"));
    bed.ask("minute.test").await;
    bed.pass(Duration::from_secs(59));
    bed.ask("minute.test").await;
    assert_eq!(bed.endpoint.questions_about("minute.test"), 1);
    bed.pass(Duration::from_secs(1));
    bed.ask("minute.test").await;
    assert_eq!(bed.endpoint.questions_about("minute.test"), 2);
    for (name, how) in [("zero.test", "max-age=0"), ("none.test", "no-store")] {
        bed.endpoint.says(name, Behaviour::Cached(200, how));
        bed.ask(name).await;
        bed.ask(name).await;
        assert_eq!(bed.endpoint.questions_about(name), 2, "{name}");
    }
}

#[tokio::test]
async fn a_stale_yes_is_used_while_the_endpoint_is_down() {
    let mut bed = Bed::start().await;
    bed.endpoint.says("yes.test", Behaviour::Yes);
    let denied = bed.ask("no.test").await;
    assert_eq!(bed.ask("yes.test").await, approved("default"));
    bed.endpoint.stop().await;
    bed.pass(CACHE + Duration::from_secs(1));
    assert_eq!(bed.ask("yes.test").await, approved("default"));
    assert_eq!(bed.counted("stale"), 1);
    // A denial is not used beyond its time, and a fault is none.
    assert!(matches!(denied, Verdict::Denied(_)));
    assert_unknown(&bed.ask("no.test").await, "no connection");
    bed.pass(DAY);
    assert_unknown(&bed.ask("yes.test").await, "no connection");
}

#[tokio::test]
async fn a_fault_is_remembered_for_a_second_and_never_as_a_denial() {
    let bed = Bed::start().await;
    bed.endpoint.says("shop.test", Behaviour::Status(500));
    assert_unknown(&bed.ask("shop.test").await, "500");
    assert_unknown(&bed.ask("shop.test").await, "500");
    assert_eq!(bed.endpoint.questions_about("shop.test"), 2, "one question of two tries");
    bed.endpoint.says("shop.test", Behaviour::Yes);
    bed.pass(Duration::from_secs(1));
    assert_eq!(bed.ask("shop.test").await, approved("default"));
}

#[tokio::test]
async fn simultaneous_questions_for_a_name_are_asked_once() {
    let bed = Bed::start().await;
    bed.endpoint.says("shop.test", Behaviour::Gated(Box::new(Behaviour::Cached(200, "no-store"))));
    let callers: Vec<_> = (0..500)
        .map(|_| {
            let approvals = bed.approvals.clone();
            tokio::spawn(async move { approvals.decide(&host("shop.test"), None).await })
        })
        .collect();
    eventually("it is asked", async || bed.endpoint.questions_about("shop.test") == 1).await;
    bed.endpoint.open_gate();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), approved("default"));
    }
    assert_eq!(bed.endpoint.questions_about("shop.test"), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_changes_nothing_for_the_others() {
    let bed = Bed::start().await;
    bed.endpoint.says("shop.test", Behaviour::Gated(Box::new(Behaviour::Yes)));
    let ask = || {
        let approvals = bed.approvals.clone();
        tokio::spawn(async move { approvals.decide(&host("shop.test"), None).await })
    };
    let first = ask();
    eventually("it is asked", async || bed.endpoint.questions_about("shop.test") == 1).await;
    let second = ask();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    bed.endpoint.open_gate();
    assert_eq!(second.await.unwrap(), approved("default"));
    assert_eq!(bed.endpoint.questions_about("shop.test"), 1);
}

#[tokio::test]
async fn questions_beyond_the_bound_are_refused_at_once_and_not_remembered() {
    let bed = Bed::with(|config| config.on_demand.approval_concurrency = 1).await;
    bed.endpoint.says("slow.test", Behaviour::Gated(Box::new(Behaviour::Yes)));
    bed.endpoint.says("shop.test", Behaviour::Yes);
    let approvals = bed.approvals.clone();
    let slow = tokio::spawn(async move { approvals.decide(&host("slow.test"), None).await });
    eventually("it is asked", async || bed.endpoint.questions_about("slow.test") == 1).await;
    assert_unknown(&bed.ask("shop.test").await, "too many");
    assert_eq!(bed.counted("shed"), 1);
    assert_eq!(bed.endpoint.questions_about("shop.test"), 0);
    bed.endpoint.open_gate();
    assert_eq!(slow.await.unwrap(), approved("default"));
    eventually("there is room again", async || bed.ask("shop.test").await == approved("default")).await;
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let bed = Bed::with(|config| config.on_demand.approval_cache_size = 10).await;
    for number in 0..50 {
        bed.ask(&format!("n{number}.test")).await;
    }
    assert!(bed.approvals.kept() <= 10, "{}", bed.approvals.kept());
}

#[tokio::test]
async fn sites_and_platforms_are_known_without_the_endpoint() {
    let bed = Bed::start().await;
    let under = Verdict::Denied(DenyReason::UnderPlatform { domain: "example.io".into() });
    for (name, verdict) in [
        ("www.fixed.test", approved("fixed")),
        ("any.wild.test", approved("fixed")),
        ("example.io", under.clone()),
        ("shop.example.io", under),
    ] {
        assert_eq!(bed.ask(name).await, verdict, "{name}");
        assert_eq!(bed.approvals.cached(&host(name)), Some(verdict));
    }
    assert_eq!(bed.endpoint.questions(), []);
    for name in ["a.any.wild.test", "wild.test", "a.shop.example.io"] {
        assert!(matches!(bed.ask(name).await, Verdict::Denied(DenyReason::Endpoint { .. })), "{name}");
    }
}

#[tokio::test]
async fn without_an_endpoint_nobody_knows_other_names() {
    let bed = Bed::with(|config| config.on_demand.approval = None).await;
    let nobody = Verdict::Denied(DenyReason::NobodyKnowsIt);
    assert_eq!(bed.ask("shop.test").await, nobody);
    assert_eq!(bed.approvals.cached(&host("shop.test")), Some(nobody));
    assert!(!bed.approvals.warn_if_it_says_yes_to_everything().await);
}

#[tokio::test]
async fn an_endpoint_that_says_yes_to_everything_is_found_out() {
    let honest = Bed::start().await;
    assert!(!honest.approvals.warn_if_it_says_yes_to_everything().await);
    let canary = honest.endpoint.questions()[0].target.clone();
    let generous = Bed::with(|config| {
        let url = honest.endpoint.template().replace("{hostname}", "anything.test?{hostname}");
        config.on_demand.approval = Some(template(&url));
    })
    .await;
    honest.endpoint.says("anything.test", Behaviour::Yes);
    assert!(generous.approvals.warn_if_it_says_yes_to_everything().await);
    let next = honest.endpoint.questions()[1].target.clone();
    assert_ne!(canary.rsplit('/').next(), next.rsplit('?').next(), "the name cannot be foreseen");
}
