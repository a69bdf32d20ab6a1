//! `[[certificate]]`

use std::collections::HashMap;
use std::path::PathBuf;

use super::CertificateFiles;
use super::place::{Wrong, quoted};
use super::secret;
use super::section::Section;

const FILES: [&str; 2] = ["certificate_file", "certificate_key_file"];

/// Reads all `[[certificate]]`.
pub(super) fn read(sections: &[Section<'_>]) -> Vec<CertificateFiles> {
    let mut known: HashMap<PathBuf, usize> = HashMap::new();
    let mut all = Vec::new();
    for section in sections {
        if !FILES.iter().any(|key| section.has(key)) {
            section.missing(FILES[0], "certificate_file = \"shop.pem\", and certificate_key_file beside it");
        }
        let Some(files) = secret::certificate_files(section, FILES[0], FILES[1]) else { continue };
        let before = section.path(FILES[0]).and_then(|(text, path)| {
            let shown = quoted(&path.display().to_string());
            let line = known.insert(path, text.line())?;
            text.problem(Wrong::new(
                format!("{shown} is the file of the one on line {line}"),
                "keep one of them",
            ));
            Some(line)
        });
        if before.is_none() {
            all.push(files);
        }
    }
    all
}
