//! The only code that knows Pingora: listeners, handshake, request, route, origin, redirect.

pub mod admission;
mod answer;
pub mod connection;
pub mod ending;
pub mod files;
pub mod frames;
pub mod framing;
pub mod gate;
pub mod handshake;
pub mod headers;
pub mod http1;
pub mod idle;
pub mod listed;
pub mod listener;
pub mod middleware;
pub mod origin;
pub mod page;
pub mod plain;
pub mod proxy;
pub mod proxy_protocol;
pub mod reach;
pub mod redirects;
pub mod request;
pub mod route;
pub mod settings;
pub mod sockets;
pub mod staple;
pub mod stream;
pub mod threads;
pub mod tls;
pub mod well_known;

use std::sync::Arc;

use http::StatusCode;

use crate::domain::hostname::{Hostname, InvalidHostname};

/// Why a request is not answered by its site. The text goes to the client.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// Neither a Host header nor `:authority` (RFC 9112 §3.2).
    #[error("The request has no Host header.")]
    NoHost,
    /// A line of the header ends without CR, which lets two readers see two requests (RFC 9112 §2.2).
    #[error("A line of the request's header ends with LF alone; lines end with CR LF.")]
    BareLineFeed,
    /// Content-Length beside Transfer-Encoding: an attempt at smuggling (RFC 9112 §6.1).
    #[error("The request has both Content-Length and Transfer-Encoding.")]
    TwoLengths,
    /// A transfer coding other than `chunked`, which nobody needs (RFC 9112 §7).
    #[error("The request's Transfer-Encoding is not \"chunked\".")]
    TransferCoding,
    /// Neither a path, nor `*`, nor an absolute http or https URL (RFC 9112 §3.2).
    #[error("The request's target is neither a path nor an absolute URL.")]
    Target,
    /// The Host names nothing that a certificate could be for.
    #[error("The request's host is not a hostname: {0}.")]
    Host(#[from] InvalidHostname),
    /// The port after the hostname is no number from 0 to 65535.
    #[error("The port in the request's host is not a number from 0 to 65535.")]
    Port,
    /// The Host is not covered by the certificate of this connection (RFC 9110 §15.5.20).
    #[error("This connection is not for that host; connect to it anew.")]
    Misdirected,
    /// No site has the hostname.
    #[error("No site is set up for {0}.")]
    NoSite(Hostname),
    /// None of the site's origins has an address or accepts a connection.
    #[error("No server of this site can be reached. Try again in a moment.")]
    Unreachable,
    /// The origin broke the connection or sent what is not HTTP.
    #[error("The site's server gave no valid answer. Try again in a moment.")]
    BadAnswer,
    /// The origin took longer than its time-outs allow.
    #[error("The site's server took too long to answer. Try again in a moment.")]
    Late,
    /// The site has no origin.
    #[error("The site has no server that could answer.")]
    NoOrigin,
    /// The client took too long to send its request's body.
    #[error("The request's body took too long.")]
    SlowBody,
    /// The client's request could not be read or passed on.
    #[error("The request could not be understood.")]
    BadRequest,
    /// A static site has nothing at this path, or nothing that it shows.
    #[error("There is no page at this address.")]
    NoFile,
    /// A static site's file that this process may not read.
    #[error("This page may not be shown.")]
    ClosedFile,
    /// A path that no browser sends: a broken escape, a NUL, a segment `.` or `..`.
    #[error("The path of this address is malformed.")]
    BadPath,
    /// Our own fault.
    #[error("Something went wrong on our side. Try again in a moment.")]
    Fault,
    /// The certificate of this hostname is being made.
    #[error("The certificate of {0} is being made. This page tries again by itself.")]
    Pending(Hostname),
    /// The hostname is not served, and why is nobody's business but the operator's.
    #[error("{0} is not served here.")]
    NotServed(Hostname),
    /// Whether the hostname is served cannot be told at the moment.
    #[error("Whether {0} is served cannot be told at the moment. Try again in a moment.")]
    Undecided(Hostname),
    /// Its last order failed; the next one is not due yet.
    #[error("No certificate could be obtained for {0} so far. It is tried again from time to time.")]
    NoCertificate(Hostname),
    /// A challenge token that nobody laid down.
    #[error("There is no such challenge.")]
    NoChallenge,
    /// An origin's name has no address, or the lookup failed. Not for clients.
    #[error("the origin {origin} has no address: {report}; check its name in the site's origins")]
    Unresolved {
        /// The origin, as configured.
        origin: Arc<str>,
        /// What the resolver said.
        report: Arc<str>,
    },
}

/// Why OCSP responders cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum StaplerError {
    /// TLS cannot be set up, which the client wants though it is not used.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[from] reqwest::Error),
}

impl Error {
    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoHost
            | Self::BareLineFeed
            | Self::TwoLengths
            | Self::TransferCoding
            | Self::Target
            | Self::Host(_)
            | Self::Port
            | Self::BadPath
            | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoSite(_) | Self::NotServed(_) | Self::NoChallenge | Self::NoFile => StatusCode::NOT_FOUND,
            Self::ClosedFile => StatusCode::FORBIDDEN,
            Self::Unreachable | Self::BadAnswer | Self::Unresolved { .. } => StatusCode::BAD_GATEWAY,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
            Self::NoOrigin | Self::Pending(_) | Self::Undecided(_) | Self::NoCertificate(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Fault => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word for programs, in the JSON form of the page.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoHost => "no_host",
            Self::BareLineFeed => "bare_line_feed",
            Self::TwoLengths => "two_lengths",
            Self::TransferCoding => "transfer_coding",
            Self::Target => "bad_target",
            Self::Host(_) | Self::Port => "bad_host",
            Self::Misdirected => "misdirected",
            Self::NoSite(_) => "no_site",
            Self::Unreachable | Self::Unresolved { .. } => "origin_unreachable",
            Self::BadAnswer => "origin_failed",
            Self::Late => "origin_late",
            Self::NoOrigin => "no_origin",
            Self::SlowBody => "slow_body",
            Self::BadRequest => "bad_request",
            Self::NoFile => "no_file",
            Self::ClosedFile => "closed_file",
            Self::BadPath => "bad_path",
            Self::Fault => "fault",
            Self::Pending(_) => "certificate_pending",
            Self::NotServed(_) => "not_served",
            Self::Undecided(_) => "undecided",
            Self::NoCertificate(_) => "certificate_failed",
            Self::NoChallenge => "no_challenge",
        }
    }

    /// Seconds after which another try makes sense; sent as `Retry-After`.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Pending(_) => Some(3),
            Self::Undecided(_) | Self::NoOrigin => Some(10),
            Self::NoCertificate(_) => Some(60),
            _ => None,
        }
    }

    /// Whether the connection must not be used for another request: where one ends and the next
    /// begins is in doubt.
    pub fn ends_connection(&self) -> bool {
        !matches!(
            self,
            Self::Misdirected
                | Self::NoSite(_)
                | Self::NotServed(_)
                | Self::Pending(_)
                | Self::Undecided(_)
                | Self::NoCertificate(_)
                | Self::NoChallenge
                | Self::NoFile
                | Self::ClosedFile
                | Self::BadPath
        )
    }
}
