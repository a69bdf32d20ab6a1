//! What a customer's DNS should have and has, by real DNS servers.

mod bed;

use std::time::Duration;

use bed::bind::Bind;
use futures::future::join_all;
use nameplate::config::file;
use nameplate::dns::diagnose::{Aim, Diagnoser};
use nameplate::dns::diagnosis::RecordKind::{self, A, Aaaa, Alias, Cname, Txt};
use nameplate::dns::diagnosis::RecordStatus::{self, Missing, Right, Unknown, Unneeded, Wrong};
use nameplate::dns::diagnosis::{AdviceCode, Diagnosis, Leads, Purpose};
use tokio::net::UdpSocket;

/// The platform: where customers' names should lead.
const PLATFORM: (&str, &str) = (
    "plat.test",
    "edge A 192.0.2.7
     edge AAAA 2001:db8::7
     p7 CNAME edge",
);
const ADDRESSES: &str = "edge_addresses = [\"192.0.2.7\", \"2001:db8::7\"]";

fn diagnoser(resolver: &str, dns: &str) -> Diagnoser {
    let text = format!(
        "[dns]\nresolvers = [\"{resolver}\"]\n{dns}\n\
         [[authority]]\nname = \"ours\"\ndirectory = \"https://127.0.0.1:1/dir\"\n\
         caa_identities = [\"ours.test\"]\n"
    );
    Diagnoser::new(&file::parse(&text, "nameplate.toml".as_ref()).unwrap()).unwrap()
}

fn aim(hostname: &str) -> Aim {
    Aim {
        hostname: hostname.parse().unwrap(),
        cname_targets: vec!["edge.plat.test".parse().unwrap()],
        preview: Some("p7.plat.test".parse().unwrap()),
        ownership: None,
        delegation: None,
    }
}

/// A look at `hostname` in the zone `acme.test` with `records`.
async fn look(records: &str, hostname: &str) -> Diagnosis {
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records)]).await;
    look_at(&bind, hostname).await
}

async fn look_at(bind: &Bind, hostname: &str) -> Diagnosis {
    let diagnoser = diagnoser(&bind.address(), ADDRESSES).with_authoritative_port(bind.port);
    diagnoser.diagnose(&aim(hostname)).await
}

fn codes(diagnosis: &Diagnosis) -> Vec<AdviceCode> {
    diagnosis.advice.iter().map(|advice| advice.code).collect()
}

/// The only advice, which has to stand in the way.
fn trouble(diagnosis: &Diagnosis) -> (AdviceCode, &str) {
    assert_eq!(diagnosis.advice.len(), 1, "{diagnosis:#?}");
    let advice = diagnosis.first_trouble().unwrap();
    (advice.code, &advice.text)
}

/// Kind, value and status of each record to set.
fn wanted(diagnosis: &Diagnosis) -> Vec<(RecordKind, &str, RecordStatus)> {
    let records = diagnosis.records_wanted.iter();
    records.map(|record| (record.kind, record.value.as_str(), record.status)).collect()
}

/// Kind, value and status of each record that stands there.
fn found(diagnosis: &Diagnosis) -> Vec<(RecordKind, &str, RecordStatus)> {
    let records = diagnosis.records_found.iter();
    records.map(|record| (record.kind, record.value.as_str(), record.status)).collect()
}

