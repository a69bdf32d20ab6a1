//! What becomes of items, wherever they are from.

use std::fs;
use std::path::Path;

use nameplate::certs::import::{Failed, Fate, Item, haproxy};
use nameplate::certs::pem;
use nameplate::cli::import::{Environment, From, How};
use nameplate::domain::revocation::Reason;
use nameplate::store::{Revocation, Revocations, Store};
use rcgen::{DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use tempfile::TempDir;

use super::house::{Bed, look, source};
use super::made::{Ca, NOW, p256, params, pem_of};

fn item(place: &str, text: &str) -> Item {
    let content = pem::read(text.as_bytes(), NOW).map_err(Into::into);
    Item { place: place.to_owned(), content, note: None }
}

#[tokio::test]
async fn a_dry_run_reports_and_an_applied_one_files() {
    let bed = Bed::new().await;
    let ca = Ca::new();
    bed.write("a.pem", ca.leaf(&["a.test", "both.test"], 2027, p256()).text());
    bed.write("b.pem", ca.leaf(&["both.test"], 2028, p256()).text());
    bed.write("c.pem", ca.leaf(&["both.test"], 2027, p256()).text());
    bed.write("d.pem", "nothing");
    bed.write("e.txt", "not ours");
    fs::create_dir(bed.folder().join("f.pem")).unwrap();
    std::os::unix::fs::symlink("gone", bed.folder().join("g.pem")).unwrap();
    let open = || haproxy::open(&bed.folder(), NOW).unwrap();

    let (summary, told) = look(open()).await;
    let places: Vec<(&str, bool)> = told.iter().map(|one| (&*one.place, one.used)).collect();
    let wanted = [("a.pem", true), ("b.pem", true), ("c.pem", false), ("d.pem", false), ("g.pem", false)];
    assert_eq!(places, wanted);
    assert_eq!((summary.items, summary.used, summary.names), (5, 2, 2));
    let beaten = ("both.test".to_owned(), Fate::Beaten("b.pem".into()));
    assert_eq!(told[0].names, [("a.test".to_owned(), Fate::Taken), beaten.clone()]);
    assert_eq!(told[2].names, [beaten]);
    assert!(told[3].skipped.as_ref().unwrap().contains("it has no certificate"));
    assert!(told[4].skipped.as_ref().unwrap().contains("g.pem cannot be read"));
    assert!(bed.store.names_after(None, 10).await.unwrap().is_empty(), "a dry run writes nothing");

    let (summary, _) = bed.apply(open()).await;
    assert_eq!((summary.names, summary.kept), (2, 0));
    for (name, year) in [("a.test", "2027-01-01"), ("both.test", "2028-01-01")] {
        let found = bed.find(name).await.unwrap();
        assert!(found.validity.not_after.to_string().starts_with(year), "{name}");
    }
}

#[tokio::test]
async fn what_the_store_has_for_longer_stays() {
    let bed = Bed::new().await;
    let ca = Ca::new();
    let longer = ca.leaf(&["a.test"], 2028, p256()).text();
    bed.apply(source(vec![item("a", &longer)], None)).await;
    let shorter = ca.leaf(&["a.test"], 2027, p256()).text();
    let (summary, told) = bed.apply(source(vec![item("b", &shorter)], None)).await;
    assert_eq!((summary.names, summary.kept, summary.kept_items), (0, 1, 1));
    assert_eq!(told[0].names, [("a.test".to_owned(), Fate::Kept)]);
    assert!(bed.find("a.test").await.unwrap().validity.not_after.to_string().starts_with("2028"));
}

#[tokio::test]
async fn this_machines_copies_go_where_they_are_behind_and_stay_where_they_are_not() {
    let bed = Bed::new().await;
    let ca = Ca::new();
    let text = |until| ca.leaf(&["a.test"], until, p256()).text();
    let [older, brought, longer] = [2027, 2028, 2029].map(text);
    let copy = async |text: &str| {
        bed.local.keep(&pem::read(text.as_bytes(), NOW).unwrap()[0]).await.unwrap();
    };
    let has_copy = async || bed.local.load(&"a.test".parse().unwrap()).await.unwrap().is_some();

    copy(&older).await;
    bed.apply(source(vec![item("a", &brought)], None)).await;
    assert!(!has_copy().await, "it was replaced");
    copy(&older).await;
    bed.apply(source(vec![item("a", &brought)], None)).await;
    assert!(!has_copy().await, "an import before was ended too soon to forget it");
    copy(&longer).await;
    bed.apply(source(vec![item("a", &longer)], None)).await;
    copy(&longer).await;
    bed.apply(source(vec![item("a", &brought)], None)).await;
    assert!(has_copy().await, "what is good is kept: the store may be gone at the next start");
}

#[tokio::test]
async fn a_revoked_one_leaves_the_copy_of_what_took_its_place() {
    let bed = Bed::new().await;
    let ca = Ca::new();
    let [old, new] = [2027, 2028].map(|until| ca.leaf(&["a.test"], until, p256()).text());
    let parsed = pem::read(old.as_bytes(), NOW).unwrap().remove(0);
    let revocation = Revocation {
        name: parsed.name.clone(),
        leaf: parsed.chain[0].clone(),
        authority: None,
        reason: Reason::KeyCompromise,
        asked_at: NOW,
        not_after: parsed.validity.not_after,
        next: None,
        failures: 0,
        report: String::new(),
    };
    bed.store.save_revocation(&revocation).await.unwrap();
    bed.local.keep(&pem::read(new.as_bytes(), NOW).unwrap()[0]).await.unwrap();
    let (summary, told) = bed.apply(source(vec![item("old", &old)], None)).await;
    assert_eq!((summary.names, told[0].names.clone()), (0, vec![("a.test".to_owned(), Fate::Revoked)]));
    assert!(bed.local.load(&parsed.name).await.unwrap().is_some(), "the store may be gone at the next start");
}

#[tokio::test]
async fn more_items_than_a_batch_are_all_filed_and_a_second_time_they_are_there_already() {
    let bed = Bed::new().await;
    let (ca, key) = (Ca::new(), p256());
    let text = |number: u32, until| {
        let leaf = params(&[&format!("n{number}.test")], until).signed_by(&key, &ca.issuer).unwrap();
        pem_of("CERTIFICATE", leaf.der()) + &key.serialize_pem()
    };
    let texts: Vec<String> = (0..1_100).map(|number| text(number, 2027)).collect();
    let items = |count: usize| texts[..count].iter().map(|text| item("x", text)).collect::<Vec<_>>();
    let lost = || Failed::Reading { why: "the connection was lost".into() };

    let (summary, told, ended) = bed.try_to_apply(source(items(1_050), Some(lost()))).await;
    assert!(ended.is_err());
    assert_eq!((summary.names, told.len()), (1_050, 1_050), "what was read is filed");
    assert_eq!(bed.store.names_after(None, 2_000).await.unwrap().len(), 1_050);

    let (summary, _) = bed.apply(source(items(1_100), None)).await;
    assert_eq!((summary.names, summary.kept, summary.kept_items), (50, 1_050, 1_050));
    assert_eq!(bed.store.names_after(None, 2_000).await.unwrap().len(), 1_100);

    // Items of one name with a batch between them.
    let mut again = items(1_100);
    again.push(item("better", &text(0, 2030)));
    again.push(item("worse", &text(0, 2029)));
    let (summary, told) = bed.apply(source(again, None)).await;
    assert_eq!((summary.names, summary.kept), (1, 1_099));
    assert_eq!(told[1_101].names, [("n0.test".to_owned(), Fate::Beaten("better".into()))]);
    assert!(bed.find("n0.test").await.unwrap().validity.not_after.to_string().starts_with("2030"));
}

#[tokio::test]
async fn of_two_that_end_together_the_one_on_a_curve_is_taken() {
    let bed = Bed::new().await;
    let ca = Ca::new();
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let rsa = ca.leaf(&["a.test"], 2027, rsa).text();
    let curve = ca.leaf(&["a.test"], 2027, p256()).text();
    for (first, second) in [(&rsa, &curve), (&curve, &rsa)] {
        let items = vec![item("first", first), item("second", second)];
        let (summary, _) = bed.apply(source(items, None)).await;
        assert_eq!(summary.names + summary.kept, 1);
        assert_eq!(bed.find("a.test").await.unwrap().key_type, nameplate::domain::certificate::KeyType::P256);
    }
}

#[tokio::test]
async fn certificates_of_a_trial_authority_are_left_out() {
    let mut authority = params(&[], 2040);
    authority.distinguished_name.push(DnType::OrganizationName, "(STAGING) Let's Encrypt");
    let issuer = rcgen::Issuer::new(authority, p256());
    let key = p256();
    let leaf = params(&["a.test"], 2027).signed_by(&key, &issuer).unwrap();
    let bed = Bed::new().await;
    bed.write("a.pem", leaf.pem() + &key.serialize_pem());
    let (summary, told) = look(haproxy::open(&bed.folder(), NOW).unwrap()).await;
    assert_eq!(summary.used, 0);
    assert_eq!(
        told[0].skipped.as_deref(),
        Some("it comes from the trial authority \"(STAGING) Let's Encrypt\", which no browser trusts")
    );
}

async fn command(folder: &Path, report: Option<&Path>, out: &mut Vec<u8>) -> bool {
    let how = How { apply: false, config: None, report: report.map(Path::to_owned) };
    let from = From::Haproxy { folder: folder.to_owned(), how };
    nameplate::cli::import::import(&from, &Environment::default(), None, out).await.unwrap()
}

#[tokio::test]
async fn the_command_shows_a_table_and_whether_there_was_anything() {
    let folder = TempDir::new().unwrap();
    let mut out = Vec::new();
    let none = command(folder.path(), None, &mut out).await;
    assert_eq!((none, out.as_slice()), (false, b"no *.pem files there\n".as_slice()));

    let ca = Ca::new();
    fs::write(folder.path().join("a.pem"), ca.leaf(&["a.test", "*.a.test"], 4000, p256()).text()).unwrap();
    fs::write(folder.path().join("b\x1b.pem"), "nothing").unwrap();
    out.clear();
    let report = folder.path().join("report.jsonl");
    assert!(command(folder.path(), Some(&report), &mut out).await);
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("FILE ") && lines[0].ends_with("  VERDICT"), "{text}");
    assert!(
        lines[1].starts_with("a.pem ") && lines[1].contains("  a.test *.a.test  4000-01-01T00:00:00Z  "),
        "{text}"
    );
    assert!(lines[1].ends_with("will be imported"), "{text}");
    assert!(
        lines[2].contains(r"b\u{1b}.pem") && lines[2].contains("skipped: it has no certificate"),
        "{text}"
    );
    assert_eq!(lines[3], "2 names in 1 of 2 files; 1 files skipped");
    assert!(lines[4].starts_with("1 of them are wildcards"), "{text}");
    assert_eq!(lines[5..], ["nothing was written; add --apply to import"]);

    let report = fs::read_to_string(report).unwrap();
    let told: Vec<serde_json::Value> =
        report.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        told[0],
        serde_json::json!({ "place": "a.pem", "names": ["a.test", "*.a.test"],
            "not_after": "4000-01-01T00:00:00Z", "verdict": "will be imported", "why": null, "note": null })
    );
    assert_eq!(told[1]["place"], "b\u{1b}.pem");
    assert_eq!(told[1]["verdict"], "skipped");
    assert!(told[1]["why"].as_str().unwrap().starts_with("it has no certificate"));
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_that_names_it() {
    let how = How { apply: false, config: None, report: None };
    let from = From::Haproxy { folder: "/no/such/folder".into(), how };
    let imported =
        nameplate::cli::import::import(&from, &Environment::default(), None, &mut Vec::new()).await;
    assert_eq!(imported.unwrap_err().to_string(), "/no/such/folder cannot be read");
}
