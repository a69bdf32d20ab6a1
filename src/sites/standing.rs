//! Where a hostname stands: one word and one sentence, from what was found.

use std::time::Duration;

use crate::certs::Refusal;
use crate::dns::diagnosis::{AdviceCode, Diagnosis, Leads, RecordStatus};
use crate::domain::certificate::Validity;
use crate::domain::clock::UnixTime;
use crate::domain::hostname::CertificateName;
use crate::domain::registration::State;
use crate::store::Attempt;

/// First and longest pause between two looks at a hostname that is not served, and how much longer
/// each is than the one before.
const PAUSE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(4 * 60 * 60));
const GROWTH: f64 = 1.5;
/// Pause between two looks at a hostname that is served.
const SERVED: Duration = Duration::from_secs(6 * 60 * 60);
/// How much a pause is drawn out at most, so that hostnames of one day are not looked at together.
const SPREAD: f64 = 0.1;

/// The certificate that serves a hostname now.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// Its last second.
    pub until: UnixTime,
    /// Whether its organization brought it.
    pub own: bool,
}

impl Serving {
    /// By one that was obtained, or that is renewed by other means.
    pub fn obtained(validity: Validity) -> Self {
        Self { until: validity.not_after, own: false }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The hostname.
    pub name: &'a CertificateName,
    /// The value of its TXT record.
    pub proof: &'a str,
    /// Whether requests for the name go to it.
    pub holder: bool,
    /// Whether its certificate can be obtained by DNS alone.
    pub by_dns: bool,
    /// What DNS said.
    pub diagnosis: &'a Diagnosis,
    /// Of a certificate that is valid now.
    pub certificate: Option<Serving>,
    /// How the last attempt ended.
    pub attempt: Option<&'a Attempt>,
    /// Why no certificate could be obtained just now.
    pub refusal: Option<&'a Refusal>,
    /// Where it stood before.
    pub before: State,
    /// The present moment.
    pub now: UnixTime,
}

/// Where it stands, and why, with what to do.
pub fn standing(seen: &Seen<'_>) -> (State, String) {
    if let Some(serving) = seen.certificate
        && seen.holder
    {
        if seen.by_dns && seen.diagnosis.leads == Leads::Elsewhere && seen.before != State::Serving {
            return (State::Waiting, ready(seen, serving.until));
        }
        let reason =
            if serving.own { served_by_its_own(seen, serving.until) } else { served(seen, serving.until) };
        return (State::Serving, reason);
    }
    if !seen.holder {
        return (State::Stuck, contested(seen));
    }
    if seen.by_dns && seen.diagnosis.allows_dns_01() {
        return obtaining(seen);
    }
    if seen.name.is_wildcard() {
        return wildcard(seen);
    }
    match seen.diagnosis.leads {
        Leads::Here => led_here(seen),
        Leads::Elsewhere => led_elsewhere(seen),
        Leads::Unknown => match failed(seen) {
            Some(failed) => failed,
            None => (State::Waiting, unknown(seen)),
        },
    }
}

const WILDCARD: &str = "A wildcard's certificate can be obtained by DNS alone (dns-01), and this platform has no \
    place for its records. Register the hostnames below it one by one, or bring a certificate for it.";

/// A wildcard that cannot be proven now.
fn wildcard(seen: &Seen<'_>) -> (State, String) {
    if let Some(failed) = failed(seen) {
        return failed;
    }
    let missing = seen.diagnosis.advice.iter().find(|advice| advice.code == AdviceCode::DelegationMissing);
    match (seen.diagnosis.delegated, missing, seen.diagnosis.first_trouble()) {
        (RecordStatus::Unneeded, ..) => (State::Stuck, WILDCARD.into()),
        (_, Some(missing), _) => (State::Waiting, missing.text.clone()),
        (_, None, Some(trouble)) => (State::Stuck, trouble.text.clone()),
        (_, None, None) => (State::Waiting, unknown(seen)),
    }
}

/// Its certificate came before its DNS was switched.
fn ready(seen: &Seen<'_>, until: UnixTime) -> String {
    let trouble = seen.diagnosis.first_trouble().map_or("", |trouble| trouble.text.as_str());
    let text = format!(
        "Its certificate is there, valid until {until}, and its DNS can be switched at any time. {trouble}"
    );
    text.trim_end().to_owned()
}

fn served_by_its_own(seen: &Seen<'_>, end: UnixTime) -> String {
    let by = format!("It is served by the certificate that was brought for it, until {end}.");
    let then = match (seen.diagnosis.leads, seen.diagnosis.first_trouble()) {
        _ if seen.by_dns => "Another one is obtained before that by DNS, unless you bring one.",
        _ if seen.name.is_wildcard() => "Bring another one before that: none is obtained for a wildcard.",
        (Leads::Elsewhere, Some(trouble)) if trouble.code == AdviceCode::ProxyInFront => &trouble.text,
        (Leads::Elsewhere, trouble) => {
            let text = trouble.map_or("", |trouble| trouble.text.as_str());
            &format!("Its DNS does not lead here, so none could be obtained for after that. {text}")
        }
        (Leads::Here, Some(trouble)) => {
            &format!("None could be obtained now for after that. {}", trouble.text)
        }
        _ => "Another one is obtained before that, unless you bring one.",
    };
    format!("{by} {then}").trim_end().to_owned()
}

fn served(seen: &Seen<'_>, end: UnixTime) -> String {
    match (seen.diagnosis.leads, seen.diagnosis.first_trouble()) {
        (Leads::Elsewhere, Some(trouble)) if trouble.code == AdviceCode::ProxyInFront => {
            format!("It is served by a certificate that is valid until {end}. {}", trouble.text)
        }
        (Leads::Elsewhere, trouble) => format!(
            "It is served until its certificate ends at {end}, but its DNS no longer leads here. {}",
            trouble.map_or("", |trouble| trouble.text.as_str())
        ),
        (Leads::Here, Some(trouble)) => format!(
            "It is served by a certificate that is valid until {end}, but that could not be renewed now. {}",
            trouble.text
        ),
        _ => format!("It is served by a certificate that is valid until {end} and renewed by itself."),
    }
    .trim_end()
    .to_owned()
}

fn contested(seen: &Seen<'_>) -> String {
    let bare = seen.name.bare();
    format!(
        "Another organization has this hostname. If it is yours, set a TXT record _nameplate.{bare} with the \
         value \"{}\".",
        seen.proof
    )
}

fn led_here(seen: &Seen<'_>) -> (State, String) {
    if let Some(trouble) = seen.diagnosis.first_trouble() {
        return (State::Stuck, trouble.text.clone());
    }
    obtaining(seen)
}

/// Nothing that is known stands in the way of its certificate.
fn obtaining(seen: &Seen<'_>) -> (State, String) {
    if let Some(failed) = failed(seen) {
        return failed;
    }
    match seen.refusal {
        None | Some(Refusal::Pending | Refusal::NoRoom(_) | Refusal::Busy | Refusal::Budget(_)) => {
            (State::Waiting, "Its DNS is right, and its certificate is being obtained.".into())
        }
        Some(Refusal::CouldNotAsk(_) | Refusal::Fault(_)) => (
            State::Waiting,
            "Its DNS is right; its certificate cannot be obtained at the moment, as something on our side \
             fails. It is tried again by itself."
                .into(),
        ),
        Some(refusal @ (Refusal::Denied(_) | Refusal::Invalid(_) | Refusal::Failed(_))) => {
            (State::Stuck, format!("No certificate can be obtained: {refusal}."))
        }
    }
}

fn led_elsewhere(seen: &Seen<'_>) -> (State, String) {
    let trouble = seen.diagnosis.first_trouble();
    let text = trouble.map_or("Its DNS does not lead here.", |trouble| trouble.text.as_str());
    if seen.before == State::Serving {
        return (
            State::Stuck,
            format!("Its certificate has ended, and its DNS no longer leads here. {text}"),
        );
    }
    let to_be_set =
        |code| matches!(code, AdviceCode::NoRecord | AdviceCode::WrongTarget | AdviceCode::OldTtl);
    // A name that still leads where it was is the rule before its DNS is switched.
    let state =
        if trouble.is_none_or(|trouble| to_be_set(trouble.code)) { State::Waiting } else { State::Stuck };
    (state, text.to_owned())
}

fn unknown(seen: &Seen<'_>) -> String {
    match seen.diagnosis.first_trouble() {
        Some(trouble) => trouble.text.clone(),
        None => {
            "Its DNS could not be looked up, which says nothing about it. It is looked at again soon.".into()
        }
    }
}

/// Where the last attempt failed and the next one is not due.
fn failed(seen: &Seen<'_>) -> Option<(State, String)> {
    let of_now = match seen.refusal {
        Some(Refusal::Failed(attempt)) => Some(&**attempt),
        _ => None,
    };
    let attempt = of_now.or(seen.attempt).filter(|attempt| attempt.failures > 0)?;
    let next = match attempt.next.filter(|next| *next > seen.now) {
        Some(next) => format!("It is tried again at {next}."),
        None => "It is tried again soon.".into(),
    };
    let report = attempt.report.trim_end_matches('.');
    Some((State::Stuck, format!("No certificate could be obtained: {report}. {next}")))
}

/// How long until the next look.
///
/// - `looks`: looks in a row that found the same
/// - `attempt`: when the next attempt to obtain a certificate is due
/// - `draw`: uniform in `[0, 1)`, drawn by the caller
pub fn pause(state: State, looks: u32, attempt: Option<Duration>, draw: f64) -> Duration {
    let longest = if state == State::Serving { SERVED } else { PAUSE.1 };
    let pause = match state {
        State::Serving => SERVED.as_secs_f64(),
        State::Waiting | State::Stuck => {
            PAUSE.0.as_secs_f64() * GROWTH.powi(i32::try_from(looks.min(60)).unwrap_or(60))
        }
    };
    let pause = Duration::from_secs_f64(pause.min(longest.as_secs_f64()) * (1.0 + SPREAD * draw));
    // To look while no attempt is allowed finds the same; to look right after it may find another.
    attempt.map_or(pause, |attempt| pause.min(attempt.max(PAUSE.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::diagnosis::Advice;

    fn diagnosis(leads: Leads, codes: &[AdviceCode]) -> Diagnosis {
        let advice = codes.iter().map(|&code| Advice { code, text: format!("Advice on {code:?}.") });
        Diagnosis {
            records_wanted: Vec::new(),
            records_found: Vec::new(),
            advice: advice.collect(),
            leads,
            led: None,
            by_preview: false,
            ownership: RecordStatus::Missing,
            delegated: RecordStatus::Unneeded,
        }
    }

    fn seen<'a>(name: &'a CertificateName, diagnosis: &'a Diagnosis) -> Seen<'a> {
        Seen {
            name,
            proof: "np-1",
            holder: true,
            by_dns: false,
            diagnosis,
            certificate: None,
            attempt: None,
            refusal: None,
            before: State::Waiting,
            now: UnixTime(1_000),
        }
    }

    fn name() -> CertificateName {
        "a.test".parse().unwrap()
    }

    #[test]
    fn what_is_still_to_be_set_is_waited_for_and_what_is_wrong_is_stuck() {
        use AdviceCode as Code;
        for (leads, code, wanted) in [
            (Leads::Elsewhere, Code::NoRecord, State::Waiting),
            (Leads::Elsewhere, Code::WrongTarget, State::Waiting),
            (Leads::Elsewhere, Code::OldTtl, State::Waiting),
            (Leads::Elsewhere, Code::StrayAaaa, State::Stuck),
            (Leads::Elsewhere, Code::CnameLoop, State::Stuck),
            (Leads::Elsewhere, Code::DnssecFailure, State::Stuck),
            (Leads::Here, Code::CaaForbids, State::Stuck),
            (Leads::Here, Code::TwinMissing, State::Waiting),
            (Leads::Unknown, Code::LookupFailed, State::Waiting),
        ] {
            let found = standing(&seen(&name(), &diagnosis(leads, &[code]))).0;
            assert_eq!(found, wanted, "{leads:?} {code:?}");
        }
    }

    #[test]
    fn a_name_whose_dns_left_is_served_to_the_end_of_its_certificate_and_then_stuck() {
        let gone = diagnosis(Leads::Elsewhere, &[AdviceCode::NoRecord]);
        let certificate = Some(Serving { until: UnixTime(2_000), own: false });
        let name = name();
        let (served, reason) = standing(&Seen { certificate, ..seen(&name, &gone) });
        assert_eq!(served, State::Serving);
        assert!(reason.contains("no longer leads here"), "{reason}");
        let certificate = Some(Serving { until: UnixTime(2_000), own: true });
        let (served, reason) = standing(&Seen { certificate, ..seen(&name, &gone) });
        assert_eq!(served, State::Serving);
        assert!(reason.contains("brought for it") && reason.contains("Advice on NoRecord"), "{reason}");
        let (ended, reason) = standing(&Seen { before: State::Serving, ..seen(&name, &gone) });
        assert_eq!(ended, State::Stuck);
        assert!(reason.contains("Advice on NoRecord"), "{reason}");
    }

    #[test]
    fn what_can_be_proven_by_dns_waits_for_its_certificate_and_then_for_its_switch() {
        let name = name();
        let elsewhere = diagnosis(Leads::Elsewhere, &[AdviceCode::NoRecord]);
        let by_dns = Seen { by_dns: true, ..seen(&name, &elsewhere) };
        let (state, reason) = standing(&by_dns);
        assert_eq!((state, reason.contains("is being obtained")), (State::Waiting, true), "{reason}");
        let validity = Validity { not_before: UnixTime(0), not_after: UnixTime(2_000) };
        let (state, reason) = standing(&Seen { certificate: Some(Serving::obtained(validity)), ..by_dns });
        assert_eq!((state, reason.contains("can be switched")), (State::Waiting, true), "{reason}");
        let forbidden = diagnosis(Leads::Elsewhere, &[AdviceCode::CaaForbids]);
        let (state, _) = standing(&Seen { by_dns: true, ..seen(&name, &forbidden) });
        assert_eq!(state, State::Stuck);
    }

    #[test]
    fn a_wildcard_waits_for_its_record_where_there_is_a_place_for_it() {
        let name = "*.a.test".parse().unwrap();
        let mut missing = diagnosis(Leads::Elsewhere, &[AdviceCode::DelegationMissing]);
        assert_eq!(standing(&seen(&name, &missing)), (State::Stuck, WILDCARD.into()));
        missing.delegated = RecordStatus::Missing;
        assert_eq!(standing(&seen(&name, &missing)).0, State::Waiting);
    }

    #[test]
    fn a_failed_attempt_is_told_in_the_authoritys_words_with_the_next_one() {
        let attempt = Attempt {
            at: UnixTime(900),
            failures: 2,
            next: Some(UnixTime(2_000)),
            report: "the CA said no.".into(),
            failed_validations: Vec::new(),
        };
        let here = diagnosis(Leads::Here, &[]);
        let name = name();
        let (stuck, reason) = standing(&Seen { attempt: Some(&attempt), ..seen(&name, &here) });
        assert_eq!(stuck, State::Stuck);
        let wanted =
            "No certificate could be obtained: the CA said no. It is tried again at 1970-01-01T00:33:20Z.";
        assert_eq!(reason, wanted);
        let (contested, reason) = standing(&Seen { holder: false, ..seen(&name, &here) });
        assert_eq!(contested, State::Stuck);
        assert!(reason.contains("_nameplate.a.test") && reason.contains("np-1"), "{reason}");
    }

    #[test]
    fn looks_come_soon_at_first_and_then_seldom() {
        let waits = |looks| pause(State::Waiting, looks, None, 0.0);
        assert_eq!(waits(0), Duration::from_secs(5));
        assert!(waits(5) < Duration::from_secs(60));
        assert_eq!(waits(1_000), PAUSE.1);
        assert_eq!(pause(State::Serving, 0, None, 0.0), SERVED);
        let soon = pause(State::Stuck, 50, Some(Duration::from_secs(30)), 0.5);
        assert_eq!(soon, Duration::from_secs(30));
    }
}