#[tokio::test]
async fn a_subdomain_leads_here_by_an_alias_or_by_its_addresses() {
    let records = "shop CNAME edge.plat.test.
                   flat A 192.0.2.7
                   flat AAAA 2001:db8::7
                   preview CNAME p7.plat.test.
                   away CNAME other
                   other A 203.0.113.9
                   dangling CNAME nowhere";
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records)]).await;

    let shop = look_at(&bind, "shop.acme.test").await;
    assert_eq!((shop.leads, shop.by_preview, codes(&shop)), (Leads::Here, false, vec![]), "{shop:#?}");
    assert_eq!(wanted(&shop), [(Cname, "edge.plat.test", Right)]);
    let all = [(Cname, "edge.plat.test", Right), (A, "192.0.2.7", Right), (Aaaa, "2001:db8::7", Right)];
    assert_eq!(found(&shop), all);
    assert_eq!((shop.records_found[0].name.as_str(), shop.records_found[0].ttl), ("shop.acme.test", 60));

    let flat = look_at(&bind, "flat.acme.test").await;
    assert_eq!((flat.leads, codes(&flat)), (Leads::Here, vec![]));
    assert_eq!(wanted(&flat), [(Cname, "edge.plat.test", Right)]);

    let preview = look_at(&bind, "preview.acme.test").await;
    assert_eq!((preview.leads, preview.by_preview), (Leads::Here, true));

    let away = look_at(&bind, "away.acme.test").await;
    assert_eq!((away.leads, wanted(&away)), (Leads::Elsewhere, vec![(Cname, "edge.plat.test", Wrong)]));
    let text = "away.acme.test leads to 203.0.113.9, which is not this platform. \
                In place of its records set away.acme.test CNAME edge.plat.test.";
    assert_eq!(trouble(&away), (AdviceCode::WrongTarget, text));
    assert_eq!(found(&away), [(Cname, "other.acme.test", Wrong), (A, "203.0.113.9", Wrong)]);

    let missing = look_at(&bind, "new.acme.test").await;
    assert_eq!(
        (missing.leads, wanted(&missing)),
        (Leads::Elsewhere, vec![(Cname, "edge.plat.test", Missing)])
    );
    let text = "new.acme.test has no record that leads anywhere. Set new.acme.test CNAME edge.plat.test.";
    assert_eq!(trouble(&missing), (AdviceCode::NoRecord, text));

    let dangling = look_at(&bind, "dangling.acme.test").await;
    assert_eq!(wanted(&dangling), [(Cname, "edge.plat.test", Wrong)]);
    let (code, text) = trouble(&dangling);
    assert_eq!(code, AdviceCode::NoRecord);
    assert!(text.contains("is an alias of nowhere.acme.test, which has no address"), "{text}");
}

#[tokio::test]
async fn an_apex_has_an_alias_of_its_providers_or_addresses() {
    let right = look("@ A 192.0.2.7\nwww CNAME edge.plat.test.", "acme.test").await;
    assert_eq!((right.leads, codes(&right)), (Leads::Here, vec![]), "{right:#?}");
    let all = [(Alias, "edge.plat.test", Right), (A, "192.0.2.7", Right), (Aaaa, "2001:db8::7", Unneeded)];
    assert_eq!(wanted(&right), all);
    assert!(right.records_wanted[0].note.contains("ANAME or a flattened CNAME"));

    let none = look("www CNAME edge.plat.test.", "acme.test").await;
    let all = [(Alias, "edge.plat.test", Missing), (A, "192.0.2.7", Missing), (Aaaa, "2001:db8::7", Missing)];
    assert_eq!(wanted(&none), all);
    let text = "acme.test has no record that leads anywhere. Set acme.test ALIAS edge.plat.test (also called \
                ANAME or flattened CNAME), or acme.test A 192.0.2.7, acme.test AAAA 2001:db8::7.";
    assert_eq!(trouble(&none), (AdviceCode::NoRecord, text));
}

#[tokio::test]
async fn a_twin_that_does_not_lead_here_is_told_of_and_stands_in_nobodys_way() {
    let apex = look("@ A 192.0.2.7\nwww A 203.0.113.9", "acme.test").await;
    assert_eq!((apex.leads, codes(&apex)), (Leads::Here, vec![AdviceCode::TwinMissing]));
    assert_eq!(apex.first_trouble(), None);
    let text = "www.acme.test does not lead here, and some visitors will type it. \
                To serve it too, register it and set www.acme.test CNAME edge.plat.test.";
    assert_eq!(apex.advice[0].text, text);
    let www = look("www CNAME edge.plat.test.", "www.acme.test").await;
    assert_eq!((www.leads, codes(&www)), (Leads::Here, vec![AdviceCode::TwinMissing]));
    assert!(www.advice[0].text.ends_with("set acme.test ALIAS edge.plat.test."), "{}", www.advice[0].text);
}

