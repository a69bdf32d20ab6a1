//! Calls about certificates that organizations bring for their hostnames.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Caller;
use super::body::{Attributes, pointer};
use super::certificates::{CertificateView, view};
use super::document::{Answer, Document, Errors, Resource};
use super::hostnames::find;
use super::problem::Problem;
use super::query::{Query, bad};
use super::routes::Api;
use crate::certs::bring::{self, Fault, Part, Warning};
use crate::domain::access::Scope;
use crate::domain::certificate::KeyFamily;
use crate::store::own::Brought;

const FULLCHAIN: &str = "fullchain";
const PRIVATE_KEY: &str = "private_key";

/// A document with a certificate and its key.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": {
    "fullchain": "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n",
    "private_key": "-----BEGIN PRIVATE KEY-----\n…\n-----END PRIVATE KEY-----\n",
} } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct OwnCertificateInput {
    data: OwnCertificateInputData,
}

/// The certificate that is brought.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct OwnCertificateInputData {
    attributes: OwnCertificateInputAttributes,
}

/// Two texts in PEM.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct OwnCertificateInputAttributes {
    /// The certificate and those of its issuers, in any order. RSA with 2048 to 4096 bits, ECDSA on P-256
    /// or P-384, or Ed25519.
    fullchain: String,
    /// Its private key, not encrypted: PKCS#8, PKCS#1 or SEC1. It is sealed, and never shown again.
    private_key: String,
}

/// The own certificates of a hostname.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OwnCertificates {
    /// Of each family of keys at most one; each client gets one that it takes.
    pub certificates: Vec<CertificateView>,
    /// What to know of the one that was brought.
    pub warnings: Vec<WarningView>,
}

/// What to know of a certificate that is taken all the same.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WarningView {
    /// In one word.
    #[schema(example = "chain_incomplete")]
    pub code: &'static str,
    /// In a sentence, with what to do.
    pub text: &'static str,
}

impl From<Warning> for WarningView {
    fn from(warning: Warning) -> Self {
        Self { code: warning.code(), text: warning.text() }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let part = match fault.part() {
            Part::Chain => FULLCHAIN,
            Part::Key => PRIVATE_KEY,
        };
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = Self::new(status, fault.code(), "Certificate not taken", fault.to_string());
        problem.at(&pointer(part))
    }
}

/// Brings a certificate of one's own for a hostname. It is served at once, on every machine within
/// seconds, for as long as it is valid; one that is obtained is there for its end. Of each family of keys
/// (ECDSA, RSA, Ed25519) one is kept, and each client gets one that it takes; another one of the same
/// family takes its place.
#[utoipa::path(
    put, path = "/sites/{site}/hostnames/{hostname}/certificate", tag = "certificates", operation_id = "set_own_certificate",
    params(
        ("site" = String, Path, description = "The site's name", example = "default"),
        ("hostname" = String, Path, description = "The hostname", example = "shop.example.com"),
    ),
    request_body(content((OwnCertificateInput = "application/json"), (OwnCertificateInput = "application/vnd.api+json"))),
    responses(
        (status = 200, description = "It is served", body = Document<OwnCertificates>, content_type = "application/vnd.api+json"),
        (status = 409, description = "Another organization has the hostname", body = Errors, content_type = "application/vnd.api+json"),
        (status = 422, description = "It is not taken; the answer says why, and which text is to blame", body = Errors, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn set(
    State(api): State<Api>,
    caller: Caller,
    Path((site, name)): Path<(String, String)>,
    mut attributes: Attributes,
) -> Result<Answer<Document<OwnCertificates>>, Problem> {
    caller.needs(Scope::Write)?;
    let hostname = find(&api, &caller, &site, &name).await?;
    let fullchain = attributes.required(FULLCHAIN)?;
    let private_key = zeroize::Zeroizing::new(attributes.required(PRIVATE_KEY)?);
    attributes.finish()?;
    let (certificate, warnings) =
        bring::read(&fullchain, &private_key, &hostname.name, &hostname.organization, api.sites.now())?;
    api.sites.check_certificate(&certificate).map_err(|why| {
        let detail = format!("The TLS library does not take it: {why}.");
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unusable_certificate",
            "Certificate not taken",
            detail,
        )
        .at(&pointer(FULLCHAIN))
    })?;
    match api.sites.bring_certificate(&hostname, &certificate, Some(&caller.token)).await? {
        Brought::Kept => {}
        Brought::Absent => return Err(Problem::absent("hostname", &name)),
        Brought::NotHeld => {
            let detail = "Another organization has this hostname, and only its certificate is served. Show first \
                          that the hostname is yours, as its reason says.";
            return Err(Problem::new(StatusCode::CONFLICT, "not_held", "Not held", detail));
        }
        Brought::Revoked => {
            let detail = "This certificate was revoked here, and is never served again. Bring another one.";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem::new(status, "certificate_revoked", "Certificate not taken", detail)
                .at(&pointer(FULLCHAIN)));
        }
    }
    let certificates = api.sites.records().own_facts(&hostname.name).await?.iter().map(view).collect();
    let attributes =
        OwnCertificates { certificates, warnings: warnings.into_iter().map(WarningView::from).collect() };
    let id = hostname.name.to_string();
    Ok(Answer::ok(Document { data: Resource { kind: "own_certificates", id, attributes } }))
}

/// Takes the own certificates of a hostname away, or the one of a family of keys. What is obtained is
/// served in their place.
#[utoipa::path(
    delete, path = "/sites/{site}/hostnames/{hostname}/certificate", tag = "certificates", operation_id = "remove_own_certificate",
    params(
        ("site" = String, Path, description = "The site's name", example = "default"),
        ("hostname" = String, Path, description = "The hostname", example = "shop.example.com"),
        ("family" = Option<String>, Query, description = "The one of this family alone: ecdsa, rsa or ed25519", pattern = "^(ecdsa|rsa|ed25519)$"),
    ),
    responses(
        (status = 204, description = "They are gone"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((site, name)): Path<(String, String)>,
    mut query: Query,
) -> Result<StatusCode, Problem> {
    caller.needs(Scope::Write)?;
    let hostname = find(&api, &caller, &site, &name).await?;
    let family = match query.given("family") {
        None => None,
        Some(word) => {
            let known = KeyFamily::ALL.into_iter().find(|family| family.word() == word);
            Some(known.ok_or_else(|| bad("family", "It is ecdsa, rsa or ed25519."))?)
        }
    };
    query.finish()?;
    match api.sites.remove_certificate(&hostname, family, Some(&caller.token)).await? {
        0 => Err(Problem::absent("own certificate of the hostname", &name)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
