//! The records that sealed values of a row belong to.

use crate::store::seal::Record;

/// A private key; its seal holds the chain too: they are of use together only.
pub fn certificate<'a>(name: &'a str, chain: &'a [u8]) -> Record<'a> {
    Record { kind: "certificate", of: name, beside: chain }
}

/// A private key of an own certificate; its seal holds its row's name and its chain.
pub fn own_certificate<'a>(id: &'a str, chain: &'a [u8]) -> Record<'a> {
    Record { kind: "own certificate", of: id, beside: chain }
}

/// The private key that an order is for.
pub fn unfinished_order<'a>(name: &'a str, url: &'a [u8]) -> Record<'a> {
    Record { kind: "unfinished order", of: name, beside: url }
}

/// An account's credentials; there is nothing beside them.
pub fn account<'a>(key: &'a str, _: &'a [u8]) -> Record<'a> {
    Record { kind: "account", of: key, beside: b"" }
}

/// A webhook's secret.
pub fn webhook<'a>(id: &'a str, organization: &'a [u8]) -> Record<'a> {
    Record { kind: "webhook", of: id, beside: organization }
}

/// An answer that may be given again.
pub fn answer<'a>(id: &'a str, fingerprint: &'a [u8]) -> Record<'a> {
    Record { kind: "answer", of: id, beside: fingerprint }
}