#[tokio::test]
async fn a_stray_aaaa_keeps_a_name_from_leading_here() {
    let stray = look("shop A 192.0.2.7\nshop AAAA 2001:db8::9", "shop.acme.test").await;
    assert_eq!(stray.leads, Leads::Elsewhere);
    let text = "The A record of shop.acme.test is right, but its AAAA record leads to 2001:db8::9, and \
                authorities and many visitors take IPv6 first. Remove the AAAA record, or let it lead to \
                2001:db8::7.";
    assert_eq!(trouble(&stray), (AdviceCode::StrayAaaa, text));
    assert_eq!(found(&stray), [(A, "192.0.2.7", Right), (Aaaa, "2001:db8::9", Wrong)]);
}

#[tokio::test]
async fn a_cdn_in_front_is_called_by_its_name() {
    let records = "orange A 104.21.7.9
                   named CNAME d1.cloudfront.net.";
    let net = ("cloudfront.net", "d1 A 203.0.113.9");
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records), net]).await;
    for (name, owner) in [("orange.acme.test", "Cloudflare"), ("named.acme.test", "Amazon CloudFront")] {
        let proxied = look_at(&bind, name).await;
        let (code, text) = trouble(&proxied);
        assert_eq!((code, proxied.leads), (AdviceCode::ProxyInFront, Leads::Elsewhere));
        assert!(text.starts_with(&format!("{name} leads to {owner} (")), "{text}");
    }
}

#[tokio::test]
async fn caa_records_of_the_name_or_above_it_forbid() {
    let records = "@ CAA 0 issue \"other.test\"
                   shop CNAME edge.plat.test.
                   allowed CAA 0 issue \"ours.test\"
                   allowed A 192.0.2.7";
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records)]).await;
    // The alias leads to a zone without CAA records: those above the hostname count.
    let forbidden = look_at(&bind, "shop.acme.test").await;
    assert_eq!(forbidden.leads, Leads::Here);
    let text = "A CAA record of acme.test allows \"other.test\" only; \
                add one with issue \"ours.test\", or remove it.";
    assert_eq!(trouble(&forbidden), (AdviceCode::CaaForbids, text));
    assert!(look_at(&bind, "allowed.acme.test").await.advice.is_empty());
}

#[tokio::test]
async fn a_circle_of_aliases_is_recognised_behind_any_server() {
    let records = "one CNAME two\ntwo CNAME three\nthree CNAME one";
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records)]).await;
    let cache = Bind::before(&bind).await;
    let unwilling = unwilling(&bind).await;
    for resolver in [bind.address(), cache.address(), unwilling] {
        let circle = diagnoser(&resolver, ADDRESSES).diagnose(&aim("one.acme.test")).await;
        assert_eq!(circle.leads, Leads::Elsewhere);
        assert_eq!(wanted(&circle), [(Cname, "edge.plat.test", Wrong)]);
        let text = "The CNAME records lead in a circle: one.acme.test, two.acme.test, three.acme.test, \
                    one.acme.test. In their place set one.acme.test CNAME edge.plat.test.";
        assert_eq!(trouble(&circle), (AdviceCode::CnameLoop, text));
    }
}

