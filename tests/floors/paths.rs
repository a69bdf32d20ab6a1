//! Every path that a file names, `crate`, `self` and `super` resolved.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::source::Source;

/// A path that a file names.
pub struct Named {
    /// From the crate's root, as in `["store", "Error"]`; `None` where it begins elsewhere: at
    /// another crate, a local name, or a child module.
    pub absolute: Option<Vec<String>>,
    /// As it is written.
    pub written: Vec<String>,
    /// Modules written inside the file that it stands in.
    pub depth: usize,
    pub line: usize,
}

/// Every path in `source`, those in `use` trees and in the arguments of macros included.
pub fn named_in(source: &Source) -> Vec<Named> {
    let mut reader = Reader { module: source.module(), inner: 0, found: Vec::new() };
    if source.floor() == "main" {
        reader.module.clear();
    }
    reader.visit_file(&source.syntax);
    reader.found
}

struct Reader {
    module: Vec<String>,
    inner: usize,
    found: Vec<Named>,
}

impl Reader {
    fn keep(&mut self, written: Vec<String>, line: usize) {
        let absolute = self.resolve(&written);
        self.found.push(Named { absolute, written, depth: self.inner, line });
    }

    fn resolve(&self, written: &[String]) -> Option<Vec<String>> {
        let mut rest = written;
        let mut base = match rest.first()?.as_str() {
            "crate" | "nameplate" => Vec::new(),
            "self" | "super" => self.module.clone(),
            _ => return None,
        };
        if matches!(rest[0].as_str(), "crate" | "nameplate" | "self") {
            rest = &rest[1..];
        }
        while rest.first().is_some_and(|part| part == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn keep_use(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |part: &proc_macro2::Ident| [before, &[part.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.keep_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => self.keep(with(&name.ident), line(name.ident.span())),
            syn::UseTree::Rename(name) => self.keep(with(&name.ident), line(name.ident.span())),
            syn::UseTree::Glob(glob) => self.keep(before.to_vec(), line(glob.star_token.spans[0])),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.keep_use(tree, before)),
        }
    }

    /// Paths among a macro's tokens, which `syn` leaves unread.
    fn keep_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut start = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(part) if path.is_empty() || colons == 2 => {
                    if path.is_empty() {
                        start = line(part.span());
                    }
                    path.push(part.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(ref group) => self.keep_tokens(group.stream()),
                TokenTree::Ident(ref part) => {
                    self.keep_token_path(&mut path, start);
                    path.push(part.to_string());
                    start = line(part.span());
                    colons = 0;
                    continue;
                }
                _ => {}
            }
            self.keep_token_path(&mut path, start);
            colons = 0;
        }
        self.keep_token_path(&mut path, start);
    }

    fn keep_token_path(&mut self, path: &mut Vec<String>, line: usize) {
        if path.len() > 1 {
            self.keep(path.clone(), line);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        self.inner += 1;
        visit::visit_item_mod(self, item);
        self.inner -= 1;
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.keep_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.keep(parts, path.segments.first().map_or(0, |first| line(first.ident.span())));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.keep_tokens(call.tokens.clone());
    }

    // `pub(crate)` and `pub(super)` import nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

pub fn line(span: proc_macro2::Span) -> usize {
    span.start().line
}
