//! Answers of our own, and what a client is told where its request failed.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use pingora_error::ErrorType::{
    self, BindError, ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed,
    HTTPStatus, HandshakeError, InvalidCert, ReadError, ReadTimedout, SocketError, TLSHandshakeFailure,
    TLSHandshakeTimedout, WriteError, WriteTimedout,
};
use pingora_error::{Error as PingoraError, ErrorSource};
use pingora_http::ResponseHeader;
use pingora_proxy::{FailToProxy, Session};

use super::connection::{Connection, Phase};
use super::middleware::{Response, Steps};
use super::request::Exchange;
use super::{Error, page};

/// The connection a session came in by, whose header is whole from now on.
pub(super) fn connection(session: &Session) -> Result<Arc<Connection>, Error> {
    let connection = session.digest().and_then(Connection::of).ok_or(Error::Fault)?;
    connection.enter(Phase::Request);
    if let Some(http1) = session.as_http1() {
        let head = session.req_header();
        let body = [CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].iter().any(|n| head.headers.contains_key(n));
        connection.header_is_whole(http1.get_headers_raw_bytes().len(), body);
    }
    Ok(connection.clone())
}

/// Sends an answer of our own.
pub(super) async fn respond(
    session: &mut Session,
    exchange: &Exchange,
    steps: &Steps,
    response: Response,
) -> pingora_error::Result<()> {
    let body = response.body;
    let begun = begin(session, exchange, steps, response.status, response.headers, body.len() as u64).await?;
    if begun { session.write_response_body(Some(body), true).await } else { Ok(()) }
}

/// Sends the header of an answer of our own whose body has `length` octets; whether one follows.
pub(super) async fn begin(
    session: &mut Session,
    exchange: &Exchange,
    steps: &Steps,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    length: u64,
) -> pingora_error::Result<bool> {
    // Without Pingora's second map, which keeps the case of names: ours have none to keep.
    let mut head = ResponseHeader::build_no_case(status, Some(headers.len() + 6))?;
    for (name, value) in headers {
        head.append_header(name, value)?;
    }
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless {
        head.insert_header(http::header::CONTENT_LENGTH, length)?;
    }
    head.insert_header("X-Request-Id", exchange.id.value())?;
    if let Some(request) = exchange.context(session) {
        steps.response(request, &mut head);
    }
    let body = !bodiless && length > 0 && session.req_header().method != http::Method::HEAD;
    session.write_response_header(Box::new(head), !body).await?;
    Ok(body)
}

/// What a failed exchange is told to its client as; `None`: the client is gone.
pub(super) fn told(error: &PingoraError) -> Option<Error> {
    match (error.esource(), error.etype()) {
        (ErrorSource::Upstream, ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout) => {
            Some(Error::Late)
        }
        (ErrorSource::Upstream, kind) if is_connect(kind) => Some(Error::Unreachable),
        (ErrorSource::Upstream, _) => Some(Error::BadAnswer),
        (ErrorSource::Downstream, ReadTimedout) => Some(Error::SlowBody),
        (ErrorSource::Downstream, WriteError | WriteTimedout | ReadError | ConnectionClosed) => None,
        (ErrorSource::Downstream, _) => Some(Error::BadRequest),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Error::Fault),
    }
}

fn is_connect(kind: &ErrorType) -> bool {
    matches!(
        kind,
        ConnectRefused
            | ConnectNoRoute
            | ConnectError
            | SocketError
            | BindError
            | TLSHandshakeFailure
            | InvalidCert
            | HandshakeError
    )
}

/// Tells the client of `refused`, unless an answer is under way already.
pub(super) async fn fail(
    session: &mut Session,
    exchange: &Exchange,
    steps: &Steps,
    refused: Option<Error>,
) -> FailToProxy {
    let Some(refused) = refused else {
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    };
    let begun = session.response_written().is_some_and(|head| !head.status.is_informational());
    if begun {
        // A page behind half an answer would be taken for its rest; the connection's end is the
        // only way to say that the answer is not whole.
        session.set_keepalive(None);
        return FailToProxy { error_code: 0, can_reuse_downstream: false };
    }
    if refused.ends_connection() {
        session.set_keepalive(None);
    }
    let response = page::answer(&refused, &session.req_header().headers, exchange.id.as_str());
    let sent = respond(session, exchange, steps, response).await.is_ok();
    FailToProxy {
        error_code: refused.status().as_u16(),
        can_reuse_downstream: sent && !refused.ends_connection(),
    }
}

/// Carries a refusal through Pingora to `fail_to_proxy`.
pub(super) fn refuse(exchange: &mut Exchange, error: Error) -> Box<PingoraError> {
    let status = error.status().as_u16();
    exchange.refused = Some(error);
    PingoraError::new(HTTPStatus(status))
}
