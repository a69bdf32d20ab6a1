//! The look for the file that a request is for. May wait for a disk.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use rustix::buffer::spare_capacity;
use rustix::io::{pread, retry_on_intr};

use super::accepted::{Accepted, Coding};
use super::folder::{Entry, Folder, OpenFile};
use super::path::FilePath;
use super::precondition::{Asked, Part};
use super::validator::Validator;
use super::{Error, NoPlace};
use crate::domain::files::Files;

/// Octets read from a file, and kept for a client, at a time.
pub const PIECE: u64 = 64 * 1024;

/// What is looked for.
#[derive(Debug)]
pub struct Look {
    /// The site's files.
    pub files: Arc<Files>,
    /// The hostname's folder in the root; empty: the root itself.
    pub below: String,
    /// The path asked for; `None`: one that is shown nothing at, not even the fallback.
    pub path: Option<FilePath>,
    /// The codings that the client takes.
    pub accepted: Accepted,
    /// What the client asks of the file.
    pub asked: Asked,
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A folder that was asked for without a slash at its end.
    NoSlash,
    /// A file.
    File(Box<Sending>),
}

/// A file on its way to a client.
#[derive(Debug)]
pub struct Sending {
    /// 200, 206, 304, 404, 412 or 416.
    pub status: StatusCode,
    /// Path beneath the root, by which its type and its `Cache-Control` are known.
    pub path: Vec<u8>,
    /// Its length, coded as it is sent.
    pub length: u64,
    /// Its state; a page with 404 has none, since nothing depends on it.
    pub validator: Option<Validator>,
    /// What it is coded in.
    pub coding: Option<Coding>,
    /// Whether another client may get it coded differently.
    pub varies: bool,
    /// What of it is sent.
    pub part: Part,
    /// The first piece of that.
    pub first: Bytes,
    /// Where the next piece comes from.
    pub rest: Rest,
}

/// What is left of a file that is sent.
#[derive(Clone, Debug)]
pub struct Rest {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Rest {
    /// Octets left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Reads the next piece: [`PIECE`] octets, fewer at the end. Fails where the file has become
    /// shorter, since its length was told already.
    pub fn read(&mut self) -> io::Result<Bytes> {
        let wanted = usize::try_from(self.left.min(PIECE)).unwrap_or(0);
        let mut piece = Vec::with_capacity(wanted);
        while piece.len() < wanted {
            let at = self.at + piece.len() as u64;
            if retry_on_intr(|| pread(&*self.file, spare_capacity(&mut piece), at))? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        // There may be more room than was asked for, and more in the file by now.
        piece.truncate(wanted);
        self.at += wanted as u64;
        self.left -= wanted as u64;
        Ok(piece.into())
    }
}

impl Look {
    /// Finds the file, judges the request's conditions by it, and reads the first piece of what is sent.
    pub fn find(self) -> Result<Found, Error> {
        let folder = Folder::open(&self.files.root.folder, &self.below)?;
        let folder = folder.ok_or_else(|| NoPlace::Missing(self.below.clone()))?;
        let Some(path) = &self.path else { return self.not_found(&folder) };
        if path.is_folder() {
            for name in &self.files.index {
                let path = path.child(name);
                if let Some(Entry::File(file)) = folder.entry(&path)? {
                    return self.send(&folder, path, file, StatusCode::OK);
                }
            }
        } else {
            match folder.entry(path.octets())? {
                Some(Entry::File(file)) => {
                    let path = path.octets().to_vec();
                    return self.send(&folder, path, file, StatusCode::OK);
                }
                Some(Entry::Folder) => return Ok(Found::NoSlash),
                None => {}
            }
        }
        if let Some(fallback) = self.files.fallback.clone()
            && let Some(Entry::File(file)) = folder.entry(fallback.as_bytes())?
        {
            return self.send(&folder, fallback.as_bytes().to_vec(), file, StatusCode::OK);
        }
        self.not_found(&folder)
    }

    fn not_found(self, folder: &Folder) -> Result<Found, Error> {
        let page = self.files.not_found.clone().ok_or(Error::Absent)?;
        match folder.entry(page.as_bytes())? {
            Some(Entry::File(file)) => {
                self.send(folder, page.as_bytes().to_vec(), file, StatusCode::NOT_FOUND)
            }
            _ => Err(Error::Absent),
        }
    }

    /// - `status`: 200, which the request's conditions may change, or 404, which they do not.
    fn send(
        self,
        folder: &Folder,
        path: Vec<u8>,
        file: OpenFile,
        status: StatusCode,
    ) -> Result<Found, Error> {
        let mut coded = Coding::ALL.map(|coding| {
            let file_of = || folder.file(&[&path, coding.suffix().as_bytes()].concat());
            // An older one is of what the file was before.
            Some((coding, file_of().filter(|coded| coded.modified >= file.modified)?))
        });
        let varies = coded.iter().any(Option::is_some);
        let there = |coding| coded.iter().flatten().any(|(found, _)| *found == coding);
        let coding = self.accepted.best(there);
        let of_coding =
            |slot: &&mut Option<(Coding, OpenFile)>| slot.as_ref().map(|(found, _)| *found) == coding;
        let chosen = coding.and_then(|_| coded.iter_mut().find(of_coding)?.take());
        let (coding, OpenFile { file, length, modified }) =
            chosen.map_or((None, file), |(coding, file)| (Some(coding), file));
        let head = self.asked.head;
        let validator = Validator::new(modified, length, coding);
        let (part, validator) = match status {
            StatusCode::OK => (self.asked.part(&validator, length), Some(validator)),
            _ => (Part::Whole, None),
        };
        let (status, at, left) = match part {
            Part::Whole => (status, 0, length),
            Part::From { first, length } => (StatusCode::PARTIAL_CONTENT, first, length),
            Part::NotModified => (StatusCode::NOT_MODIFIED, 0, 0),
            Part::Failed => (StatusCode::PRECONDITION_FAILED, 0, 0),
            Part::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
        };
        let mut rest = Rest { file: Arc::new(file), at, left: if head { 0 } else { left } };
        let first = rest.read().map_err(Error::Read)?;
        Ok(Found::File(Box::new(Sending {
            status,
            path,
            length,
            validator,
            coding,
            varies,
            part,
            first,
            rest,
        })))
    }
}
