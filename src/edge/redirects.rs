//! The short way of plain HTTP: requests that only want to be sent to HTTPS, as nearly all do, are
//! answered from the octets they came in, one read and one write each.
//!
//! Whatever is not plainly such a request goes on to [`PlainProxy`](super::plain::PlainProxy),
//! which gives the same answers, with the connection and all that was read of it: a method other
//! than GET and HEAD, a body, an upgrade, a challenge, a header in pieces, a host without a
//! certificate in memory, anything malformed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::StatusCode;
use pingora_core::protocols::http::date::get_cached_date;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::connection::Listener;
use super::ending::Until;
use super::framing;
use super::idle::Idle;
use super::plain::{Reachable, location};
use super::request::{AccessLine, Counters, RequestId};
use super::well_known;
use crate::domain::hostname::Hostname;
use crate::telemetry::metrics::Metrics;

/// Octets read at once; a request that is longer takes the long way.
const OCTETS: usize = 4096;
/// Header fields of a request; one that has more takes the long way.
const FIELDS: usize = 48;

/// Answers redirects.
#[derive(Clone)]
pub struct Redirects {
    reachable: Arc<dyn Reachable>,
    https_port: u16,
    keep_alive: Duration,
    access_log: bool,
    counters: Counters,
    metrics: Arc<Metrics>,
}

/// What became of a connection.
pub enum Ended {
    /// It is over.
    Closed,
    /// These octets were read of it and not answered; its next request begins with them.
    GoesOn(Vec<u8>),
}

/// A request that is to be redirected.
struct Wanted<'a> {
    hostname: Hostname,
    method: &'a str,
    target: &'a [u8],
    /// Of the whole request.
    octets: usize,
}

/// What one turn at the socket came to.
struct Turn {
    /// Answers that the socket did not take at once.
    unsent: Vec<u8>,
    /// `None`: more of the same may come.
    ended: Option<Ended>,
}

impl Redirects {
    /// - `https_port`: the port that clients reach HTTPS at; 443 is left out of the URL.
    /// - `keep_alive`: a connection without a request is closed after this time.
    pub fn new(
        reachable: Arc<dyn Reachable>,
        https_port: u16,
        keep_alive: Duration,
        access_log: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        let counters = Counters::new(&metrics, Listener::Http, "");
        Self { reachable, https_port, keep_alive, access_log, counters, metrics }
    }

