//! Bringing certificates along from other servers: a source yields items, each of which holds
//! certificates or the reason why not; everything after that is the same for all of them.

pub mod batches;
pub mod caddy;
pub mod certbot;
pub mod folder;
pub mod haproxy;
pub mod item;
pub mod keyed;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::stream::BoxStream;

use super::PemError;
use crate::domain::certificate::Certificate;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::{peers, store};

/// Where certificates are brought from.
pub struct Source {
    /// What it consists of.
    pub kind: Kind,
    /// About how many items there are, where that is known before they are read.
    pub total: Option<u64>,
    /// The items; each is read when it is asked for. None follows an error.
    pub items: BoxStream<'static, Result<Item, Failed>>,
    /// What the user should do once all are here, a paragraph each.
    pub afterwards: Vec<String>,
}

/// What the items of a source are.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What one is called.
    pub one: &'static str,
    /// What many are called.
    pub many: &'static str,
    /// What to say where there are none.
    pub none: &'static str,
}

/// One place and what was in it.
#[derive(Debug)]
pub struct Item {
    /// A file below the source's folder, or a key.
    pub place: String,
    /// A certificate for each of its names, at least one; or why there is none.
    pub content: Result<Vec<Certificate>, Skipped>,
    /// What else the user should know about it.
    pub note: Option<String>,
}

/// Why an item gives no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Skipped {
    /// Its PEM text.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Its key or its value.
    #[error(transparent)]
    Peer(#[from] peers::Error),
    /// It lies where the certificate of another name belongs.
    #[error("it lies where {filed} has its certificate, and is for {names} alone")]
    OtherName {
        /// The name that it should cover.
        filed: CertificateName,
        /// Those that it covers.
        names: String,
    },
    /// It comes from an authority that is there for trials.
    #[error("it comes from the trial authority \"{issuer}\", which no browser trusts")]
    Trial {
        /// The issuer's organization.
        issuer: String,
    },
    /// Which of its certificates is meant cannot be told.
    #[error("it has {pairs} certificates with their private keys; put each pair into a place of its own")]
    Several {
        /// How many.
        pairs: usize,
    },
    /// A signature that clients refuse.
    #[error("it is signed with SHA-1, which clients refuse")]
    Sha1,
    /// It comes from another server's own authority.
    #[error("it comes from Caddy's own authority, which no browser trusts; --issuer {issuer} brings it")]
    Internal {
        /// Caddy's name of the issuer.
        issuer: String,
    },
    /// It comes from none of the issuers that were asked for.
    #[error("it comes from the issuer {issuer}, and --issuer asks for others")]
    OtherIssuer {
        /// Caddy's name of the issuer.
        issuer: String,
    },
}

/// Why an import ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A folder cannot be listed.
    #[error("{} cannot be read", .path.display())]
    Folder {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that was named on the command line.
    #[error("{} cannot be opened", .path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that should hold a password.
    #[error("{} is no text (UTF-8)", .path.display())]
    NoText {
        /// Its path.
        path: PathBuf,
    },
    /// None of the folders where a server usually keeps certificates is there.
    #[error("there is none of: {tried}; name the folder")]
    NoFolder {
        /// Their paths.
        tried: String,
    },
    /// What the other server's store said.
    #[error(transparent)]
    Peer(#[from] peers::Error),
    /// Our own store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The reading of items ended, by a fault of ours.
    #[error("the reading of values ended: {why}")]
    Reading {
        /// What the runtime said.
        why: String,
    },
    /// What became of the items cannot be written down.
    #[error("the report cannot be written")]
    Report(#[source] io::Error),
}

/// What became of one item.
#[derive(Debug)]
pub struct Row {
    /// Where it lies.
    pub place: Arc<str>,
    /// Its certificate's names and what became of each; empty where it was skipped.
    pub names: Vec<(CertificateName, Fate)>,
    /// The last second of its certificate.
    pub not_after: Option<UnixTime>,
    /// Why it was skipped.
    pub skipped: Option<Skipped>,
    /// What else the user should know about it.
    pub note: Option<String>,
}

/// What became of a name of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It was filed, or would be.
    Taken,
    /// Another place has a better one.
    Beaten(Arc<str>),
    /// The store has the same one, or one that lasts longer.
    Kept,
    /// This certificate was revoked here.
    Revoked,
}

/// What became of a source.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Items that were read.
    pub items: u64,
    /// Items with a name whose certificate was filed, or would be.
    pub used: u64,
    /// Items that hold what the store has already, and nothing else that is of use.
    pub kept_items: u64,
    /// Names whose certificate was filed, or would be.
    pub names: u64,
    /// Those of them that are wildcards.
    pub wildcards: u64,
    /// Names for which the store had the same one, or one that lasts longer.
    pub kept: u64,
}

impl Row {
    /// Whether any name's certificate comes from this item.
    pub fn is_used(&self) -> bool {
        self.names.iter().any(|(_, fate)| *fate == Fate::Taken)
    }
}

/// The path below `folder` as text.
fn below(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned()
}
