//! Certificates from files that the configuration names: read at start, and again when they change.

use std::fs::Metadata;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::interval;

use super::PemError;
use super::pem;
use crate::config::{CertificateFiles, Config, Platform};
use crate::domain::certificate::Certificate;
use crate::domain::clock::Clock;
use crate::domain::hostname::CertificateName;

/// How often the files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Certificate files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// They could not be read, or what they hold is no certificate with its key.
    #[error("{} and {} hold no usable certificate", .files.certificate.display(), .files.key.display())]
    Unusable {
        /// The files.
        files: CertificateFiles,
        /// What is wrong.
        #[source]
        source: PemError,
    },
    /// The certificate is for other names.
    #[error("{} does not cover *.{domain}; it covers {covered}", .certificate.display())]
    NotCovered {
        /// The certificate file.
        certificate: PathBuf,
        /// The platform domain.
        domain: String,
        /// The names it covers.
        covered: String,
    },
}

/// The platforms' certificates, for `*.domain` and, where it is covered, the domain itself.
pub fn platforms(platforms: &[Platform], clock: &dyn Clock) -> Result<Vec<Certificate>, FilesError> {
    let mut all = Vec::new();
    for platform in platforms {
        let Some(files) = platform.files() else { continue };
        let certificates = read(files, clock)?;
        let wildcard = format!("*.{}", platform.domain);
        if !certificates.iter().any(|certificate| certificate.name.as_str() == wildcard) {
            let covered: Vec<&str> = certificates.iter().map(|c| c.name.as_str()).collect();
            return Err(FilesError::NotCovered {
                certificate: files.certificate.clone(),
                domain: platform.domain.to_string(),
                covered: covered.join(", "),
            });
        }
        let own = CertificateName::from(&platform.domain);
        all.extend(certificates.into_iter().filter(|c| c.name == own || c.name.as_str() == wildcard));
    }
    Ok(all)
}

/// The certificates of single hostnames, once for each name that they cover. One that is not valid now is
/// told of and left out: what is obtained is served in its place.
pub fn certificates(all: &[CertificateFiles], clock: &dyn Clock) -> Result<Vec<Certificate>, FilesError> {
    let mut found = Vec::new();
    for files in all {
        match read(files, clock) {
            Ok(certificates) => found.extend(certificates),
            Err(FilesError::Unusable {
                source: source @ (PemError::Expired { .. } | PemError::NotYetValid { .. }),
                ..
            }) => {
                tracing::warn!(file = %files.certificate.display(), why = %source, "a certificate file is not \
                    valid now; what is obtained is served in its place");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The certificate of a pair of files, once for each name that it covers.
pub fn read(files: &CertificateFiles, clock: &dyn Clock) -> Result<Vec<Certificate>, FilesError> {
    pem::read_files(&files.certificate, &files.key, clock.now())
        .map_err(|source| FilesError::Unusable { files: files.clone(), source })
}

/// When a file was changed last, and how long it is; `None` where that cannot be told.
type Stamp = Option<(SystemTime, u64)>;

/// The certificate files of a configuration, as they were when this was made: before they are read, so that
/// a change beside the reading is seen.
pub struct Watched {
    paths: Vec<PathBuf>,
    before: Vec<Stamp>,
}

impl Watched {
    /// Those of `config`.
    pub fn of(config: &Config) -> Self {
        let platforms = config.platforms.iter().filter_map(|platform| platform.files());
        let files = platforms.chain(&config.certificates).chain(&config.listen.default_certificate);
        let paths: Vec<_> = files.flat_map(|files| [files.certificate.clone(), files.key.clone()]).collect();
        let stamp = |path: &PathBuf| stamp(&std::fs::metadata(path).ok()?);
        let before = paths.iter().map(stamp).collect();
        Self { paths, before }
    }

    /// Calls `changed` whenever one of them was changed; for as long as the process lives.
    pub async fn watch(mut self, changed: impl Fn() + Send + 'static) {
        if self.paths.is_empty() {
            return;
        }
        let mut tick = interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            let mut now = Vec::with_capacity(self.paths.len());
            for path in &self.paths {
                now.push(tokio::fs::metadata(path).await.ok().as_ref().and_then(stamp));
            }
            if now != self.before {
                self.before = now;
                changed();
            }
        }
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    Some((metadata.modified().ok()?, metadata.len()))
}
