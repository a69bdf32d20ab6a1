//! The text of a configuration file: places in it, and what is wrong at them.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Problem, Problems};

/// Problems that are shown; the rest is counted.
const SHOWN: usize = 100;
/// Problems that are kept, of which the first are shown; a file with more is junk.
const KEPT: usize = 2_000;

/// What is wrong with a value, and what to do about it.
#[derive(Debug)]
pub(super) struct Wrong {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub cure: String,
}

impl Wrong {
    /// Both as sentences without a full stop.
    pub fn new(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what: what.into(), cure: cure.into() }
    }
}

/// A problem whose place is still an octet of the text.
struct Found {
    at: usize,
    key: String,
    wrong: Wrong,
}

/// A file that is being read: its text, its surroundings, and the problems found so far.
pub(super) struct Source<'a> {
    text: &'a str,
    file: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    found: RefCell<Vec<Found>>,
    /// Problems beyond [`KEPT`].
    not_kept: Cell<usize>,
}

impl<'a> Source<'a> {
    /// `file` is the name shown, and its folder the one that relative paths start from.
    pub fn new(text: &'a str, file: &'a Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { text, file, environment, found: RefCell::default(), not_kept: Cell::default() }
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    /// A path as the file gives it; a relative one starts at the file's folder.
    pub fn path(&self, given: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(given)
    }

    /// Records a problem at octet `at` of the text.
    pub fn problem(&self, at: usize, key: impl Into<String>, wrong: Wrong) {
        self.problem_with(at, || (key.into(), wrong));
    }

    /// As [`Source::problem`], where the key and the words for it take time to find.
    pub fn problem_with(&self, at: usize, words: impl FnOnce() -> (String, Wrong)) {
        if self.found.borrow().len() == KEPT {
            self.not_kept.set(self.not_kept.get() + 1);
            return;
        }
        let (key, wrong) = words();
        self.found.borrow_mut().push(Found { at, key, wrong });
    }

    /// The line (from 1) of octet `at`.
    pub fn line(&self, at: usize) -> usize {
        place(self.text, at).0
    }

    /// All problems in the order of the text; nothing where there are none.
    pub fn finish(self) -> Result<(), Problems> {
        let mut found = self.found.into_inner();
        if found.is_empty() {
            return Ok(());
        }
        found.sort_by_key(|found| found.at);
        let file: Arc<str> = self.file.display().to_string().into();
        let more = found.len().saturating_sub(SHOWN) + self.not_kept.get();
        let problem = |found: Found| {
            let (line, column) = place(self.text, found.at);
            let Wrong { what, cure } = found.wrong;
            Problem { file: file.clone(), line, column, key: found.key, what, cure }
        };
        let mut problems: Vec<Problem> = found.into_iter().take(SHOWN).map(problem).collect();
        if more > 0 {
            let last = problems.last().map_or((1, 1), |last| (last.line, last.column));
            problems.push(Problem {
                file: file.clone(),
                line: last.0,
                column: last.1,
                key: String::new(),
                what: format!("{more} more problems follow"),
                cure: "mend those above first".into(),
            });
        }
        Err(Problems(problems))
    }
}

/// Line and column, both from 1, of octet `at`. Columns are characters; a byte order mark at the
/// front of the text is not one.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|&octet| octet == b'\n').count() + 1;
    let column = before[start..].chars().filter(|&c| c != '\u{feff}').count() + 1;
    (line, column)
}

/// A user's text as it is shown in a problem: in quotes, escaped, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A user's key as it is shown in a problem: escaped where it is not a plain one, cut where it is long.
pub(super) fn shown_key(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.len() <= 60 && key.chars().all(plain) {
        return key.to_owned();
    }
    quoted(key)
}