    /// Answers what comes by `tcp` from `client` until something else comes, nothing comes for
    /// too long, or `until` says stop.
    pub async fn serve(&self, tcp: &mut TcpStream, client: SocketAddr, until: &Until) -> Ended {
        let mut idle = Idle::new(self.keep_alive, &until.stop);
        loop {
            let closed = Turn { unsent: Vec::new(), ended: Some(Ended::Closed) };
            let turn = std::future::poll_fn(|cx| match self.poll_turn(cx, tcp, client, &mut idle, until) {
                Poll::Ready(turn) => Poll::Ready(turn.ok()),
                Poll::Pending => idle.poll(cx).map(|()| None),
            });
            let Turn { unsent, ended } = turn.await.unwrap_or(closed);
            if !unsent.is_empty() {
                match tokio::time::timeout(self.keep_alive, tcp.write_all(&unsent)).await {
                    Ok(Ok(())) => {}
                    _ => return Ended::Closed,
                }
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Reads and answers until the socket has nothing more to read.
    fn poll_turn(
        &self,
        cx: &mut Context<'_>,
        tcp: &mut TcpStream,
        client: SocketAddr,
        idle: &mut Idle,
        until: &Until,
    ) -> Poll<io::Result<Turn>> {
        loop {
            let mut space = [std::mem::MaybeUninit::uninit(); OCTETS];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *tcp).poll_read(cx, &mut buffer))?;
            let read = buffer.filled();
            if read.is_empty() {
                return Poll::Ready(Ok(Turn { unsent: Vec::new(), ended: Some(Ended::Closed) }));
            }
            let now = Instant::now();
            idle.begin(now);
            let mut answers = Vec::new();
            // The long way knows how to say that a connection ends.
            let answered = match *until.leave.borrow() {
                true => 0,
                false => self.answer_all(read, client, now, &mut answers),
            };
            let rest = &read[answered..];
            let ended = (!rest.is_empty()).then(|| Ended::GoesOn(rest.to_vec()));
            let sent = match answered {
                0 => 0,
                _ => match Pin::new(&mut *tcp).poll_write(cx, &answers) {
                    Poll::Ready(sent) => sent?,
                    Poll::Pending => 0,
                },
            };
            if sent < answers.len() || ended.is_some() {
                return Poll::Ready(Ok(Turn { unsent: answers.split_off(sent), ended }));
            }
        }
    }

    /// Answers the requests at the beginning of `read`; returns how many octets they have.
    fn answer_all(&self, read: &[u8], client: SocketAddr, begin: Instant, answers: &mut Vec<u8>) -> usize {
        let mut answered = 0;
        while let Some(wanted) = wanted(&read[answered..]) {
            if !self.reachable.is_reachable(&wanted.hostname) {
                break;
            }
            let Some(location) = location(&wanted.hostname, self.https_port, wanted.target) else { break };
            let id = RequestId::random();
            write_answer(answers, &location, id);
            answered += wanted.octets;
            self.note(&wanted, client, begin, id);
        }
        answered
    }

    fn note(&self, wanted: &Wanted<'_>, client: SocketAddr, begin: Instant, id: RequestId) {
        let status = StatusCode::MOVED_PERMANENTLY;
        let seconds = begin.elapsed().as_secs_f64();
        self.metrics.redirects.inc();
        self.counters.count(Some(status));
        self.metrics.http_request_seconds.observe(seconds);
        if self.access_log {
            let line = AccessLine {
                client: Some(client.ip()),
                host: Some(&wanted.hostname),
                site: None,
                method: wanted.method,
                path: wanted.target,
                version: http::Version::HTTP_11,
                status: Some(status),
                octets: 0,
                seconds,
                origin: None,
                id: id.as_str(),
            };
            line.write();
        }
    }
}

/// The request that `read` begins with, where it is one of those this way is for.
fn wanted(read: &[u8]) -> Option<Wanted<'_>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(octets) = request.parse(read).ok()? else { return None };
    let method = request.method.filter(|method| matches!(*method, "GET" | "HEAD"))?;
    let target = request.path?.as_bytes();
    let plain = request.version == Some(1)
        && target.first() == Some(&b'/')
        && !well_known::is_challenge(target)
        && !framing::has_bare_line_feed(&read[..octets]);
    let hostname = framing::hostname(only_host(request.headers).filter(|_| plain)?, None).ok()?;
    Some(Wanted { hostname, method, target, octets })
}

/// The Host of a header with just one, and with nothing that says more than "the next request
/// comes by this connection".
fn only_host<'a>(fields: &[httparse::Header<'a>]) -> Option<&'a [u8]> {
    const LONG_WAY: [&str; 5] =
        ["content-length", "transfer-encoding", "upgrade", "expect", "http2-settings"];
    let mut host = None;
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            if host.replace(field.value).is_some() {
                return None;
            }
        } else if LONG_WAY.iter().any(|name| is(name))
            || (is("connection") && !field.value.eq_ignore_ascii_case(b"keep-alive"))
        {
            return None;
        }
    }
    host.filter(|host| !host.is_empty())
}

fn write_answer(answers: &mut Vec<u8>, location: &http::HeaderValue, id: RequestId) {
    let date = get_cached_date();
    answers.reserve(256 + location.len());
    for part in [
        b"HTTP/1.1 301 Moved Permanently\r\nlocation: ".as_slice(),
        location.as_bytes(),
        b"\r\nContent-Length: 0\r\nx-request-id: ",
        id.as_str().as_bytes(),
        b"\r\nDate: ",
        date.as_bytes(),
        b"\r\nConnection: keep-alive\r\n\r\n",
    ] {
        answers.extend_from_slice(part);
    }
}