/// Answers SERVFAIL, but passes on what `server` says of an alias alone, and where signatures shall
/// not be checked: as a resolver does that ran in a circle, or that keeps a failure.
async fn unwilling(server: &Bind) -> String {
    const CNAME: [u8; 4] = [0, 5, 0, 1];
    const CHECKING_DISABLED: u8 = 0x10;
    const SERVFAIL: u8 = 2;
    const RESPONSE: u8 = 0x80;
    let (socket, behind) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = socket.local_addr().unwrap().to_string();
    behind.connect(server.address()).await.unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        loop {
            let (mut length, client) = socket.recv_from(&mut packet).await.unwrap();
            // Type and class end the question, which begins after twelve octets with labels.
            let mut at = 12;
            while packet[at] != 0 {
                at += 1 + usize::from(packet[at]);
            }
            if packet[at + 1..at + 5] == CNAME || packet[3] & CHECKING_DISABLED != 0 {
                behind.send(&packet[..length]).await.unwrap();
                length = behind.recv(&mut packet).await.unwrap();
            } else {
                packet[2] |= RESPONSE;
                packet[3] = SERVFAIL;
            }
            socket.send_to(&packet[..length], client).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn answers_that_do_not_validate_are_told_from_a_server_that_fails() {
    let records = "shop A 192.0.2.7\nother A 192.0.2.8";
    let bind = Bind::serving_spoilt("broken.test", records, "192.0.2.8", "192.0.2.7").await;
    let validating = Bind::before(&bind).await;
    let good = look_at(&validating, "shop.broken.test").await;
    assert_eq!((good.leads, codes(&good)), (Leads::Here, vec![]), "{good:#?}");
    let broken = look_at(&validating, "other.broken.test").await;
    assert_eq!(broken.leads, Leads::Elsewhere);
    assert_eq!(found(&broken), [(A, "192.0.2.7", Right)]);
    let (code, text) = trouble(&broken);
    assert_eq!(code, AdviceCode::DnssecFailure);
    assert!(text.contains("do not validate by DNSSEC") && text.contains("DS record"), "{text}");

    // Nobody answers for it any more: that is no failure of DNSSEC.
    drop(bind);
    let gone = look_at(&validating, "shop.gone.test").await;
    assert_eq!((gone.leads, codes(&gone)), (Leads::Unknown, vec![AdviceCode::LookupFailed]), "{gone:#?}");
}

#[tokio::test]
async fn a_failure_that_a_resolver_keeps_is_not_one_of_dnssec() {
    let bind = Bind::serving(&[PLATFORM, ("acme.test", "shop CNAME edge.plat.test.")]).await;
    let failing = diagnoser(&unwilling(&bind).await, ADDRESSES).diagnose(&aim("shop.acme.test")).await;
    assert_eq!(failing.leads, Leads::Unknown);
    assert_eq!(trouble(&failing).0, AdviceCode::LookupFailed);
}

#[tokio::test]
async fn any_one_of_several_texts_proves_whose_a_name_is() {
    let records = "shop CNAME edge.plat.test.
                   _nameplate.shop TXT \"somebody-else\"
                   _nameplate.shop TXT \"np-\" \"7\"
                   away A 203.0.113.9
                   _nameplate.away TXT \"somebody-else\"
                   preview CNAME p7.plat.test.";
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records)]).await;
    let look = async |name: &str| {
        let diagnoser = diagnoser(&bind.address(), ADDRESSES).with_authoritative_port(bind.port);
        diagnoser.diagnose(&Aim { ownership: Some("np-7".into()), ..aim(name) }).await
    };
    let proved = look("shop.acme.test").await;
    assert_eq!(proved.ownership, Right);
    let record = proved.records_wanted.last().unwrap();
    assert_eq!((record.name.as_str(), record.kind, record.status), ("_nameplate.shop.acme.test", Txt, Right));
    let texts: Vec<_> = found(&proved).into_iter().filter(|(kind, ..)| *kind == Txt).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts.contains(&(Txt, "np-7", Right)) && texts.contains(&(Txt, "somebody-else", Unneeded)));

    assert_eq!(look("away.acme.test").await.ownership, Wrong);
    assert_eq!(look("new.acme.test").await.ownership, Missing);
    let preview = look("preview.acme.test").await;
    assert_eq!((preview.ownership, preview.by_preview), (Missing, true));
    assert_eq!(wanted(&preview).last(), Some(&(Txt, "np-7", Unneeded)));
    assert_eq!(preview.first_trouble(), None);
}

