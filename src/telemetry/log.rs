//! Logs: text on a terminal, JSON otherwise; by `tracing`, with Pingora's lines bridged from `log`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged unless `NAMEPLATE_LOG` says otherwise (the syntax of `RUST_LOG`).
///
/// Pingora writes an error line for each client that goes away and each failed handshake, which
/// lets any scanner fill a disk; our own code counts those instead. So does hickory-proto for messages
/// of DNS that are odd.
const DEFAULT_FILTER: &str = "info,pingora_core=off,pingora_proxy=off,h2=off,hickory_proto=off";

/// Sends log lines to stderr from now on. A second call changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env("NAMEPLATE_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    // A line that cannot be written, as on a full disk, is lost. To complain of that on stderr, as the
    // library does unless told, would panic where stderr is that disk.
    let lines = || tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    // `try_init` fails only where a subscriber is already set, as in a second call.
    let _already_set = if std::io::stderr().is_terminal() {
        registry.with(lines()).try_init()
    } else {
        registry.with(lines().json()).try_init()
    };
}
