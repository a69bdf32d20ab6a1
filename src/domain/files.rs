//! Static files: which folder a site's hostnames are served from, and how.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What a site of static files is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Files {
    /// Where the files are.
    pub root: Root,
    /// Names of the file that is shown for a folder, in the order they are tried; each a [`is_name`].
    pub index: Vec<Arc<str>>,
    /// Shown with 200 where there is no file, beneath the root, without a slash before it.
    pub fallback: Option<Arc<str>>,
    /// Shown with 404 where there is no file, as `fallback` is given.
    pub not_found: Option<Arc<str>>,
    /// `Cache-Control` of what is not in `immutable`.
    pub cache_control: Arc<str>,
    /// Folders whose files never change under their names: from `/` to `/`.
    pub immutable: Vec<Arc<str>>,
}

/// A folder of the machine, or one for each hostname beneath it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root {
    /// The part that is the same for all hostnames.
    pub folder: PathBuf,
    /// The rest, relative to it; empty: all hostnames show the same files.
    pub below: Vec<Piece>,
}

/// A part of a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// As it is; may hold slashes, and no segment `..`.
    Text(Arc<str>),
    /// The hostname (`{hostname}`).
    Hostname,
    /// The text that the hostname's metadata has under this key (`{metadata.KEY}`).
    Metadata(Arc<str>),
}

impl fmt::Display for Root {
    /// As the configuration has it, with the folder resolved.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display().to_string();
        f.write_str(&folder)?;
        if !self.below.is_empty() && !folder.ends_with('/') {
            f.write_str("/")?;
        }
        self.below.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Hostname => f.write_str("{hostname}"),
            Piece::Metadata(key) => write!(f, "{{metadata.{key}}}"),
        })
    }
}

/// Whether `text` is the name of one file or folder that may be shown: not empty, at most 255 octets,
/// no slash, no backslash, no control character, and no dot at its beginning.
pub fn is_name(text: &str) -> bool {
    const LONGEST: usize = 255;
    let plain = |c: char| !matches!(c, '/' | '\\') && !c.is_control();
    (1..=LONGEST).contains(&text.len()) && !text.starts_with('.') && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_that_leads_nowhere_else() {
        for good in ["a", "index.html", "a b", "ünï", "a..b", "-"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", ".git", "a/b", "/", "a\\b", "a\0", "a\nb", &"a".repeat(256)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
