//! A table of the file, read key by key: a wrong value becomes a problem at its place, and reading
//! goes on, so that everything wrong is reported in one go.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Source, Wrong, quoted, shown_key};
use super::{duration, keys};

/// A table of the file; or its absence, which has no keys.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    /// Dotted path, as in [`keys::TABLES`].
    path: &'static str,
    /// Where the table begins.
    at: usize,
    table: Option<&'a DeTable<'a>>,
}

/// A value of the file with its place.
#[derive(Clone)]
pub(super) struct Value<'a> {
    source: &'a Source<'a>,
    key: String,
    at: usize,
    value: &'a DeValue<'a>,
}

/// A text of the file with its place.
#[derive(Clone)]
pub(super) struct Text<'a> {
    source: &'a Source<'a>,
    key: String,
    at: usize,
    text: &'a str,
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A type of TOML with its article.
fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl<'a> Section<'a> {
    /// The file's own level.
    pub fn top(source: &'a Source<'a>, table: &'a DeTable<'a>) -> Self {
        Self::open(source, "", 0, Some(table))
    }

    /// Records keys that the table at `path` does not have.
    fn open(source: &'a Source<'a>, path: &'static str, at: usize, table: Option<&'a DeTable<'a>>) -> Self {
        let known = keys::of(path);
        for (key, _) in table.into_iter().flat_map(DeTable::iter) {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                source.problem_with(key.span().start, || {
                    let wrong = Wrong::new("there is no such key", keys::cure_for_unknown(path, name));
                    (dotted(path, &shown_key(name)), wrong)
                });
            }
        }
        Self { source, path, at, table }
    }

    /// The file it is from.
    pub fn source(&self) -> &'a Source<'a> {
        self.source
    }

    /// Records a problem of the table as a whole, with `key` of it.
    pub fn problem(&self, key: &str, wrong: Wrong) {
        self.source.problem(self.at, dotted(self.path, key), wrong);
    }

    /// Records that `key` is missing.
    pub fn missing(&self, key: &str, like: &str) {
        self.problem(key, Wrong::new("it is missing", format!("give it, as in {like}")));
    }

    /// The value of `key`, if the file has it.
    pub fn value(&self, key: &'static str) -> Option<Value<'a>> {
        debug_assert!(keys::of(self.path).contains(&key), "{}.{key} is not in keys::TABLES", self.path);
        let value = self.table?.get(key)?;
        let at = value.span().start;
        Some(Value { source: self.source, key: dotted(self.path, key), at, value: value.get_ref() })
    }

    /// Whether the file has `key`.
    pub fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The table at `key`; an empty one where the file has none.
    pub fn section(&self, key: &'static str) -> Self {
        self.optional_section(key).unwrap_or(Self {
            source: self.source,
            path: self.child(key),
            at: self.at,
            table: None,
        })
    }

    /// The table at `key`, if the file has it.
    pub fn optional_section(&self, key: &'static str) -> Option<Self> {
        let value = self.value(key)?;
        let path = self.child(key);
        match value.value {
            DeValue::Table(table) => Some(Self::open(self.source, path, value.at, Some(table))),
            other => {
                let cure = match self.path {
                    "" => format!("write {} on a line of its own", keys::header(path)),
                    _ => format!("write it like {key} = {{ … }}"),
                };
                value.problem(Wrong::new(format!("it is {}, not a table", type_of(other)), cure));
                None
            }
        }
    }

    /// The tables `[[key]]`.
    pub fn sections(&self, key: &'static str) -> Vec<Self> {
        let path = self.child(key);
        let wrong = |value: &DeValue<'_>| {
            let what = format!("it is {}, not a list of tables", type_of(value));
            Wrong::new(what, format!("write {} above each", keys::header(path)))
        };
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(items) = value.value else {
            value.problem(wrong(value.value));
            return Vec::new();
        };
        let table = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::Table(table) => Some(Self::open(self.source, path, item.span().start, Some(table))),
            other => {
                self.source.problem(item.span().start, value.key.clone(), wrong(other));
                None
            }
        };
        items.iter().filter_map(table).collect()
    }

    fn child(&self, key: &'static str) -> &'static str {
        let wanted = dotted(self.path, key);
        keys::TABLES.iter().find(|(path, _)| *path == wanted).map_or(key, |(path, _)| path)
    }

    /// The text at `key`; `like` is how it may be written, where it is something else.
    pub fn text(&self, key: &'static str, like: &str) -> Option<Text<'a>> {
        self.value(key)?.text(like)
    }

    /// The text at `key`, which must be there.
    pub fn required(&self, key: &'static str, like: &str) -> Option<Text<'a>> {
        if !self.has(key) {
            self.missing(key, like);
        }
        self.text(key, like)
    }

    /// The list of texts at `key`; `None` where it is missing or no list.
    pub fn texts(&self, key: &'static str, like: &str) -> Option<Vec<Text<'a>>> {
        let value = self.value(key)?;
        let DeValue::Array(items) = value.value else {
            value.wrong_type("a list of texts", like);
            return None;
        };
        let text = |item: &'a Spanned<DeValue<'a>>| {
            let at = item.span().start;
            Value { source: self.source, key: value.key.clone(), at, value: item.get_ref() }.text(like)
        };
        Some(items.iter().filter_map(text).collect())
    }

    /// The list at `key`, each text of it read by `read`; `None` where it is missing.
    pub fn list<T>(
        &self,
        key: &'static str,
        like: &str,
        read: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let texts = self.texts(key, like)?;
        Some(texts.iter().filter_map(|text| text.read(&read)).collect())
    }

    /// True or false.
    pub fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        if let DeValue::Boolean(flag) = value.value {
            return *flag;
        }
        value.wrong_type("true or false", &format!("{key} = {default}"));
        default
    }

    /// A whole number in `range`; `None` where it is missing or wrong.
    pub fn number(&self, key: &'static str, range: RangeInclusive<u64>, like: u64) -> Option<u64> {
        let value = self.value(key)?;
        let DeValue::Integer(integer) = value.value else {
            value.wrong_type("a whole number", &format!("{key} = {like}"));
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let what = format!("{} is out of range", shown_key(integer.as_str()));
            value.problem(Wrong::new(what, format!("give {} to {}", range.start(), range.end())));
        }
        number
    }

    /// A number of things that are counted in memory, at least 1.
    pub fn count(&self, key: &'static str, most: u64, default: usize) -> usize {
        let number = self.number(key, 1..=most, default as u64);
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    }

    /// A duration in `range`.
    pub fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let like = format!("{key} = \"{}\"", duration::written(default));
        let text = self.text(key, &like);
        text.and_then(|text| text.read(|text| duration::parse(text, &range))).unwrap_or(default)
    }

    /// A path; a relative one starts at the file's folder.
    pub fn path(&self, key: &'static str) -> Option<(Text<'a>, PathBuf)> {
        let text = self.text(key, &format!("{key} = \"path\""))?;
        let path = text.read(|text| {
            if text.is_empty() || text.contains('\0') {
                return Err(Wrong::new("it is no path", "give a path, or leave the key out"));
            }
            Ok(self.source.path(text))
        })?;
        Some((text, path))
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let like = format!("{key} = \"{}\"", words.first().map_or("", |word| word.0));
        self.text(key, &like)?.read(|text| one_of(text, words))
    }
}

/// The meaning of `text` among `words`.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            let cure = format!("write {}", known.join(" or "));
            Err(Wrong::new(format!("{} is not known here", quoted(text)), cure))
        }
    }
}

