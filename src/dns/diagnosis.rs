//! What a customer has to set in DNS for a hostname, what stands there, and what to change.

use serde::{Deserialize, Serialize};

/// The type of a record.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordKind {
    /// An alias (RFC 1034 §3.6.2); cannot stand at the apex of a zone.
    Cname,
    /// What DNS providers offer in its place at an apex: ALIAS, ANAME, a flattened CNAME.
    Alias,
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Text.
    Txt,
}

/// How a record is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// As it should be.
    Right,
    /// Not there.
    Missing,
    /// There, with another value.
    Wrong,
    /// Nobody could tell.
    Unknown,
    /// One of several ways, and another one is right.
    Unneeded,
}

/// What a record is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Visitors and authorities come here by it.
    Traffic,
    /// It proves that the hostname is the customer's.
    Ownership,
    /// Authorities find the answers of dns-01 by it, wherever the hostname itself leads.
    Challenge,
}

/// A record that the customer has to set.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
pub struct WantedRecord {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: RecordKind,
    /// Its value.
    pub value: String,
    /// What it is for.
    pub purpose: Purpose,
    /// How it is now.
    pub status: RecordStatus,
    /// A sentence for the customer; may be empty.
    pub note: String,
}

/// A record that DNS has now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FoundRecord {
    /// Its name: the hostname, or what an alias of it leads to.
    pub name: String,
    /// Its type.
    pub kind: RecordKind,
    /// Its value.
    pub value: String,
    /// Seconds that it may be kept, as the resolver said.
    pub ttl: u32,
    /// Whether it is as it should be.
    pub status: RecordStatus,
}

/// What an advice is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdviceCode {
    /// The name has no address.
    NoRecord,
    /// It leads elsewhere.
    WrongTarget,
    /// IPv4 leads here, IPv6 does not.
    StrayAaaa,
    /// A CDN or a proxy stands before this edge.
    ProxyInFront,
    /// A CAA record forbids every authority that is configured.
    CaaForbids,
    /// The answers are there, and do not validate.
    DnssecFailure,
    /// The CNAME records lead in a circle.
    CnameLoop,
    /// No certificate of a wildcard can be obtained without the record that leads to its answers of dns-01.
    DelegationMissing,
    /// The same name with `www.`, or without it, does not lead here.
    TwinMissing,
    /// The records are right; an old answer is still kept by resolvers.
    OldTtl,
    /// Nobody could tell.
    LookupFailed,
}

/// What is wrong, and what to change.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Advice {
    /// What it is about.
    pub code: AdviceCode,
    /// One or two sentences for the customer.
    pub text: String,
}

/// Where a hostname leads.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Leads {
    /// Here: by IPv4 and by IPv6, as far as there are records. Authorities take IPv6 first.
    Here,
    /// Elsewhere, or nowhere.
    Elsewhere,
    /// Nobody could tell.
    Unknown,
}

/// What a look at a hostname's DNS came to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Diagnosis {
    /// What the customer has to set.
    pub records_wanted: Vec<WantedRecord>,
    /// What stands there.
    pub records_found: Vec<FoundRecord>,
    /// What to change; the rest of it is as it should be.
    pub advice: Vec<Advice>,
    /// Where it leads.
    pub leads: Leads,
    /// Where it led at the last look that could tell, where this one cannot.
    #[serde(default)]
    pub led: Option<Leads>,
    /// Its CNAME records lead over its own preview hostname, which nobody can guess: that proves by
    /// itself whose it is.
    pub by_preview: bool,
    /// Whether the TXT record that proves whose it is has the wanted value.
    pub ownership: RecordStatus,
    /// Whether its `_acme-challenge` leads to where its answers of dns-01 stand, so that its certificate
    /// can be obtained wherever it leads itself; unneeded where there is no such place.
    #[serde(default = "unneeded")]
    pub delegated: RecordStatus,
}

fn unneeded() -> RecordStatus {
    RecordStatus::Unneeded
}

impl Diagnosis {
    /// Where it leads, or led at the last look that could tell.
    pub fn last_known(&self) -> Option<Leads> {
        match self.leads {
            Leads::Unknown => self.led,
            known => Some(known),
        }
    }

