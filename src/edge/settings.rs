//! What both listeners set in Pingora, with limits where its defaults have none.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerOptions;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, ProxyHttp, Session};

use super::origin;
use crate::config::Config;

/// A client's time to send the rest of a body nobody reads.
const CLIENT_DRAIN: Duration = Duration::from_secs(5);

/// What both listeners share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A connection without a request is closed after this time.
    pub keep_alive: Duration,
    /// How long a client may be silent within a body.
    pub body_idle: Duration,
    /// Octets a second of a body whose length is known, at least; 0: any.
    pub body_rate: u64,
    /// A client's time for one write of an answer.
    pub write_idle: Duration,
    /// The port that redirects name.
    pub https_port: u16,
    /// Whether each request is written to the log.
    pub access_log: bool,
    /// Idle connections kept to all origins, for each thread.
    pub origin_connections: usize,
    /// Roots that https origins are verified against (PEM); `None`: the machine's.
    pub origin_ca_file: Option<String>,
}

impl Settings {
    /// What `config` says.
    ///
    /// - `https_port`: the port that clients reach HTTPS at.
    pub fn new(config: &Config, https_port: u16) -> Self {
        Self {
            keep_alive: config.limits.keep_alive,
            body_idle: config.limits.body_idle,
            body_rate: config.limits.body_rate,
            write_idle: config.limits.write_idle,
            https_port,
            access_log: config.access_log,
            origin_connections: 1024,
            origin_ca_file: None,
        }
    }
}

/// Sets a client's time-outs, of which Pingora forgets one with each request.
pub(super) fn set_timeouts(session: &mut Session, settings: &Settings) {
    // Where the request asked for the connection's end, as one of HTTP/1.0 does by saying nothing
    // (RFC 9112 §9.3), it stays so. Pingora takes 0 for "without end".
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(settings.keep_alive.as_secs().max(1)));
    }
    session.set_read_timeout(Some(settings.body_idle));
    session.set_write_timeout(Some(settings.write_idle));
    session.set_total_drain_timeout(Some(CLIENT_DRAIN));
    // Without it, a client that sends two requests at once gets one answer and a closed door.
    session.set_pipelining_enabled(true);
}

/// Pingora around `inner`, with limits where its defaults have none.
pub(super) fn http_proxy_of<P: ProxyHttp>(inner: P, settings: &Settings) -> HttpProxy<P> {
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: settings.origin_connections,
        ca_file: settings.origin_ca_file.clone(),
        max_retries: origin::MAX_TRIES + 1,
        ..ServerConf::default()
    };
    let mut proxy = HttpProxy::new(inner, Arc::new(conf));
    proxy.handle_init_modules();
    proxy.h2_options = Some(h2_options());
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(settings.keep_alive);
    proxy.server_options = Some(options);
    proxy
}

/// HTTP/2 to clients. The first two are the bounds that a set of options of one's own loses.
fn h2_options() -> H2Options {
    let mut options = H2Options::default();
    options.max_concurrent_streams(100);
    options.max_header_list_size(64 * 1024);
    // What a client may send ahead of a slow origin: for one stream, and for the connection.
    options.initial_window_size(256 * 1024);
    options.initial_connection_window_size(1024 * 1024);
    // What is kept of an answer for a client that reads slowly, for each stream.
    options.max_send_buffer_size(128 * 1024);
    options
}
