//! The API as commands call it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use url::Url;

use super::failure;
use crate::api::routes::BASE;
use crate::certs::in_full;

/// Longest wait for an answer; a look at DNS takes five seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Entries of a page where all are wanted.
const PAGE: &str = "200";
const AGENT: &str = concat!("nameplate/", env!("CARGO_PKG_VERSION"));

/// Where the API is, and who calls.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The API")]
pub struct Connection {
    /// Where the admin listener is.
    #[arg(long, env = "NAMEPLATE_API", value_name = "URL", default_value = "http://127.0.0.1:9443")]
    api: Url,
    /// A token, as nameplate token create makes it.
    #[arg(long, env = "NAMEPLATE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// Roots to trust beside the system's, for an admin listener with a private certificate.
    #[arg(long, value_name = "PEM")]
    ca_file: Option<PathBuf>,
    /// Print the API's document.
    #[arg(long)]
    pub json: bool,
}

/// Why a command ends without what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no token.
    #[error("give a token: --token or NAMEPLATE_TOKEN; nameplate token create makes one")]
    NoToken,
    /// The CA file cannot be used.
    #[error("{} cannot be used: {why}", .path.display())]
    CaFile {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers, or not as the API does.
    #[error("{api} does not answer as the API does: {why}")]
    NoAnswer {
        /// Where it was asked.
        api: Url,
        /// What happened.
        why: String,
    },
    /// The API said no.
    #[error("{text}")]
    Refused {
        /// With which status.
        status: StatusCode,
        /// Its sentences.
        text: String,
    },
    /// The call was wrong.
    #[error("{0}")]
    Usage(String),
    /// There is nothing of this name, or too much.
    #[error("{0}")]
    NotFound(String),
}

impl Failure {
    /// Whether the same call may come out otherwise soon.
    pub fn passes(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::NoToken | Self::CaFile { .. } | Self::Usage(_) | Self::NotFound(_) => false,
        }
    }
}

/// The exit code of a command that calls the API; why it failed goes to stderr.
pub fn code(done: Result<bool, Failure>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why @ (Failure::NoToken | Failure::CaFile { .. } | Failure::Usage(_))) => {
            failure(&why);
            ExitCode::from(2)
        }
        Err(why) => failure(&why),
    }
}

/// The API.
pub struct Api {
    client: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
    /// Whether documents are printed as they are.
    pub json: bool,
}

impl Connection {
    /// The API that it leads to; nothing is asked yet.
    pub fn open(self) -> Result<Api, Failure> {
        let token = self.token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        let token = token.ok_or(Failure::NoToken)?;
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Failure::NoToken)?;
        authorization.set_sensitive(true);
        let failed = |why: String| Failure::NoAnswer { api: self.api.clone(), why };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls()?)
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(AGENT)
            .build()
            .map_err(|why| failed(in_full(&why)))?;
        Ok(Api { client, base: self.api, authorization, json: self.json })
    }

    /// Over plain HTTP no roots are needed, and a machine may have none.
    fn tls(&self) -> Result<rustls::ClientConfig, Failure> {
        let failed = |why: rustls::Error| Failure::NoAnswer { api: self.api.clone(), why: why.to_string() };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        if self.api.scheme() != "https" {
            return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
        }
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(self.roots()?, provider)
            .map_err(failed)?;
        let builder = builder
            .dangerous() // the verifier is the platform's, given by hand to add roots to it
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(builder.with_no_client_auth())
    }

    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let Some(path) = &self.ca_file else { return Ok(Vec::new()) };
        let failed =
            |why: &dyn std::fmt::Display| Failure::CaFile { path: path.clone(), why: why.to_string() };
        let roots = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|why| failed(&why))?;
        if roots.is_empty() { Err(failed(&"it has no certificate")) } else { Ok(roots) }
    }
}

impl Api {
    /// One call; its document, `null` where the answer has none.
    ///
    /// - `path`: below the API's base, each part as it is
    pub async fn call(&self, method: Method, path: &[&str], body: Option<Value>) -> Result<Value, Failure> {
        self.send(
            method,
            self.url(path),
            body.map(|attributes| json!({ "data": { "attributes": attributes } })),
        )
        .await
    }

    /// Takes away what is at `path`. Parameters without a value are left out.
    pub async fn delete(&self, path: &[&str], parameters: &[(&str, Option<&str>)]) -> Result<(), Failure> {
        let mut url = self.url(path);
        let given = parameters.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
        for (name, value) in given {
            url.query_pairs_mut().append_pair(name, value);
        }
        self.send(Method::DELETE, url, None).await.map(drop)
    }

    /// The document at `path`.
    pub async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// A list: its first page, or all of it as one page. Filters without a value are left out.
    pub async fn list(
        &self,
        path: &[&str],
        filters: &[(&str, Option<&str>)],
        all: bool,
    ) -> Result<Value, Failure> {
        let mut url = self.url(path);
        let given = filters.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
        url.query_pairs_mut().extend_pairs(given).extend_pairs(all.then_some(("page[size]", PAGE)));
        let mut document = self.send(Method::GET, url, None).await?;
        while let (true, Some(next)) = (all, document["links"]["next"].as_str()) {
            let next = self.base.join(next).map_err(|why| self.failed(&why))?;
            let mut page = self.send(Method::GET, next, None).await?;
            if let (Some(found), Some(more)) = (document["data"].as_array_mut(), page["data"].as_array_mut())
            {
                found.append(more);
            }
            document["links"] = page["links"].take();
        }
        Ok(document)
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(BASE.split('/').filter(|part| !part.is_empty())).extend(path);
        }
        url
    }

    fn failed(&self, why: &dyn std::error::Error) -> Failure {
        Failure::NoAnswer { api: self.base.clone(), why: in_full(why) }
    }

    async fn send(&self, method: Method, url: Url, body: Option<Value>) -> Result<Value, Failure> {
        let mut request = self.client.request(method, url).header(AUTHORIZATION, self.authorization.clone());
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|why| self.failed(&why))?;
        let status = response.status();
        let text = response.text().await.map_err(|why| self.failed(&why))?;
        if status.is_success() && text.is_empty() {
            return Ok(Value::Null);
        }
        let document: Result<Value, _> = serde_json::from_str(&text);
        match document {
            Ok(document) if status.is_success() => Ok(document),
            Ok(document) if document["errors"].is_array() => {
                Err(Failure::Refused { status, text: sentences(&document) })
            }
            Ok(_) => Err(Failure::NoAnswer { api: self.base.clone(), why: format!("it answers {status}") }),
            Err(why) if status.is_success() => Err(self.failed(&why)),
            Err(_) => Err(Failure::NoAnswer { api: self.base.clone(), why: format!("it answers {status}") }),
        }
    }
}

/// What the errors of a document say, and about which part of the request.
fn sentences(document: &Value) -> String {
    let sentence = |error: &Value| {
        let detail = error["detail"].as_str().or(error["title"].as_str()).unwrap_or("The API refused.");
        let source = ["pointer", "parameter", "header"]
            .iter()
            .find_map(|kind| error["source"][*kind].as_str())
            .filter(|source| !source.is_empty());
        match source {
            Some(source) => format!("{detail} ({source})"),
            None => detail.to_owned(),
        }
    };
    let errors = document["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    super::table::plain(&errors.iter().map(sentence).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_the_part_that_is_to_blame() {
        let document = json!({ "errors": [
            { "detail": "Give hostname.", "source": { "pointer": "/data/attributes/hostname" } },
            { "title": "Fault" },
        ] });
        assert_eq!(sentences(&document), "Give hostname. (/data/attributes/hostname)\nFault");
    }
}