#[tokio::test]
async fn an_old_answer_that_resolvers_keep_is_told_from_a_wrong_record() {
    let old = "shop 3600 A 203.0.113.9";
    let mut bind = Bind::serving(&[PLATFORM, ("acme.test", old)]).await;
    let cache = Bind::before(&bind).await;
    let diagnoser = diagnoser(&cache.address(), ADDRESSES).with_authoritative_port(bind.port);
    // The zone's server does not know where the target leads.
    let aim = |name: &str| Aim {
        cname_targets: vec!["edge.plat.example".parse().unwrap()],
        ownership: Some("np-7".into()),
        ..aim(name)
    };
    let look = async |name: &str| diagnoser.diagnose(&aim(name)).await;
    assert_eq!(look("shop.acme.test").await.first_trouble().unwrap().code, AdviceCode::WrongTarget);
    assert_eq!(look("new.acme.test").await.first_trouble().unwrap().code, AdviceCode::NoRecord);

    let records = "shop CNAME edge.plat.example.\nnew CNAME edge.plat.example.\n_nameplate.new TXT \"np-7\"";
    bind.rewrite("acme.test", records).await;
    for (name, most) in [("shop.acme.test", 3600), ("new.acme.test", 60)] {
        let kept = look(name).await;
        assert_eq!(kept.leads, Leads::Elsewhere, "whoever asks a resolver still gets there");
        let advice = kept.first_trouble().unwrap();
        assert_eq!(advice.code, AdviceCode::OldTtl, "{kept:#?}");
        let words = advice.text.split(' ').collect::<Vec<_>>();
        let at = words.iter().position(|word| *word == "s").unwrap();
        let seconds: u32 = words[at - 1].parse().unwrap();
        assert!(seconds > most / 2 && seconds <= most, "{}", advice.text);
        assert!(advice.text.ends_with("There is nothing to change."));
    }
    let proof = look("new.acme.test").await;
    assert_eq!(proof.ownership, Missing);
    let note = &proof.records_wanted.last().unwrap().note;
    assert!(note.starts_with("The zone's name servers have it"), "{note}");

    // What the zone's servers have is said only where they were asked.
    let unheard = diagnoser.with_authoritative_port(bed::free_port()).diagnose(&aim("shop.acme.test")).await;
    assert_eq!(unheard.first_trouble().unwrap().code, AdviceCode::WrongTarget);
}

#[tokio::test]
async fn what_could_not_be_looked_up_is_unknown_and_never_wrong() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("127.0.0.1:{}", bed::free_port());
    let looks = [silent.local_addr().unwrap().to_string(), closed].into_iter().flat_map(|resolver| {
        ["shop.acme.test", "acme.test"].map(|name| {
            let diagnoser = diagnoser(&resolver, ADDRESSES);
            let aim = Aim { ownership: Some("np-7".into()), ..aim(name) };
            tokio::spawn(async move { diagnoser.diagnose(&aim).await })
        })
    });
    let looks = tokio::time::timeout(Duration::from_secs(6), join_all(looks)).await;
    for unknown in looks.expect("a look takes five seconds at most") {
        let unknown = unknown.unwrap();
        assert_eq!((unknown.leads, unknown.ownership), (Leads::Unknown, Unknown));
        assert!(wanted(&unknown).iter().all(|(.., status)| *status == Unknown), "{unknown:#?}");
        assert!(unknown.records_found.is_empty());
        let (code, text) = trouble(&unknown);
        assert_eq!(code, AdviceCode::LookupFailed);
        assert!(text.contains("That says nothing about its records."), "{text}");
    }
}

