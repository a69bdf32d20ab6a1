//! A hostname as the API shows it and takes it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use super::body::{Attributes, pointer};
use super::obtained::Obtained;
use super::problem::Problem;
use crate::dns::diagnosis::{Advice, Diagnosis, FoundRecord, RecordStatus, WantedRecord};
use crate::domain::hostname::CertificateName;
use crate::domain::registration::{MAX_METADATA, Proof, Redirect, Registration, Settings, State, Via};
use crate::sites::input;
use crate::sites::plan::Plan;
use crate::sites::service::Sites;

/// The statuses that send visitors elsewhere for good.
fn redirect_status() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
        .enum_values(Some([json!(301), json!(308), Value::Null]))
        .build()
}

/// A document that registers a hostname.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": { "hostname": "shop.example.com" } } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct HostnameInput {
    data: HostnameInputData,
}

/// The resource that is registered.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct HostnameInputData {
    attributes: HostnameInputAttributes,
}

/// What can be said of it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct HostnameInputAttributes {
    /// A hostname or a wildcard, in Unicode or as A-labels.
    hostname: String,
    /// An origin of its own, in place of its site's.
    #[schema(example = "https://app.internal:8443")]
    origin: Option<String>,
    /// Another hostname that its visitors are sent to; path and query are kept.
    #[schema(example = "www.example.com")]
    redirect_to: Option<String>,
    /// 301 or 308; 308 unless given.
    #[schema(schema_with = redirect_status)]
    redirect_status: Option<u16>,
    /// A JSON object of at most 4 KiB, which its origin gets as `X-Nameplate-Metadata`.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// A document that changes a hostname.
#[derive(ToSchema)]
#[schema(example = json!({ "data": { "attributes": { "metadata": { "plan": "gold" } } } }))]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct HostnamePatch {
    data: HostnamePatchData,
}

/// The resource that is changed.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct HostnamePatchData {
    attributes: HostnamePatchAttributes,
}

/// What can be changed; what is left out stays, `null` takes it away.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what body.rs reads")]
pub struct HostnamePatchAttributes {
    /// An origin of its own, in place of its site's.
    origin: Option<String>,
    /// Another hostname that its visitors are sent to; path and query are kept.
    redirect_to: Option<String>,
    /// 301 or 308; 308 unless given.
    #[schema(schema_with = redirect_status)]
    redirect_status: Option<u16>,
    /// A JSON object of at most 4 KiB, which its origin gets as `X-Nameplate-Metadata`.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// A hostname in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Summary {
    /// As A-labels, lower-case.
    #[schema(example = "xn--bcher-kva.example")]
    pub hostname: String,
    /// As people read it.
    #[schema(example = "bücher.example")]
    pub unicode: String,
    /// Where it stands, in one word.
    pub state: State,
    /// Why, in a sentence, with what to do.
    pub reason: String,
    /// A name that shows its site before its DNS is switched; `null` where no platform domain is
    /// configured.
    pub preview_hostname: Option<String>,
    /// Its site.
    pub site: String,
    /// Its organization.
    pub organization: String,
    /// How it came here.
    pub via: Via,
    /// Its own origin.
    pub origin: Option<String>,
    /// Where its visitors are sent.
    pub redirect_to: Option<String>,
    /// 301 or 308, where they are.
    pub redirect_status: Option<u16>,
    /// Its metadata.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Value>,
    /// Since when it is here (RFC 3339).
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When its settings were changed (RFC 3339).
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// When it was looked at (RFC 3339).
    #[schema(format = DateTime)]
    pub checked_at: Option<String>,
    /// When it is looked at again (RFC 3339).
    #[schema(format = DateTime)]
    pub next_check_at: String,
}

/// All about a hostname.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Hostname {
    /// What a list shows too.
    #[serde(flatten)]
    pub summary: Summary,
    /// What DNS has to have, and has.
    pub dns: Dns,
    /// Whose it is.
    pub ownership: Ownership,
    /// Its certificates.
    #[serde(flatten)]
    pub obtained: Obtained,
}

/// What DNS has to have, and has.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Dns {
    /// What the customer sets; one of several ways is enough where an entry says so.
    pub records_wanted: Vec<WantedRecord>,
    /// What was there when it was looked at.
    pub records_found: Vec<FoundRecord>,
    /// What to change.
    pub advice: Vec<Advice>,
}

impl From<Diagnosis> for Dns {
    fn from(diagnosis: Diagnosis) -> Self {
        let Diagnosis { records_wanted, records_found, advice, .. } = diagnosis;
        Self { records_wanted, records_found, advice }
    }
}

/// Whose a hostname is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Ownership {
    /// Whether requests for it go to this organization's site.
    pub held: bool,
    /// What showed that it is this organization's; `null`: nothing yet.
    pub proof: Option<Proof>,
    /// Name of the TXT record that shows it whatever else DNS says.
    #[schema(example = "_nameplate.shop.example.com")]
    pub txt_name: String,
    /// Its value, which never changes for this organization and hostname.
    pub txt_value: String,
    /// Whether it is there.
    pub txt_status: RecordStatus,
}