    /// Whether nothing is known that would keep an authority from giving a certificate by dns-01.
    pub fn allows_dns_01(&self) -> bool {
        use AdviceCode as Code;
        let hinders = |advice: &Advice| matches!(advice.code, Code::CaaForbids | Code::DnssecFailure);
        !self.advice.iter().any(hinders)
    }

    /// The advice that matters most of those that keep the name from leading here or an authority
    /// from giving a certificate; `None` where nothing is known to.
    pub fn first_trouble(&self) -> Option<&Advice> {
        use AdviceCode as Code;
        let order: &[Code] = match self.leads {
            Leads::Here => &[Code::CaaForbids, Code::DelegationMissing],
            Leads::Elsewhere => &[
                Code::OldTtl,
                Code::CnameLoop,
                Code::DnssecFailure,
                Code::ProxyInFront,
                Code::WrongTarget,
                Code::StrayAaaa,
                Code::NoRecord,
                Code::CaaForbids,
                Code::DelegationMissing,
            ],
            Leads::Unknown => &[Code::CaaForbids, Code::DelegationMissing, Code::LookupFailed],
        };
        order.iter().find_map(|code| self.advice.iter().find(|advice| advice.code == *code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_is_written_in_words_and_read_again() {
        let wanted = WantedRecord {
            name: "shop.example".into(),
            kind: RecordKind::Cname,
            value: "edge.plat.test".into(),
            purpose: Purpose::Traffic,
            status: RecordStatus::Missing,
            note: String::new(),
        };
        let diagnosis = Diagnosis {
            records_wanted: vec![wanted],
            records_found: Vec::new(),
            advice: vec![Advice { code: AdviceCode::StrayAaaa, text: "Remove it.".into() }],
            leads: Leads::Elsewhere,
            led: None,
            by_preview: false,
            ownership: RecordStatus::Unneeded,
            delegated: RecordStatus::Unneeded,
        };
        let json = serde_json::to_value(&diagnosis).unwrap();
        assert_eq!(json["records_wanted"][0]["kind"], "CNAME");
        assert_eq!(json["records_wanted"][0]["purpose"], "traffic");
        assert_eq!(json["records_wanted"][0]["status"], "missing");
        assert_eq!(json["advice"][0]["code"], "stray_aaaa");
        assert_eq!(json["leads"], "elsewhere");
        assert_eq!(serde_json::to_value(AdviceCode::OldTtl).unwrap(), "old_ttl");
        assert_eq!(serde_json::from_value::<Diagnosis>(json.clone()).unwrap(), diagnosis);
        // One that was stored before there was a zone of ours.
        let mut before = json;
        for newer in ["delegated", "led"] {
            before.as_object_mut().unwrap().remove(newer);
        }
        assert_eq!(serde_json::from_value::<Diagnosis>(before).unwrap(), diagnosis);
    }

    #[test]
    fn the_first_trouble_is_one_that_stands_in_the_way() {
        let trouble = |leads: Leads, codes: &[AdviceCode]| {
            let advice = codes.iter().map(|&code| Advice { code, text: String::new() }).collect();
            let diagnosis = Diagnosis {
                records_wanted: Vec::new(),
                records_found: Vec::new(),
                advice,
                leads,
                led: None,
                by_preview: false,
                ownership: RecordStatus::Unknown,
                delegated: RecordStatus::Unneeded,
            };
            diagnosis.first_trouble().map(|advice| advice.code)
        };
        use AdviceCode as Code;
        assert_eq!(trouble(Leads::Here, &[Code::TwinMissing, Code::LookupFailed, Code::OldTtl]), None);
        assert_eq!(trouble(Leads::Here, &[Code::TwinMissing, Code::CaaForbids]), Some(Code::CaaForbids));
        let both = [Code::CaaForbids, Code::NoRecord, Code::TwinMissing];
        assert_eq!(trouble(Leads::Elsewhere, &both), Some(Code::NoRecord));
        assert_eq!(trouble(Leads::Unknown, &[Code::LookupFailed]), Some(Code::LookupFailed));
        assert_eq!(trouble(Leads::Here, &[Code::DelegationMissing]), Some(Code::DelegationMissing));
    }
}
