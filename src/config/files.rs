//! The keys of `[[site]]` that are about static files.

use std::sync::Arc;

use super::place::{Wrong, quoted};
use super::section::Section;
use crate::domain::files::{Files, Piece, Root, is_name};

/// Keys that have no meaning without `root`.
const NEED_ROOT: [&str; 5] = ["index", "fallback", "not_found", "cache_control", "immutable"];
/// Keys that have none with it.
const NEED_ORIGINS: [&str; 2] = ["origins", "timeouts"];

/// The files of a site; `None` where it has no `root`, or a wrong one.
pub(super) fn read(section: &Section<'_>) -> Option<Files> {
    let Some(text) = section.text("root", "root = \"/var/www/{hostname}\"") else {
        for key in NEED_ROOT.into_iter().filter(|_| !section.has("root")) {
            if let Some(value) = section.value(key) {
                value.problem(Wrong::new("it is for a site with a root", "give root, or leave it out"));
            }
        }
        // Read all the same, so that everything wrong is told in one go.
        keys(section);
        return None;
    };
    for key in NEED_ORIGINS {
        if let Some(value) = section.value(key) {
            value.problem(Wrong::new("the site has a root already", "give root or origins, not both"));
        }
    }
    let root = text.read(|text| root(text, section));
    let files = keys(section);
    Some(Files { root: root?, ..files })
}

/// Everything but the root.
fn keys(section: &Section<'_>) -> Files {
    let index = section.list("index", "index = [\"index.html\"]", index);
    let page = |key, like| section.text(key, like).and_then(|text| text.read(page));
    let fallback = page("fallback", "fallback = \"/index.html\"");
    let not_found = page("not_found", "not_found = \"/404.html\"");
    if let Some(value) = section.value("not_found").filter(|_| section.has("fallback")) {
        let what = "it is never shown, since fallback answers what is not there";
        value.problem(Wrong::new(what, "leave one of them out"));
    }
    let cache_control = section.text("cache_control", "cache_control = \"no-cache\"");
    let immutable = section.list("immutable", "immutable = [\"/assets/\"]", folder);
    Files {
        root: Root { folder: Default::default(), below: Vec::new() },
        index: index.unwrap_or_else(|| vec!["index.html".into()]),
        fallback,
        not_found,
        cache_control: cache_control.and_then(|text| text.read(value)).unwrap_or_else(|| "no-cache".into()),
        immutable: immutable.unwrap_or_default(),
    }
}

/// A path with `{hostname}` or `{metadata.KEY}` in it, or without.
fn root(text: &str, section: &Section<'_>) -> Result<Root, Wrong> {
    const CURE: &str =
        "write it like \"/var/www\", \"/var/www/{hostname}\" or \"/var/www/{metadata.folder}\"";
    if text.is_empty() || text.contains('\0') {
        return Err(Wrong::new("it is no path", CURE));
    }
    let Some(brace) = text.find(['{', '}']) else {
        return Ok(Root { folder: section.source().path(text), below: Vec::new() });
    };
    // The folder ends with the last whole segment before the first brace.
    let end = text[..brace].rfind('/').map_or(0, |slash| slash + 1);
    let (folder, mut rest) = text.split_at(end);
    let dots = |segment| segment == "." || segment == "..";
    if rest.split('/').any(dots) {
        return Err(Wrong::new(format!("{} has . or .. behind a placeholder", quoted(text)), CURE));
    }
    let mut below = Vec::new();
    while let Some((before, after)) = rest.split_once('{') {
        let inside =
            after.split_once('}').filter(|(inside, _)| !inside.contains('{') && !before.contains('}'));
        let Some((inside, after)) = inside else {
            return Err(Wrong::new(format!("a brace of {} has no other", quoted(text)), CURE));
        };
        if !before.is_empty() {
            below.push(Piece::Text(before.into()));
        }
        below.push(match inside.split_once('.') {
            None if inside == "hostname" => Piece::Hostname,
            Some(("metadata", key)) if !key.is_empty() => Piece::Metadata(key.into()),
            _ => return Err(Wrong::new(format!("{} is not known here", quoted(inside)), CURE)),
        });
        rest = after;
    }
    if rest.contains('}') {
        return Err(Wrong::new(format!("a brace of {} has no other", quoted(text)), CURE));
    }
    let rest = rest.trim_end_matches('/');
    if !rest.is_empty() {
        below.push(Piece::Text(rest.into()));
    }
    let folder = if folder.is_empty() { "." } else { folder };
    Ok(Root { folder: section.source().path(folder), below })
}

fn index(text: &str) -> Result<Arc<str>, Wrong> {
    if is_name(text) {
        return Ok(text.into());
    }
    let what = format!("{} is not the name of a file that is shown", quoted(text));
    Err(Wrong::new(what, "give a name without slashes and without a dot at its beginning"))
}

/// A file beneath the root; without its slash.
fn page(text: &str) -> Result<Arc<str>, Wrong> {
    match text.strip_prefix('/').filter(|path| path.split('/').all(is_name)) {
        Some(path) => Ok(path.into()),
        None => {
            let what = format!("{} is not the path of a file that is shown", quoted(text));
            Err(Wrong::new(what, "write it from the root on, like \"/404.html\""))
        }
    }
}

fn folder(text: &str) -> Result<Arc<str>, Wrong> {
    let inside = text.strip_prefix('/').and_then(|text| text.strip_suffix('/'));
    if text == "/" || inside.is_some_and(|path| path.split('/').all(is_name)) {
        return Ok(text.into());
    }
    let what = format!("{} is not the path of a folder", quoted(text));
    Err(Wrong::new(what, "write it from slash to slash, like \"/assets/\""))
}

/// What a header field may hold (RFC 9110 §5.5), of it what is plain ASCII.
fn value(text: &str) -> Result<Arc<str>, Wrong> {
    let plain = |octet: u8| (0x20..0x7f).contains(&octet);
    if text.trim() == text && !text.is_empty() && text.bytes().all(plain) {
        return Ok(text.into());
    }
    let what = format!("{} is not the value of a header field", quoted(text));
    Err(Wrong::new(what, "write it like \"no-cache\" or \"public, max-age=300\""))
}
