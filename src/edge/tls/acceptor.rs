//! The one TLS context that all clients are served by, and what its callbacks do.

use std::sync::{Arc, LazyLock, OnceLock};

use aws_lc_rs::digest;
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    AlpnError, ClientHelloResponse, ErrorCode, Ssl, SslAcceptor, SslAlert, SslContextBuilder, SslMethod,
    SslOptions, SslRef, SslSessionCacheMode, select_next_proto,
};

use super::decision::{Decision, Gate};
use super::hello::{ACME_TLS_1, Hello, ServerName};
use super::ready::Credential;
use super::tickets::TicketUse;
use super::{Alert, Error, ffi};

/// Groups in the order of our preference: post-quantum hybrid, then the usual ones. P-256 is
/// also what ECDSA certificates need in TLS 1.2.
const GROUPS: &str = "X25519MLKEM768:X25519:P-256:P-384";
/// ALPN protocols in the order of our preference, each with its length in front.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";
/// `acme-tls/1` alone, in the same form.
const ACME_PROTOCOL: &[u8] = b"\x0aacme-tls/1";

/// How far a handshake has come; lives in the `SSL`'s ex_data.
#[derive(Default)]
struct Progress {
    hello: Option<Hello>,
    decision: OnceLock<Decision>,
}

static PROGRESS: LazyLock<Option<Index<Ssl, Progress>>> = LazyLock::new(|| Ssl::new_ex_index().ok());

fn progress(ssl: &mut SslRef) -> Option<&mut Progress> {
    let index = (*PROGRESS)?;
    ssl.ex_data_mut(index)
}

/// What a suspended handshake waits for: hello read, decision open.
pub fn undecided(ssl: &SslRef) -> Option<Hello> {
    ssl.ex_data((*PROGRESS)?)?.hello.clone()
}

/// Lets a suspended handshake go on as `decision` says.
pub fn decide(ssl: &SslRef, decision: Decision) {
    if let Some(progress) = (*PROGRESS).and_then(|index| ssl.ex_data(index)) {
        // A decision is made once: what is there already stands.
        let _made_already = progress.decision.set(decision);
    }
}

/// What was asked for and how it was decided, once a handshake is over.
pub fn outcome(ssl: &SslRef) -> Option<(&Hello, &Decision)> {
    let progress = ssl.ex_data((*PROGRESS)?)?;
    Some((progress.hello.as_ref()?, progress.decision.get()?))
}

/// Whether accepting stopped because the decision needs I/O.
pub fn is_suspended(error: &openssl::ssl::Error) -> bool {
    error.code() == ErrorCode::WANT_CLIENT_HELLO_CB
}

/// Starts one handshake.
pub fn handshake(acceptor: &SslAcceptor) -> Result<Ssl, Error> {
    let context = |operation| move |source| Error::OpenSsl { operation, source };
    let mut ssl = Ssl::new(acceptor.context()).map_err(context("start a handshake"))?;
    let index = (*PROGRESS).ok_or_else(|| context("reserve an index")(ErrorStack::get()))?;
    ssl.set_ex_data(index, Progress::default());
    Ok(ssl)
}

/// Makes the context: TLS 1.2 and 1.3, Mozilla's intermediate suites, one session ticket a
/// handshake by the keys of `tickets`, no server-side session cache, certificates by `gate`.
pub fn acceptor(gate: Arc<dyn Gate>, tickets: TicketUse) -> Result<SslAcceptor, Error> {
    let failed = |operation| move |source| Error::OpenSsl { operation, source };
    let mut builder =
        SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).map_err(failed("make a context"))?;
    builder.set_groups_list(GROUPS).map_err(failed("set the groups"))?;
    builder.set_num_tickets(1).map_err(failed("limit the tickets"))?;
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    tickets.set(&mut builder).map_err(failed("set the keys of session tickets"))?;
    // One read fetches a whole record instead of its header and its body apart.
    builder.set_read_ahead(true);
    // A client that renegotiates costs a handshake each time; nobody needs it.
    builder.set_options(SslOptions::NO_RENEGOTIATION | SslOptions::CIPHER_SERVER_PREFERENCE);
    hooks(&mut builder, gate).map_err(failed("set the status callback"))?;
    Ok(builder.build())
}

