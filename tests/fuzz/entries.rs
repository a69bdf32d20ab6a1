//! Whatever strangers send is read by one of these, and each says what must hold of the result.
//! The property tests here and the fuzz targets in `fuzz/` both begin with them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use nameplate::approval::endpoint::Endpoint;
use nameplate::config::{ApprovalUrl, OnDemand, file};
use nameplate::dns::delegation;
use nameplate::dns::server::service::{Heard, NameServer};
use nameplate::dns::server::{Fault, Texts, Transport};
use nameplate::domain::approval::Verdict;
use nameplate::domain::clock::SystemClock;
use nameplate::domain::hostname::{CertificateName, Hostname};
use nameplate::edge::files::accepted::Accepted;
use nameplate::edge::files::path::FilePath;
use nameplate::edge::files::precondition::{Asked, Part};
use nameplate::edge::files::validator::Validator;
use nameplate::edge::tls::Alert;
use nameplate::edge::tls::acceptor::{acceptor, handshake};
use nameplate::edge::tls::decision::{Decision, Gate};
use nameplate::edge::tls::hello::{Hello, ServerName, server_name};
use nameplate::edge::tls::tickets::TicketUse;
use nameplate::edge::{framing, proxy_protocol};
use nameplate::store::record;
use nameplate::telemetry::metrics::Metrics;
use openssl::ssl::SslAcceptor;
use pingora_http::RequestHeader;
use tokio::runtime::Runtime;

/// What reads what a stranger sent.
pub type Entry = fn(&[u8]);

/// All of them; each has a folder of seeds of its name.
pub const ALL: [(&str, Entry); 8] = [
    ("client_hello", client_hello),
    ("proxy_protocol", self::proxy_protocol),
    ("host", host),
    ("file", file_request),
    ("configuration", configuration),
    ("stored_record", stored_record),
    ("approval_answer", approval_answer),
    ("dns_message", dns_message),
];

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
});

/// A hostname that was read is in its one form.
fn normal(hostname: &Hostname) {
    let text = hostname.as_str();
    assert!(!text.is_empty() && text.len() <= 253 && !text.ends_with('.'), "{text:?}");
    assert!(
        text.bytes().all(|o| o.is_ascii_lowercase() || o.is_ascii_digit() || b".-".contains(&o)),
        "{text:?}"
    );
    assert_eq!(text.parse::<Hostname>().as_ref(), Ok(hostname));
    assert!(CertificateName::from(hostname).covers(hostname));
}

/// A client's first octets, all the way through the TLS library to SNI and ALPN.
pub fn client_hello(octets: &[u8]) {
    struct Refuses;
    impl Gate for Refuses {
        fn decide(&self, hello: &Hello) -> Option<Decision> {
            if let ServerName::Hostname(hostname) = &hello.name {
                normal(hostname);
            }
            Some(Decision::Refuse(Alert::UnrecognizedName))
        }
    }
    static ACCEPTOR: LazyLock<SslAcceptor> = LazyLock::new(|| {
        let (ring, clock, hour) = (Arc::default(), Arc::new(SystemClock), Duration::from_secs(60 * 60));
        let tickets = TicketUse::new(ring, clock, hour, &Metrics::new("test"));
        acceptor(Arc::new(Refuses), tickets).unwrap()
    });
    if let ServerName::Hostname(hostname) = server_name(octets) {
        normal(&hostname);
    }
    struct Client<'a>(&'a [u8]);
    impl Read for Client<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Client<'_> {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let ended = handshake(&ACCEPTOR).unwrap().accept(Client(octets));
    assert!(ended.is_err(), "nobody is let in");
}

/// What a load balancer sends first.
pub fn proxy_protocol(octets: &[u8]) {
    let mut rest = octets;
    let read = RUNTIME.block_on(proxy_protocol::read(&mut rest));
    if let Ok(Some((client, local))) = read {
        assert_eq!(client.is_ipv4(), local.is_ipv4());
        let used = &octets[..octets.len() - rest.len()];
        assert!(used.starts_with(b"PROXY TCP") || used.starts_with(b"\r\n\r\n\0\r\nQUIT\n"), "{used:?}");
    }
}