/// A hostname as a list shows it.
pub fn summarize(plan: &Plan, hostname: &Registration) -> Summary {
    let settings = &hostname.settings;
    Summary {
        hostname: hostname.name.to_string(),
        unicode: input::shown(&hostname.name),
        state: hostname.standing.state,
        reason: hostname.standing.reason.clone(),
        preview_hostname: plan.preview(&hostname.preview).map(|preview| preview.to_string()),
        site: hostname.site.to_string(),
        organization: hostname.organization.to_string(),
        via: hostname.via,
        origin: settings.origin.as_ref().map(ToString::to_string),
        redirect_to: settings.redirect.as_ref().map(|redirect| redirect.to.to_string()),
        redirect_status: settings.redirect.as_ref().map(|redirect| redirect.status),
        metadata: settings.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        created_at: hostname.created_at.to_string(),
        updated_at: hostname.updated_at.to_string(),
        checked_at: hostname.standing.looked_at.map(|at| at.to_string()),
        next_check_at: hostname.standing.look_at.to_string(),
    }
}

/// All about a hostname.
pub async fn describe(sites: &Sites, hostname: &Registration) -> Result<Hostname, Problem> {
    let plan = sites.plan();
    let diagnosis = sites.diagnosis(hostname).await?;
    let claim = sites.records().claim(&hostname.name).await?;
    let proof = claim.filter(|claim| claim.organization == hostname.organization).map(|claim| claim.proof);
    let obtained =
        if hostname.holder { Obtained::of(sites, &hostname.name).await? } else { Obtained::default() };
    let bare = hostname.name.bare();
    Ok(Hostname {
        summary: summarize(&plan, hostname),
        ownership: Ownership {
            held: hostname.holder,
            proof,
            txt_name: format!("_nameplate.{bare}"),
            txt_value: hostname.proof.clone(),
            txt_status: diagnosis.ownership,
        },
        dns: diagnosis.into(),
        obtained,
    })
}

/// Reads what is set for `name`, over what was set `before`.
pub fn read_settings(
    attributes: &mut Attributes,
    name: &CertificateName,
    before: Settings,
) -> Result<Settings, Problem> {
    let origin = match attributes.text("origin")? {
        None => before.origin,
        Some(None) => None,
        Some(Some(text)) => Some(text.parse().map_err(|why: crate::domain::site::InvalidOrigin| {
            let detail = format!("It {why}. Write it like 127.0.0.1:3000 or https://app.internal:8443.");
            Problem::invalid(&pointer("origin"), detail)
        })?),
    };
    let redirect = read_redirect(attributes, name, before.redirect)?;
    let metadata = match attributes.take("metadata") {
        None => before.metadata,
        Some(Value::Null) => None,
        Some(value) => Some(read_metadata(&value)?),
    };
    Ok(Settings { origin, redirect, metadata })
}

fn read_redirect(
    attributes: &mut Attributes,
    name: &CertificateName,
    before: Option<Redirect>,
) -> Result<Option<Redirect>, Problem> {
    const STATUS: &str = "redirect_status";
    let status = match attributes.number(STATUS)? {
        None => before.as_ref().map(|redirect| redirect.status),
        Some(None) => None,
        Some(Some(status @ (301 | 308))) => u16::try_from(status).ok(),
        Some(Some(_)) => return Err(Problem::invalid(&pointer(STATUS), "It is 301 or 308.")),
    };
    let to = match attributes.text("redirect_to")? {
        None => before.map(|redirect| redirect.to),
        Some(None) => None,
        Some(Some(text)) => {
            let at = pointer("redirect_to");
            let to = input::read(&text).map_err(|why| Problem::from(why).at(&at))?;
            if to == *name {
                return Err(Problem::invalid(&at, "A hostname cannot be sent to itself."));
            }
            let to = to.hostname();
            Some(to.ok_or_else(|| {
                Problem::invalid(&at, "Visitors can be sent to a hostname, not to a wildcard.")
            })?)
        }
    };
    Ok(to.map(|to| Redirect { to, status: status.unwrap_or(308) }))
}

/// The text of a JSON object, in ASCII alone, so that it is a header's value as it is.
fn read_metadata(value: &Value) -> Result<Arc<str>, Problem> {
    let at = pointer("metadata");
    if !value.is_object() {
        return Err(Problem::invalid(&at, "metadata is a JSON object."));
    }
    let mut text = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            text.push(c);
            continue;
        }
        let mut units = [0; 2];
        for unit in c.encode_utf16(&mut units) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    if text.len() > MAX_METADATA {
        let detail =
            format!("metadata has {} octets as JSON in ASCII; {MAX_METADATA} are allowed.", text.len());
        return Err(Problem::invalid(&at, detail));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_a_header_value_that_means_the_same() {
        let value = json!({ "name": "Bücher \u{1f4da}", "line": "a\nb\u{7f}", "n": [1, null] });
        let text = read_metadata(&value).unwrap();
        assert!(text.bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(read_metadata(&json!([])).is_err());
        assert!(read_metadata(&json!({ "a": "x".repeat(5000) })).is_err());
    }
}
