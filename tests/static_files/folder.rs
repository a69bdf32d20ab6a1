//! A folder with all that a static site may hold, and some of what it should not.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

/// The hostname that it is served for.
pub const HOST: &str = "static.test";

/// Files that say what they are.
const FILES: &[&str] = &[
    "index.html",
    "docs/index.html",
    "docs/guide.txt",
    "docs/deep/er/file.txt",
    "with space.txt",
    "ünï.txt",
    "plus+sign.txt",
    "per%cent.txt",
    "semi;colon.txt",
    "question?.txt",
    "hash#.txt",
    "am&persand.txt",
    "quote'.txt",
    "co:lon.txt",
    "back\\slash.txt",
    "two..dots.txt",
    "trailing.",
    "UPPER.TXT",
    ".hidden",
    ".git/config",
    "docs/.htaccess",
    ".well-known/security.txt",
    ".well-known/.secret",
    "noextension",
    "data.json",
    "data.xml",
    "table.csv",
    "picture.svg",
    "picture.png",
    "picture.jpg",
    "picture.gif",
    "picture.webp",
    "picture.ico",
    "font.woff2",
    "font.woff",
    "app.wasm",
    "film.mp4",
    "film.webm",
    "paper.pdf",
    "archive.zip",
    "sound.mp3",
    "app.js",
    "style.css",
    "stale.css",
    "feed.atom",
    "page.htm",
    "file.unknown",
    "x.html/index.html",
    "a/b/c/d/e/f/g.txt",
];

/// The site beside what lies outside it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        fs::create_dir(folder.root()).unwrap();
        fs::create_dir(folder.0.path().join("outside")).unwrap();
        fs::write(folder.0.path().join("outside/secret.txt"), "outside").unwrap();
        folder
    }

    /// Its root.
    pub fn root(&self) -> PathBuf {
        self.0.path().join("site")
    }

    /// Writes a file, with the folders it lies in.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes a file so many seconds older.
    pub fn age(&self, path: &str, seconds: u64) {
        let file = File::options().write(true).open(self.root().join(path)).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - Duration::from_secs(seconds)).unwrap();
    }

    /// A link at `path` to `target`, as it is written.
    pub fn link(&self, path: &str, target: impl AsRef<Path>) {
        symlink(target, self.root().join(path)).unwrap();
    }

    pub fn close(&self, path: &str) {
        fs::set_permissions(self.root().join(path), fs::Permissions::from_mode(0o000)).unwrap();
    }

    /// All of it.
    pub fn full() -> Self {
        let folder = Self::new();
        for path in FILES {
            folder.write(path, format!("This is {path}.\n"));
        }
        folder.write("empty.txt", "");
        folder.write("big.bin", (0..300_000u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>());
        folder.write("app.js.gz", "app.js, gzipped");
        folder.write("stale.css.gz", "stale.css, gzipped before its last change");
        folder.write("only.txt.gz", "no file of this name without .gz");
        folder.age("stale.css.gz", 3_600);
        fs::create_dir(folder.root().join("bare")).unwrap();
        fs::create_dir(folder.root().join("with space")).unwrap();
        fs::create_dir(folder.root().join("back\\folder")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.root().join("pipe")).status().unwrap();
        assert!(made.success());
        folder.link("link.txt", "docs/guide.txt");
        folder.link("link-docs", "docs");
        folder.link("docs/up.txt", "../data.json");
        folder.link("dangling", "nowhere");
        folder.link("round", "round");
        folder.link("out.txt", "../outside/secret.txt");
        folder.link("out", "../outside");
        folder.link("absolute.txt", folder.root().join("data.json"));
        folder
    }
}

/// The configuration of a site `pages` for [`HOST`]; `more` are lines of its `[[site]]`.
pub fn config(root: &Path, more: &str) -> String {
    format!(
        "[[authority]]\nname = \"internal\"\ndirectory = \"internal\"\n\
         [[site]]\nname = \"pages\"\nhostnames = [\"{HOST}\"]\nroot = \"{}\"\n{more}\n",
        root.display()
    )
}