impl<'a> Value<'a> {
    /// Records a problem at it.
    pub fn problem(&self, wrong: Wrong) {
        self.source.problem(self.at, self.key.clone(), wrong);
    }

    /// Records that it is not what it should be.
    pub fn wrong_type(&self, wanted: &str, like: &str) {
        let what = format!("it is {}, not {wanted}", type_of(self.value));
        self.problem(Wrong::new(what, format!("write it like {like}")));
    }

    /// True or false, if it is that.
    pub fn as_flag(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether it is a list without anything in it.
    pub fn is_empty_list(&self) -> bool {
        self.value.as_array().is_some_and(|list| list.is_empty())
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    fn text(self, like: &str) -> Option<Text<'a>> {
        match self.value {
            DeValue::String(text) => {
                Some(Text { source: self.source, key: self.key, at: self.at, text: text.as_ref() })
            }
            _ => {
                self.wrong_type("a text", like);
                None
            }
        }
    }
}

impl<'a> Text<'a> {
    /// The text.
    pub fn get(&self) -> &'a str {
        self.text
    }

    /// Its line in the file, from 1.
    pub fn line(&self) -> usize {
        self.source.line(self.at)
    }

    /// Records a problem at it.
    pub fn problem(&self, wrong: Wrong) {
        self.source.problem(self.at, self.key.clone(), wrong);
    }

    /// What `read` makes of it; a problem where it is wrong.
    pub fn read<T>(&self, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        match read(self.text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.problem(wrong);
                None
            }
        }
    }
}