/// A request for a static site's file: its path, then, each on a line of its own, Range, Accept-Encoding,
/// If-None-Match and If-Range.
pub fn file_request(octets: &[u8]) {
    let mut lines = octets.split(|&octet| octet == b'\n');
    if let Ok(path) = FilePath::of(lines.next().unwrap_or_default()) {
        let segments = || path.octets().split(|&octet| octet == b'/');
        assert!(!path.octets().contains(&0));
        assert!(path.octets().is_empty() || segments().all(|segment| !segment.is_empty()));
        assert!(segments().skip(1).all(|segment| !segment.starts_with(b".")));
        let again = FilePath::of(path.with_slash().as_bytes()).unwrap();
        assert_eq!(again.octets(), path.octets());
    }
    let mut headers = http::HeaderMap::new();
    for name in ["range", "accept-encoding", "if-none-match", "if-range"] {
        if let Ok(value) = HeaderValue::from_bytes(lines.next().unwrap_or_default()) {
            headers.insert(name, value);
        }
    }
    let _chosen = Accepted::of(&headers).best(|_| true);
    for length in [0, 1, 10, u64::MAX] {
        let asked = Asked::of(&http::Method::GET, &headers);
        if let Part::From { first, length: part } = asked.part(&Validator::new((1, 0), length, None), length)
        {
            assert!(
                part > 0 && first.checked_add(part).is_some_and(|end| end <= length),
                "{first} {part} {length}"
            );
        }
    }
}

/// A Host header or `:authority`, and a request's target.
pub fn host(octets: &[u8]) {
    if let Ok(hostname) = framing::hostname(octets, None) {
        normal(&hostname);
        let again = framing::hostname(hostname.as_str().as_bytes(), Some(&hostname));
        assert_eq!(again.as_ref(), Ok(&hostname));
    }
    let (target, field) = octets.split_at(octets.len() / 2);
    let Ok(mut head) = RequestHeader::build("GET", target, None) else { return };
    if let Ok(field) = HeaderValue::from_bytes(field) {
        head.insert_header("host", field).unwrap();
    }
    if let Ok(path) = framing::path_and_query(&head) {
        assert!(path.starts_with(b"/") || path == b"*", "{path:?}");
    }
    if let Ok(host) = framing::host(&head) {
        assert!(!host.is_empty());
    }
    framing::has_bare_line_feed(octets);
}

/// A configuration file.
pub fn configuration(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    // A file of the reader's own folder is not to be named by chance.
    if let Err(problems) = file::parse_with(&text, Path::new("/nonexistent/x.toml"), &|_| None) {
        assert!(!problems.0.is_empty(), "refused without a reason");
        for problem in problems.0 {
            let line = text.split('\n').nth(problem.line.saturating_sub(1));
            assert!(line.is_some() && problem.column > 0, "{problem:?} is at no place");
            assert!(!problem.what.is_empty() && !problem.cure.is_empty(), "{problem:?}");
        }
    }
}

/// What the store and the local tier hold, behind their seals.
pub fn stored_record(octets: &[u8]) {
    if let Ok(certificate) = record::read_certificate(octets) {
        let written = record::certificate_octets(&certificate).unwrap();
        let again = record::read_certificate(&written).unwrap();
        assert_eq!((&again.name, &again.chain), (&certificate.name, &certificate.chain));
        assert_eq!((again.validity, &again.source), (certificate.validity, &certificate.source));
    }
    if let Ok(chain) = record::read_chain(octets) {
        assert_eq!(record::chain_octets(&chain), octets);
    }
    let text = String::from_utf8_lossy(octets);
    if let Ok(source) = record::read_source(&text) {
        assert_eq!(record::read_source(&record::source_text(&source).unwrap()).unwrap(), source);
    }
    let _refused = record::read_key_type(&text);
}

