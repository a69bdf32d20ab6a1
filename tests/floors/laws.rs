//! What every file is held against; each law returns its breaches as lines to print.

use proc_macro2::TokenStream;
use syn::visit::{self, Visit};

use crate::paths::{line, named_in};
use crate::source::Source;
use crate::{FLOORS, LONGEST_FILE, LONGEST_FUNCTION, MAY_PRINT, UNDERGROUND, may_import};

pub fn imports(source: &Source) -> Vec<String> {
    let from = source.floor();
    let upward = named_in(source).into_iter().filter_map(|named| Some((named.line, named.absolute?)));
    let upward = upward.filter(|(_, to)| !may_import(&from, to));
    upward
        .map(|(line, to)| format!("{}:{line}: {from} must not import {}", source.path, to.join("::")))
        .collect()
}

pub fn floor(source: &Source) -> Vec<String> {
    let floor = source.floor();
    let known = FLOORS.iter().chain(UNDERGROUND).any(|(name, _)| *name == floor);
    if known { vec![] } else { vec![format!("{}: {floor} has no floor", source.path)] }
}

pub fn children(source: &Source) -> Vec<String> {
    if !source.holds_words() {
        return vec![];
    }
    let declared = source.syntax.items.iter().filter_map(|item| match item {
        syn::Item::Mod(child) if child.content.is_none() => Some(child.ident.to_string()),
        _ => None,
    });
    let declared: Vec<String> = declared.collect();
    let own = source.module();
    let mut broken = Vec::new();
    for named in named_in(source) {
        let bare = named.depth == 0 && named.written.len() > 1 && declared.contains(&named.written[0]);
        let below = named.absolute.as_ref().and_then(|path| path.strip_prefix(own.as_slice()));
        if bare || below.is_some_and(|rest| rest.first().is_some_and(|child| declared.contains(child))) {
            broken.push(format!(
                "{}:{}: uses its own child {}",
                source.path,
                named.line,
                named.written.join("::")
            ));
        }
    }
    broken
}

pub fn file_length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= LONGEST_FILE {
        vec![]
    } else {
        vec![format!("{}: {lines} lines; split it along a noun", source.path)]
    }
}

pub fn function_length(source: &Source) -> Vec<String> {
    let mut reader = Lengths { path: &source.path, broken: Vec::new() };
    reader.visit_file(&source.syntax);
    reader.broken
}

struct Lengths<'a> {
    path: &'a str,
    broken: Vec<String>,
}

impl Lengths<'_> {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = line(signature.fn_token.span);
        let lines = block.brace_token.span.close().end().line - first + 1;
        if lines > LONGEST_FUNCTION {
            self.broken.push(format!("{}:{first}: {} has {lines} lines", self.path, signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for Lengths<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.measure(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

pub fn panics(source: &Source) -> Vec<String> {
    calls(source, |call| match call {
        Call::Method("unwrap", _) => {
            Some("unwrap says nothing; handle it, or expect with the reason it cannot happen")
        }
        Call::Method("expect", false) => Some("expect needs its reason as a literal text"),
        Call::Macro("panic" | "todo" | "unimplemented", _) => Some("panics; return an error"),
        Call::Macro("unreachable", false) => Some("unreachable needs its reason"),
        _ => None,
    })
}

pub fn printing(source: &Source) -> Vec<String> {
    if MAY_PRINT.contains(&source.floor().as_str()) {
        return vec![];
    }
    calls(source, |call| match call {
        Call::Macro("print" | "println" | "eprint" | "eprintln" | "dbg", _) => {
            Some("prints; only the command line does")
        }
        _ => None,
    })
}

pub fn ignored(source: &Source) -> Vec<String> {
    let mut reader = Ignored { path: &source.path, broken: Vec::new() };
    reader.visit_file(&source.syntax);
    reader.broken
}

struct Ignored<'a> {
    path: &'a str,
    broken: Vec<String>,
}

impl<'ast> Visit<'ast> for Ignored<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("ignore") {
            self.broken.push(format!("{}:{}: ignored", self.path, line(attribute.pound_token.span)));
        }
    }
}

/// A method or macro that is called, and whether a text stands first among its arguments.
enum Call<'a> {
    Method(&'a str, bool),
    Macro(&'a str, bool),
}

type Complaint = fn(&Call) -> Option<&'static str>;

/// What `complaint` says on the calls outside tests.
fn calls(source: &Source, complaint: Complaint) -> Vec<String> {
    let mut reader = Calls { path: &source.path, complaint, broken: Vec::new() };
    reader.visit_file(&source.syntax);
    reader.broken
}

struct Calls<'a> {
    path: &'a str,
    complaint: Complaint,
    broken: Vec<String>,
}

impl Calls<'_> {
    fn judge(&mut self, call: &Call, line: usize) {
        if let Some(why) = (self.complaint)(call) {
            let (Call::Method(name, _) | Call::Macro(name, _)) = call;
            self.broken.push(format!("{}:{line}: {name}: {why}", self.path));
        }
    }

    /// Calls among a macro's tokens, which `syn` leaves unread.
    fn judge_tokens(&mut self, tokens: TokenStream) {
        let trees: Vec<_> = tokens.into_iter().collect();
        for (index, tree) in trees.iter().enumerate() {
            if let proc_macro2::TokenTree::Group(group) = tree {
                self.judge_tokens(group.stream());
            }
            let (proc_macro2::TokenTree::Punct(punct), Some(proc_macro2::TokenTree::Ident(name))) =
                (tree, trees.get(index + 1))
            else {
                continue;
            };
            if let ('.', Some(proc_macro2::TokenTree::Group(arguments))) =
                (punct.as_char(), trees.get(index + 2))
            {
                self.judge(
                    &Call::Method(&name.to_string(), begins_with_text(arguments.stream())),
                    line(name.span()),
                );
            }
        }
    }
}

fn begins_with_text(tokens: TokenStream) -> bool {
    syn::parse::Parser::parse2(
        |input: syn::parse::ParseStream| {
            let text = input.parse::<syn::LitStr>()?;
            input.parse::<TokenStream>().map(|_| text)
        },
        tokens,
    )
    .is_ok_and(|text| !text.value().is_empty())
}

fn only_for_tests(attributes: &[syn::Attribute]) -> bool {
    let is_test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    };
    attributes.iter().any(is_test)
}

impl<'ast> Visit<'ast> for Calls<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !only_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !only_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !only_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let text = match call.args.first() {
            Some(syn::Expr::Lit(literal)) => {
                matches!(&literal.lit, syn::Lit::Str(text) if !text.value().is_empty())
            }
            _ => false,
        };
        self.judge(&Call::Method(&call.method.to_string(), text), line(call.method.span()));
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last() {
            let text = begins_with_text(call.tokens.clone());
            self.judge(&Call::Macro(&name.ident.to_string(), text), line(name.ident.span()));
        }
        self.judge_tokens(call.tokens.clone());
    }
}