fn hooks(builder: &mut SslContextBuilder, gate: Arc<dyn Gate>) -> Result<(), ErrorStack> {
    builder.set_client_hello_callback(move |ssl, alert| match on_client_hello(ssl, &*gate) {
        Ok(response) => Ok(response),
        Err(why) => {
            *alert = match why {
                Alert::UnrecognizedName => SslAlert::UNRECOGNIZED_NAME,
                Alert::InternalError => SslAlert::INTERNAL_ERROR,
                Alert::IllegalParameter => SslAlert::ILLEGAL_PARAMETER,
            };
            Err(ErrorStack::get())
        }
    });
    ffi::on_certificate(builder, on_certificate);
    // Called where a client asks for it, once the certificate is chosen; from memory only.
    builder.set_status_callback(|ssl| Ok(staple(ssl)))?;
    builder.set_alpn_select_callback(|ssl, offered| {
        let challenge = matches!(outcome(ssl), Some((_, Decision::Challenge(_))));
        let ours = if challenge { ACME_PROTOCOL } else { PROTOCOLS };
        match select_next_proto(ours, offered) {
            Some(chosen) => Ok(chosen),
            None if challenge => Err(AlpnError::ALERT_FATAL),
            // A client that offers neither still speaks HTTP/1.1 in practice.
            None => Err(AlpnError::NOACK),
        }
    });
    Ok(())
}

/// Runs for each ClientHello: for the first, when the decision is there, and once more after a
/// HelloRetryRequest.
fn on_client_hello(ssl: &mut SslRef, gate: &dyn Gate) -> Result<ClientHelloResponse, Alert> {
    let hello = Hello::read(ssl);
    let known = progress(ssl).ok_or(Alert::InternalError)?;
    match &known.hello {
        Some(first) if *first != hello => return Err(Alert::IllegalParameter),
        Some(_) => {}
        None => {
            if let Some(decision) = gate.decide(&hello) {
                known.decision = decision.into();
            }
            known.hello = Some(hello.clone());
            bind(ssl, &hello)?;
        }
    }
    match progress(ssl).and_then(|known| known.decision.get()) {
        None => Ok(ClientHelloResponse::RETRY),
        Some(Decision::Refuse(alert)) => Err(*alert),
        Some(Decision::Present(_) | Decision::Challenge(_)) => Ok(ClientHelloResponse::SUCCESS),
    }
}

/// OpenSSL does not bind a ticket to the name it was given under; this does.
fn bind(ssl: &mut SslRef, hello: &Hello) -> Result<(), Alert> {
    let name: &[u8] = match &hello.name {
        ServerName::Hostname(hostname) => hostname.as_str().as_bytes(),
        ServerName::Absent | ServerName::Invalid(_) => b"",
    };
    let mut context = [0; ffi::SESSION_CONTEXT_OCTETS];
    context.copy_from_slice(digest::digest(&digest::SHA256, name).as_ref());
    ffi::bind_session(ssl, &context).map_err(|_| Alert::InternalError)
}

/// Runs in full handshakes only: a resumed one needs no certificate.
fn on_certificate(ssl: &mut SslRef) -> bool {
    let Some(Decision::Present(ready) | Decision::Challenge(ready)) =
        progress(ssl).and_then(|known| known.decision.get().cloned())
    else {
        return false;
    };
    // OpenSSL keeps one of each family of keys, and chooses by what the client takes.
    let mut present = |one: &Credential| ffi::present(ssl, &one.leaf, &one.key, &one.chain.certificates);
    present(&ready.first).is_ok() && ready.others.iter().all(|other| present(other).is_ok())
}

/// Puts the OCSP response of the certificate that was chosen beside it, where there is one.
fn staple(ssl: &mut SslRef) -> bool {
    let response = match (outcome(ssl), ssl.certificate()) {
        (Some((_, Decision::Present(ready))), Some(chosen)) => ready.staple_of(chosen),
        _ => None,
    };
    response.is_some_and(|response| ssl.set_ocsp_status(&response).is_ok())
}

/// Whether the peer chose the challenge protocol.
pub fn is_challenge(ssl: &SslRef) -> bool {
    ssl.selected_alpn_protocol() == Some(ACME_TLS_1)
}
