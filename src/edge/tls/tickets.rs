//! Session tickets (RFC 5077, RFC 8446 §4.6.1) by keys that come from elsewhere and change over time.
//!
//! A ticket is AES-256-CBC and HMAC-SHA256 over the session's state, as RFC 5077 §4 recommends it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use openssl::cipher::Cipher;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{SslContext, SslContextBuilder, SslRef, SslVersion};
use prometheus::IntCounter;

use super::ffi::{self, IV_OCTETS, Shown, Ticket, TicketCallback};
use crate::domain::clock::Clock;
use crate::domain::ticket::{KeyName, Ring};
use crate::telemetry::metrics::Metrics;

/// Longest that a session may be resumed, also by tickets that TLS 1.2 renews.
const LONGEST_SESSION: Duration = Duration::from_secs(2 * 60 * 60);

/// How the tickets of a TLS context are made and read.
pub struct TicketUse {
    ring: Arc<ArcSwap<Ring>>,
    clock: Arc<dyn Clock>,
    session: Duration,
    issued: IntCounter,
    current_key: IntCounter,
    older_key: IntCounter,
    unknown_key: IntCounter,
}

/// Lives in the context's ex_data, beside the cipher that OpenSSL would else look for each time.
struct InUse {
    tickets: TicketUse,
    cipher: Cipher,
}

static IN_USE: LazyLock<Option<Index<SslContext, InUse>>> = LazyLock::new(|| SslContext::new_ex_index().ok());

fn in_use(ssl: &SslRef) -> Option<&InUse> {
    ssl.ssl_context().ex_data((*IN_USE)?)
}

impl TicketUse {
    /// - `period`: how long a key encrypts, and at least decrypts after that: no session is resumed for
    ///   longer, so that each is as long as its client was told
    pub fn new(ring: Arc<ArcSwap<Ring>>, clock: Arc<dyn Clock>, period: Duration, metrics: &Metrics) -> Self {
        let counter = |result: &str| metrics.session_tickets.with_label_values(&[result]);
        Self {
            ring,
            clock,
            session: period.min(LONGEST_SESSION),
            issued: counter("issued"),
            current_key: counter("current_key"),
            older_key: counter("older_key"),
            unknown_key: counter("unknown_key"),
        }
    }

    /// Lets a context make and read its tickets so.
    pub(super) fn set(self, context: &mut SslContextBuilder) -> Result<(), ErrorStack> {
        let index = (*IN_USE).ok_or_else(ErrorStack::get)?;
        let cipher = Cipher::fetch(None, "AES-256-CBC", None)?;
        ffi::set_session_seconds(context, u32::try_from(self.session.as_secs()).unwrap_or(u32::MAX));
        context.set_ex_data(index, InUse { tickets: self, cipher });
        ffi::on_ticket::<InUse>(context)
    }
}

impl TicketCallback for InUse {
    fn encrypt(
        ssl: &SslRef,
        mut ticket: Ticket<'_>,
    ) -> Result<Option<(KeyName, [u8; IV_OCTETS])>, ErrorStack> {
        let Some(Self { tickets, cipher }) = in_use(ssl) else { return Ok(None) };
        let ring = tickets.ring.load();
        let Some(held) = ring.encrypting(tickets.clock.now()) else { return Ok(None) };
        let mut iv = [0; IV_OCTETS];
        openssl::rand::rand_bytes(&mut iv)?;
        ticket.cipher.encrypt_init(Some(cipher), Some(held.key.cipher()), Some(&iv))?;
        ticket.authenticate(held.key.mac())?;
        tickets.issued.inc();
        Ok(Some((*held.key.name(), iv)))
    }

    fn decrypt(
        ssl: &SslRef,
        name: &KeyName,
        iv: &[u8; IV_OCTETS],
        mut ticket: Ticket<'_>,
    ) -> Result<Shown, ErrorStack> {
        let Some(Self { tickets, cipher }) = in_use(ssl) else { return Ok(Shown::Unknown) };
        let (ring, now) = (tickets.ring.load(), tickets.clock.now());
        let Some(key) = ring.decrypting(name, now) else {
            tickets.unknown_key.inc();
            return Ok(Shown::Unknown);
        };
        ticket.cipher.decrypt_init(Some(cipher), Some(key.cipher()), Some(iv))?;
        ticket.authenticate(key.mac())?;
        let current = ring.encrypting(now).is_some_and(|held| held.key.name() == name);
        if current { &tickets.current_key } else { &tickets.older_key }.inc();
        // In TLS 1.3 each ticket is used once (RFC 8446 §C.4), so a client without another one would come
        // to a full handshake; in TLS 1.2 the ticket stays good as long as its key.
        let renew = !current || ssl.version2() == Some(SslVersion::TLS1_3);
        Ok(if renew { Shown::Renew } else { Shown::Good })
    }
}
