//! Reading Rust files.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file.
pub struct Source {
    /// Relative to the crate's root, as in `src/edge/mod.rs`.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text: text.to_owned(), syntax }
    }

    /// Its module path: `["edge", "tls"]` for `src/edge/tls.rs` and `src/edge/tls/mod.rs`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
        if self.holds_words() {
            parts.pop();
        }
        parts
    }

    /// Its floor: the first folder, or `main`, or `lib`.
    pub fn floor(&self) -> String {
        self.module().into_iter().next().unwrap_or_else(|| "lib".to_owned())
    }

    /// Whether it is a folder's `mod.rs` (or the crate's `lib.rs`).
    pub fn holds_words(&self) -> bool {
        self.path.ends_with("/mod.rs") || self.path == "src/lib.rs"
    }
}

/// Every Rust file under `folder`, which may be missing; in order.
pub fn under(folder: &str) -> Vec<Source> {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&root);
    let mut found = Vec::new();
    collect(&root.join(folder), &mut found);
    found.sort();
    let read = |path: &PathBuf| {
        let relative = path.strip_prefix(root).expect("it was found under the root").display().to_string();
        Source::new(&relative, &fs::read_to_string(path).expect("a readable file"))
    };
    found.iter().map(read).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.expect("a readable folder").path()) {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
