//! The name server of one zone, in which the answers of DNS-01 stand: authoritative, without recursion,
//! by UDP and TCP (RFC 1034, RFC 1035, RFC 7766).
//!
//! Messages are read and written by hickory-server. Its own sockets are not used, as they put no
//! limit on connections, and answer what cannot be read before anybody could ask how much of that a
//! client has sent; such a message of twelve octets has it reserve some megabytes besides.

pub mod flood;
pub mod message;
pub mod service;
pub mod tcp;
pub mod udp;
pub mod zone;

use async_trait::async_trait;

use crate::store;

/// What knows the answers of DNS-01.
#[async_trait]
pub trait Texts: Send + Sync + 'static {
    /// The values of TXT records for `owner`, lower-case and without a trailing dot; none where nothing
    /// is published there.
    async fn texts(&self, owner: &str) -> Result<Vec<String>, Fault>;

    /// Whether this machine published something there itself: it then knows what no memory of the
    /// store knows yet.
    fn is_own(&self, owner: &str) -> bool;
}

/// Why what is published is not known.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Too much is being looked up.
    #[error("too many look-ups are under way")]
    Busy,
    /// The store failed.
    #[error("the published answers cannot be read")]
    Store(#[source] store::Error),
}

/// How a message came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// In a datagram, whose sender may be forged.
    Udp,
    /// On a connection.
    Tcp,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// There are such records.
    Answered,
    /// The name exists, without records of this type.
    NoData,
    /// The name does not exist.
    NoName,
    /// Another zone, another class, or a zone transfer.
    Refused,
    /// Something else than a question.
    NotImplemented,
    /// A later version of EDNS than there is.
    BadVersion,
    /// It cannot be read.
    Malformed,
    /// An answer, which is none of our business.
    Ignored,
    /// The client has asked too much.
    Limited,
    /// The store failed, or too much is being looked up.
    Failed,
}

impl Outcome {
    /// The value of the metrics' label `result`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NoData => "nodata",
            Self::NoName => "nxdomain",
            Self::Refused => "refused",
            Self::NotImplemented => "not_implemented",
            Self::BadVersion => "bad_version",
            Self::Malformed => "malformed",
            Self::Ignored => "ignored",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}