#[tokio::test]
async fn where_this_edge_is_may_be_known_by_its_name_alone() {
    let records = "shop CNAME edge.plat.test.\nflat A 192.0.2.7\naway A 203.0.113.9\n@ A 192.0.2.7";
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records)]).await;
    let diagnoser = diagnoser(&bind.address(), "").with_authoritative_port(bind.port);
    for (name, leads) in [
        ("shop.acme.test", Leads::Here),
        ("flat.acme.test", Leads::Here),
        ("away.acme.test", Leads::Elsewhere),
    ] {
        assert_eq!(diagnoser.diagnose(&aim(name)).await.leads, leads, "{name}");
    }
    let apex = diagnoser.diagnose(&aim("acme.test")).await;
    let all = [(Alias, "edge.plat.test", Right), (A, "192.0.2.7", Right), (Aaaa, "2001:db8::7", Unneeded)];
    assert_eq!(wanted(&apex), all);

    let by_preview = Aim { cname_targets: Vec::new(), ..aim("flat.acme.test") };
    assert_eq!(diagnoser.diagnose(&by_preview).await.leads, Leads::Here);
    let nowhere = Aim { preview: None, ..by_preview };
    let unsaid = diagnoser.diagnose(&nowhere).await;
    assert_eq!(unsaid.leads, Leads::Unknown);
    let (code, text) = trouble(&unsaid);
    assert_eq!(code, AdviceCode::LookupFailed);
    assert!(text.contains("dns.edge_addresses or dns.cname_target"), "{text}");
}

#[tokio::test]
async fn without_a_target_the_addresses_are_to_be_set() {
    let bind = Bind::serving(&[PLATFORM, ("acme.test", "shop A 192.0.2.7")]).await;
    let diagnoser = diagnoser(&bind.address(), ADDRESSES).with_authoritative_port(bind.port);
    let look = async |name: &str| {
        let aim = Aim { cname_targets: Vec::new(), preview: None, ..aim(name) };
        diagnoser.diagnose(&aim).await
    };
    assert_eq!(
        wanted(&look("shop.acme.test").await),
        [(A, "192.0.2.7", Right), (Aaaa, "2001:db8::7", Unneeded)]
    );
    let missing = look("new.acme.test").await;
    assert_eq!(wanted(&missing), [(A, "192.0.2.7", Missing), (Aaaa, "2001:db8::7", Missing)]);
    assert!(trouble(&missing).1.ends_with("Set new.acme.test A 192.0.2.7, new.acme.test AAAA 2001:db8::7."));
}

#[tokio::test]
async fn a_wildcard_is_looked_at_by_a_name_below_it() {
    let records = "*.shop CNAME edge.plat.test.\n_nameplate.shop TXT \"np-7\"\nother A 203.0.113.9";
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records)]).await;
    let diagnoser = diagnoser(&bind.address(), ADDRESSES).with_authoritative_port(bind.port);
    let look =
        async |name: &str| diagnoser.diagnose(&Aim { ownership: Some("np-7".into()), ..aim(name) }).await;
    let wildcard = look("*.shop.acme.test").await;
    assert_eq!((wildcard.leads, wildcard.ownership, codes(&wildcard)), (Leads::Here, Right, vec![]));
    assert_eq!(wildcard.records_wanted[0].name, "*.shop.acme.test");
    assert_eq!(wildcard.records_found[0].name, "*.shop.acme.test");
    let missing = look("*.other.acme.test").await;
    assert_eq!(wanted(&missing)[0], (Cname, "edge.plat.test", Missing));
    assert!(missing.advice[0].text.ends_with("Set *.other.acme.test CNAME edge.plat.test."));
}

