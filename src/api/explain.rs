//! The call that says why a name is or is not served, whether anybody registered it or not.

use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::Caller;
use super::document::{Answer, Document, Errors, Resource};
use super::hostname::Dns;
use super::obtained::Obtained;
use super::problem::Problem;
use super::routes::Api;
use crate::dns::diagnosis::{Diagnosis, Leads};
use crate::domain::access::Reach;
use crate::domain::approval::Verdict;
use crate::domain::hostname::{CertificateName, Hostname};
use crate::domain::label::Label;
use crate::domain::registration::{Registration, State as Stands, Via};
use crate::sites::input;

/// Why a name is or is not served.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Explanation {
    /// As A-labels, lower-case.
    #[schema(example = "shop.example.com")]
    pub hostname: String,
    /// As people read it.
    pub unicode: String,
    /// The same in a sentence.
    pub summary: String,
    /// What to do, the most urgent first; nothing where all is well.
    pub to_do: Vec<String>,
    /// Who has it; `null`: nobody, as far as the token sees.
    pub holder: Option<Holder>,
    /// Whether a certificate may be obtained; `null` for wildcards.
    pub approval: Option<Approval>,
    /// What DNS has to have, and has now.
    pub dns: Dns,
    /// Its certificates.
    #[serde(flatten)]
    pub obtained: Obtained,
}

/// Who has a name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Holder {
    /// Its organization.
    pub organization: String,
    /// Its site.
    pub site: String,
    /// How it came here.
    pub via: Via,
    /// Where it stands.
    pub state: Stands,
    /// Whether requests for it go to this site.
    pub held: bool,
}

/// Whether a certificate may be obtained.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Approval {
    /// In one word.
    pub verdict: Word,
    /// Why not.
    pub reason: Option<String>,
}

/// A verdict in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It may.
    Approved,
    /// It may not.
    Denied,
    /// That could not be asked.
    Unknown,
}

/// What the caller may know of a name.
struct Known {
    name: CertificateName,
    registration: Option<Registration>,
    /// Whether somebody whom the caller does not see has it: it looks as if nobody had.
    hidden: bool,
}

/// Explains why a name is or is not served, and what to do: DNS wanted and found by a fresh look,
/// approval, certificate, attempts. For any name, registered or not.
#[utoipa::path(
    get, path = "/explain/{hostname}", tag = "hostnames", operation_id = "explain_hostname",
    params(("hostname" = String, Path, description = "Any hostname", example = "shop.example.com")),
    responses(
        (status = 200, description = "All that is known of it", body = Document<Explanation>, content_type = "application/vnd.api+json"),
        (status = "4XX", description = "It cannot be done as it was asked for", body = Errors, content_type = "application/vnd.api+json"),
        (status = 503, description = "The store cannot be reached", body = Errors, content_type = "application/vnd.api+json"),
    ),
)]
pub async fn explain(
    State(api): State<Api>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Answer<Document<Explanation>>, Problem> {
    let name = input::read(&text)?;
    let known = look_up(&api, &caller, name, &text).await?;
    let (diagnosis, approval) =
        tokio::join!(api.sites.look_afresh(&known.name, known.registration.as_ref()), approval(&api, &known));
    let diagnosis = diagnosis?;
    let obtained =
        if known.hidden { Obtained::default() } else { Obtained::of(&api.sites, &known.name).await? };
    let seen = Seen { api: &api, known: &known, approval: &approval, diagnosis: &diagnosis };
    let (summary, to_do) = seen.conclude(&obtained);
    let attributes = Explanation {
        hostname: known.name.to_string(),
        unicode: input::shown(&known.name),
        summary,
        to_do,
        holder: known.registration.as_ref().map(holder),
        approval,
        dns: diagnosis.into(),
        obtained,
    };
    let id = known.name.to_string();
    Ok(Answer::ok(Document { data: Resource { kind: "explanations", id, attributes } }))
}

fn holder(registration: &Registration) -> Holder {
    Holder {
        organization: registration.organization.to_string(),
        site: registration.site.to_string(),
        via: registration.via,
        state: registration.standing.state,
        held: registration.holder,
    }
}

/// Fails where the token neither has the name nor may ask about names that nobody registered.
async fn look_up(api: &Api, caller: &Caller, name: CertificateName, text: &str) -> Result<Known, Problem> {
    let (records, plan) = (api.sites.records(), api.sites.plan());
    let holds = records.holder(&name).await?;
    let sees = |organization: Option<Label>| organization.is_some_and(|label| caller.sees(&label));
    let lister = plan.lister(&name).map(|site| site.organization.parse().ok());
    let registration = match (&caller.reach, holds.clone()) {
        (Reach::All, found) => found,
        (Reach::Organization(_), Some(found)) if caller.sees(&found.organization) => Some(found),
        (Reach::Organization(own), _) => records.registration(own, &name).await?,
    };
    let on_demand: Option<Label> = plan.on_demand.parse().ok();
    let on_demand = match on_demand {
        Some(site) => api.sites.organization_of(&site).await?,
        None => None,
    };
    let hidden = holds.is_some_and(|held| !caller.sees(&held.organization))
        || lister.clone().is_some_and(|organization| !sees(organization));
    let may =
        caller.reach == Reach::All || registration.is_some() || sees(on_demand) || lister.is_some_and(sees);
    if may { Ok(Known { name, registration, hidden }) } else { Err(Problem::absent("hostname", text)) }
}

async fn approval(api: &Api, known: &Known) -> Option<Approval> {
    let hostname = known.name.hostname()?;
    let verdict = match known.hidden {
        true => api.approver.decide_as_a_stranger(&hostname).await,
        false => api.approver.decide(&hostname).await,
    };
    let (verdict, reason) = match verdict {
        Verdict::Approved { .. } => (Word::Approved, None),
        Verdict::Denied(why) => (Word::Denied, Some(why.to_string())),
        Verdict::Unknown(why) => (Word::Unknown, Some(why.to_string())),
    };
    Some(Approval { verdict, reason })
}

/// All that a conclusion is drawn from.
struct Seen<'a> {
    api: &'a Api,
    known: &'a Known,
    approval: &'a Option<Approval>,
    diagnosis: &'a Diagnosis,
}

