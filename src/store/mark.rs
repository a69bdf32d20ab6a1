//! How far this machine has followed the changes of the store, beside its copies: at the next start those
//! that it missed are looked at, so that no copy outlives what it is of.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::Error;
use super::files::failed;
use super::local::LocalTier;

/// Its name in the local tier's folder.
pub const MARK_FILE: &str = "mark";

/// What stands behind the number where [`Mark::strays`].
const STRAYS: &str = " with strays";

/// How far they have been followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The number of the last change that was looked at.
    pub change: i64,
    /// Whether there may be copies of what the store had lost, as after it was restored from a backup.
    pub strays: bool,
}

impl LocalTier {
    /// What was kept last; `None` where nothing ever was.
    pub async fn mark(&self) -> Result<Option<Mark>, Error> {
        self.with_the_mark(|path| match fs::read_to_string(path) {
            Ok(text) => read(text.trim_end()).map(Some).ok_or_else(|| Error::Record {
                what: "mark",
                of: "the last change that was seen".into(),
                why: format!("it is not a number, with or without{STRAYS:?} behind it"),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", path, error)),
        })
        .await
    }

    /// Keeps `mark`, which the copies are never behind.
    pub async fn keep_mark(&self, mark: Mark) -> Result<(), Error> {
        let text = format!("{}{}\n", mark.change, if mark.strays { STRAYS } else { "" });
        self.with_the_mark(move |path| Self::replace(path, text.as_bytes())).await
    }

    /// On a thread that may block.
    async fn with_the_mark<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let path = self.folder().join(MARK_FILE);
        let at = path.clone();
        let ended = tokio::task::spawn_blocking(move || work(&at)).await;
        ended.unwrap_or_else(|ended| Err(failed("reach", &path, io::Error::other(ended))))
    }
}

fn read(text: &str) -> Option<Mark> {
    let (number, strays) = match text.strip_suffix(STRAYS) {
        Some(number) => (number, true),
        None => (text, false),
    };
    Some(Mark { change: number.parse().ok()?, strays })
}
