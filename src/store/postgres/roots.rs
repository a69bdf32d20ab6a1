//! Whose word counts for a server's certificate where its URL names no authority.

use openssl::x509::X509;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::task::spawn_blocking;
use url::Url;

/// Lets the system's authorities count beside those of the driver's list, where the server's certificate is
/// checked and neither `url` nor the environment names a file of authorities.
pub async fn with_the_systems(options: PgConnectOptions, url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let checked = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    let in_url = |url: Url| url.query_pairs().any(|(key, _)| key == "sslrootcert");
    let named = Url::parse(url).is_ok_and(in_url) || std::env::var_os("PGSSLROOTCERT").is_some();
    if !checked || named {
        return Ok(options);
    }
    let authorities =
        spawn_blocking(systems).await.map_err(|gone| sqlx::Error::Configuration(gone.into()))?;
    Ok(options.ssl_root_cert_from_pem(authorities))
}

/// The system's authorities as PEM. Those that cannot be used are left out: the driver would refuse all.
fn systems() -> Vec<u8> {
    let usable =
        |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::debug!(%error, "some of the system's authorities cannot be read");
    }
    let found = found.certs.iter().filter(|certificate| usable(certificate));
    found.filter_map(|certificate| X509::from_der(certificate).ok()?.to_pem().ok()).flatten().collect()
}