impl Seen<'_> {
    /// A sentence, and what to do.
    fn conclude(&self, obtained: &Obtained) -> (String, Vec<String>) {
        let advice = self.diagnosis.advice.iter().map(|advice| advice.text.clone());
        if let Some(registration) = &self.known.registration {
            let reason = registration.standing.reason.clone();
            return (reason.clone(), advice.filter(|text| !reason.contains(text)).collect());
        }
        let plan = self.api.sites.plan();
        let domains = plan.platforms.iter().map(|(domain, _)| domain);
        if let Some(domain) = input::platform(&self.known.name, domains) {
            return (self.of_a_platform(domain, obtained), Vec::new());
        }
        let denied = match self.approval {
            Some(Approval { verdict: Word::Denied, reason }) => reason.clone(),
            None => Some("a wildcard has to be registered".into()),
            Some(_) => None,
        };
        if let Some(reason) = denied {
            let register = format!(
                "Register it, if it is a customer's: nameplate hostname add {}. Or let the approval endpoint say yes.",
                self.known.name
            );
            let summary = format!("Nobody registered it, and no certificate is obtained for it: {reason}.");
            return (summary, std::iter::once(register).chain(advice).collect());
        }
        (self.of_an_approved(obtained), advice.collect())
    }

    fn of_a_platform(&self, domain: &Hostname, obtained: &Obtained) -> String {
        let failed = obtained.last_attempt.as_ref().filter(|attempt| attempt.failures > 0);
        match failed.filter(|_| obtained.certificates.is_empty()) {
            Some(failed) => format!(
                "It belongs to the platform domain {domain}, whose certificate could not be obtained: {}.",
                failed.report.trim_end_matches('.')
            ),
            None => {
                format!("It belongs to the platform domain {domain}, whose wildcard certificate serves it.")
            }
        }
    }

    fn of_an_approved(&self, obtained: &Obtained) -> String {
        if let Some(Approval { verdict: Word::Unknown, reason: Some(why) }) = self.approval {
            return format!("Nobody registered it, and whether it is approved could not be asked: {why}.");
        }
        if let Some(certificate) = obtained.certificates.first() {
            let end = &certificate.not_after;
            return format!("Nobody registered it; it is approved, and has a certificate until {end}.");
        }
        if let Some(failed) = obtained.last_attempt.as_ref().filter(|attempt| attempt.failures > 0) {
            let report = failed.report.trim_end_matches('.');
            return format!("It is approved, but no certificate could be obtained: {report}.");
        }
        match self.diagnosis.leads {
            Leads::Here => "It is approved; its first visitor has its certificate obtained.".into(),
            Leads::Elsewhere => "It is approved, but its DNS does not lead here.".into(),
            Leads::Unknown => "It is approved; where its DNS leads could not be told.".into(),
        }
    }
}