#[tokio::test]
async fn the_way_to_the_answers_of_dns_01_is_wanted_and_looked_at_by_itself() {
    // The zone that they stand in is nobody's here: it is not looked into.
    let records = "direct CNAME edge.plat.test.
                   _acme-challenge.direct CNAME id.zone.plat.example.
                   _acme-challenge.round CNAME hop
                   hop CNAME id.zone.plat.example.
                   _acme-challenge.other CNAME elsewhere
                   _acme-challenge.text TXT \"value\"
                   *.direct CNAME edge.plat.test.";
    let bind = Bind::serving(&[PLATFORM, ("acme.test", records)]).await;
    let look = async |name: &str| {
        let diagnoser = diagnoser(&bind.address(), ADDRESSES).with_authoritative_port(bind.port);
        let aim = Aim { delegation: Some("id.zone.plat.example".into()), ..aim(name) };
        diagnoser.diagnose(&aim).await
    };
    for (name, status) in [
        ("direct.acme.test", Right),
        ("round.acme.test", Right),
        ("other.acme.test", Wrong),
        ("text.acme.test", Missing),
        ("new.acme.test", Missing),
    ] {
        let found = look(name).await;
        let record = found.records_wanted.iter().find(|record| record.purpose == Purpose::Challenge).unwrap();
        assert_eq!((found.delegated, record.status), (status, status), "{name}");
        assert_eq!((record.name.clone(), record.kind), (format!("_acme-challenge.{name}"), Cname));
        assert_eq!(record.value, "id.zone.plat.example");
        // A hostname can do without.
        assert!(!codes(&found).contains(&AdviceCode::DelegationMissing), "{found:#?}");
        assert_eq!(record.note.starts_with("Not needed."), status != Right, "{}", record.note);
    }
    let direct = look("direct.acme.test").await;
    assert_eq!((direct.leads, codes(&direct)), (Leads::Here, vec![]));
    assert_eq!(found(&direct).last(), Some(&(Cname, "id.zone.plat.example", Right)));
    let round = look("round.acme.test").await;
    let hops = [(Cname, "hop.acme.test", Right), (Cname, "id.zone.plat.example", Right)];
    assert_eq!(found(&round), hops, "authorities follow every alias");

    // A wildcard cannot do without.
    let wildcard = look("*.direct.acme.test").await;
    assert_eq!((wildcard.leads, wildcard.delegated, codes(&wildcard)), (Leads::Here, Right, vec![]));
    let missing = look("*.acme.test").await;
    let wanted = missing.records_wanted.iter().find(|record| record.purpose == Purpose::Challenge).unwrap();
    assert_eq!((wanted.name.as_str(), wanted.status), ("_acme-challenge.acme.test", Missing));
    let advice = missing.advice.iter().find(|advice| advice.code == AdviceCode::DelegationMissing).unwrap();
    let text = "The certificate of *.acme.test can be obtained by DNS alone, and _acme-challenge.acme.test has no \
                CNAME record. Set _acme-challenge.acme.test CNAME id.zone.plat.example.";
    assert_eq!(advice.text, text);
    let wrong = look("*.other.acme.test").await;
    let advice = wrong.advice.iter().find(|advice| advice.code == AdviceCode::DelegationMissing).unwrap();
    assert!(
        advice.text.contains("_acme-challenge.other.acme.test leads to elsewhere.acme.test. Set"),
        "{}",
        advice.text
    );
}

#[tokio::test]
async fn a_way_that_could_not_be_looked_up_is_unknown() {
    let closed = format!("127.0.0.1:{}", bed::free_port());
    for name in ["shop.acme.test", "*.shop.acme.test"] {
        // Where nothing says where this edge is, that is the only thing to look at.
        let aim = Aim {
            delegation: Some("id.zone.plat.example".into()),
            cname_targets: Vec::new(),
            preview: None,
            ..aim(name)
        };
        let diagnosis = diagnoser(&closed, "").diagnose(&aim).await;
        assert_eq!(diagnosis.delegated, Unknown);
        assert_eq!(wanted(&diagnosis).last(), Some(&(Cname, "id.zone.plat.example", Unknown)));
        assert!(!codes(&diagnosis).contains(&AdviceCode::DelegationMissing), "{diagnosis:#?}");
    }
}