/// What an approval endpoint answers, octet by octet.
pub fn approval_answer(octets: &[u8]) {
    static ASKED: LazyLock<(Endpoint, Arc<Mutex<Vec<u8>>>)> = LazyLock::new(endpoint);
    let (endpoint, says) = &*ASKED;
    *says.lock().unwrap() = octets.to_vec();
    let answer = RUNTIME.block_on(endpoint.ask(&"a.test".parse().unwrap(), None));
    if matches!(answer.verdict, Verdict::Approved { .. }) {
        let says_yes = octets.windows(9).any(|piece| piece.starts_with(b"HTTP/1.") && piece[8] == b' ');
        assert!(says_yes, "yes without an answer");
    }
}

/// An endpoint and what it is to say next, to each connection alike.
fn endpoint() -> (Endpoint, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = format!("http://{}/", listener.local_addr().unwrap());
    let says = Arc::new(Mutex::new(Vec::new()));
    let answers = says.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = Vec::new();
            let mut octet = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut octet).is_ok_and(|read| read == 1) {
                request.push(octet[0]);
            }
            let answer = answers.lock().unwrap().clone();
            let _gone = stream.write_all(&answer);
        }
    });
    let on_demand = OnDemand {
        approval: Some(ApprovalUrl::Template { before, after: String::new() }),
        approval_timeout: Duration::from_millis(200),
        approval_concurrency: 8,
        approval_cache: Duration::from_secs(1),
        approval_cache_size: 1,
        site: "default".into(),
        handshake_wait: Duration::from_secs(1),
    };
    let endpoint = Endpoint::new(&on_demand, Arc::new(Metrics::new("fuzz"))).unwrap().unwrap();
    (endpoint, says)
}

/// Knows a value of every label but one, which has many.
struct Values;

#[async_trait]
impl Texts for Values {
    async fn texts(&self, owner: &str) -> Result<Vec<String>, Fault> {
        let (label, zone) = owner.split_once('.').unwrap();
        assert!(zone == "acme.plat.test" && delegation::is_label(label.as_bytes()), "{owner}");
        let values = if label.starts_with('7') { 100 } else { 1 };
        Ok((0..values).map(|number| format!("{number:043}")).collect())
    }

    fn is_own(&self, owner: &str) -> bool {
        owner.starts_with('a')
    }
}

/// A message to the name server, by UDP and by TCP.
pub fn dns_message(octets: &[u8]) {
    static SERVER: LazyLock<Arc<NameServer>> = LazyLock::new(|| {
        let text = "[dns_server]\nlisten = [\"127.0.0.1:53\"]\nzone = \"acme.plat.test\"\n\
                    name_servers = [\"a.ns.acme.plat.test\"]\naddresses = [\"192.0.2.7\"]\n\
                    queries_per_client = \"4000000000/1s\"\n";
        let config = file::parse(text, Path::new("nameplate.toml")).unwrap();
        let server = NameServer::new(Arc::new(Values), Arc::new(Metrics::new("test")));
        server.follow(server.plan(config.dns_server.as_ref()).unwrap());
        server
    });
    for transport in [Transport::Udp, Transport::Tcp] {
        let answer = match SERVER.hear(octets, ([192, 0, 2, 1], 53).into(), transport) {
            Heard::Nothing => continue,
            Heard::Answer(answer) => answer,
            Heard::Later(pending) => RUNTIME.block_on(pending.answer()).octets,
        };
        assert!(octets.len() >= 12 && octets[2] & 0x80 == 0, "it was no question");
        assert!(answer.len() >= 12 && answer[2] & 0x80 != 0);
        assert_eq!((&answer[..2], answer[2] & 0x78), (&octets[..2], octets[2] & 0x78));
        assert_eq!(answer[3] & 0xa0, 0, "neither recursion nor signatures");
        let most = if transport == Transport::Udp { 1_232 } else { 65_535 };
        assert!(answer.len() <= most, "{}", answer.len());
    }
}
