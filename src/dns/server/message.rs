//! Messages: what is asked, and the octets of an answer.

use std::net::SocketAddr;

use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Edns, LowerQuery, Metadata, ResponseCode};
use hickory_server::proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_server::proto::serialize::binary::BinEncoder;
use hickory_server::server::Request;
use hickory_server::zone_handler::MessageResponseBuilder;

use super::{Outcome, Transport};

/// Octets of a header (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// Largest datagram without EDNS (RFC 1035 §4.2.1).
const PLAIN: u16 = 512;
/// Largest datagram with it, which no network on the way takes apart.
const PAYLOAD: u16 = 1_232;
/// The version of EDNS that there is (RFC 6891 §6.1.3).
const VERSION: u8 = 0;

/// A question that can be answered by the zone, or refused.
#[derive(Debug)]
pub struct Question {
    request: Request,
    transport: Transport,
}

/// What is answered instead.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub outcome: Outcome,
    /// The answer's octets; nothing is answered without.
    pub answer: Option<Vec<u8>>,
}

/// What an answer says.
#[derive(Debug)]
pub struct Reply {
    /// What became of the question.
    pub outcome: Outcome,
    /// The records that were asked for.
    pub answers: Vec<Record>,
    /// What stands beside them: where answers end.
    pub authority: Vec<Record>,
    /// What will be asked for next.
    pub additional: Vec<Record>,
}

impl Reply {
    /// Without records.
    pub fn bare(outcome: Outcome) -> Self {
        Self { outcome, answers: Vec::new(), authority: Vec::new(), additional: Vec::new() }
    }

    fn code(&self) -> ResponseCode {
        match self.outcome {
            Outcome::Answered | Outcome::NoData | Outcome::Ignored | Outcome::Limited => {
                ResponseCode::NoError
            }
            Outcome::NoName => ResponseCode::NXDomain,
            Outcome::Refused => ResponseCode::Refused,
            Outcome::NotImplemented => ResponseCode::NotImp,
            Outcome::BadVersion => ResponseCode::BADVERS,
            Outcome::Malformed => ResponseCode::FormErr,
            Outcome::Failed => ResponseCode::ServFail,
        }
    }

    fn is_authoritative(&self) -> bool {
        matches!(self.outcome, Outcome::Answered | Outcome::NoData | Outcome::NoName)
    }
}

impl Question {
    /// Reads a message of `peer`.
    pub fn read(octets: &[u8], peer: SocketAddr, transport: Transport) -> Result<Self, Unread> {
        let unread = |outcome, answer| Err(Unread { outcome, answer });
        let Some(header) = octets.first_chunk::<HEADER>() else { return unread(Outcome::Malformed, None) };
        if header[2] & 0x80 != 0 {
            // To answer an answer could go on for ever.
            return unread(Outcome::Ignored, None);
        }
        let alone = |outcome| unread(outcome, Some(header_alone(header, outcome)));
        if header[2] & 0x78 != 0 {
            return alone(Outcome::NotImplemented);
        }
        // The library reserves room for as many questions as a header says.
        if header[4..6] != [0, 1] {
            return alone(Outcome::Malformed);
        }
        let protocol = match transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp => Protocol::Tcp,
        };
        let Ok(request) = Request::from_bytes(octets.to_vec(), peer, protocol) else {
            return alone(Outcome::Malformed);
        };
        if request.queries.len() != 1 {
            return alone(Outcome::Malformed);
        }
        let question = Self { request, transport };
        match question.objection() {
            None => Ok(question),
            Some(outcome) => unread(outcome, Some(question.write(&Reply::bare(outcome)))),
        }
    }

    /// Why it is not looked at any further.
    fn objection(&self) -> Option<Outcome> {
        let transfer = matches!(self.kind(), RecordType::AXFR | RecordType::IXFR);
        if self.request.version() > VERSION {
            Some(Outcome::BadVersion)
        } else if transfer || self.query().is_none_or(|query| query.query_class() != DNSClass::IN) {
            Some(Outcome::Refused)
        } else {
            None
        }
    }

    fn query(&self) -> Option<&LowerQuery> {
        self.request.queries.queries().first()
    }

    /// The name that is asked for, as it was written.
    pub fn name(&self) -> Name {
        self.query().map(|query| query.original().name().clone()).unwrap_or_default()
    }

    /// The type of records that is asked for.
    pub fn kind(&self) -> RecordType {
        self.query().map_or(RecordType::ZERO, LowerQuery::query_type)
    }

    /// The octets of an answer; cut off (TC) where a datagram does not hold them.
    pub fn write(&self, reply: &Reply) -> Vec<u8> {
        let whole = self.emit(reply, false);
        let most = match self.transport {
            Transport::Udp => usize::from(self.request.max_payload().clamp(PLAIN, PAYLOAD)),
            Transport::Tcp => usize::from(u16::MAX),
        };
        match whole {
            Some(whole) if whole.len() <= most => whole,
            _ => self.cut_off(reply.outcome),
        }
    }

    /// Word that the whole answer is to be had by TCP.
    pub fn cut_off(&self, outcome: Outcome) -> Vec<u8> {
        let header =
            || self.request.as_slice().first_chunk().map(|header| header_alone(header, Outcome::Failed));
        self.emit(&Reply::bare(outcome), true).or_else(header).unwrap_or_default()
    }

    fn emit(&self, reply: &Reply, cut_off: bool) -> Option<Vec<u8>> {
        let mut metadata = Metadata::response_from_request(&self.request.metadata);
        metadata.response_code = reply.code();
        metadata.authoritative = reply.is_authoritative();
        metadata.truncation = cut_off;
        let edns = self.request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD).set_version(VERSION);
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            edns
        });
        let builder = MessageResponseBuilder::new(&self.request.queries, edns.as_ref());
        let response = builder.build(metadata, &reply.answers, &reply.authority, [], &reply.additional);
        let mut octets = Vec::with_capacity(usize::from(PLAIN));
        let mut encoder = BinEncoder::new(&mut octets);
        encoder.set_max_size(u16::MAX);
        response.destructive_emit(&mut encoder).ok()?;
        Some(octets)
    }
}

/// An answer to what cannot be read, or is no question: a header without anything behind it.
fn header_alone(asked: &[u8; HEADER], outcome: Outcome) -> Vec<u8> {
    let mut answer = [0; HEADER];
    answer[..2].copy_from_slice(&asked[..2]);
    // QR is set; opcode and RD are the question's.
    answer[2] = 0x80 | asked[2] & 0x79;
    answer[3] = Reply::bare(outcome).code().low();
    answer.to_vec()
}
