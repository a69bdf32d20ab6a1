//! Texts from outside as they go to the database.

use std::borrow::Cow;

/// The text without U+0000, which no value of the database may hold.
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}
