//! Every request of [`crate::cases`] to nginx and to us, and the answers held against each other.

use std::collections::BTreeMap;

use crate::bed::program::Edge;
use crate::cases::{DIFFERENCES, PATHS, REQUESTS};
use crate::client::{Answer, Ask};
use crate::folder::{Folder, HOST, config};
use crate::nginx::Nginx;

/// Fields that say what the body is; compared where a file or a part of one is sent, or would be.
const FIELDS: &[&str] =
    &["content-type", "content-length", "content-range", "content-encoding", "last-modified"];

/// What of an answer is compared, by name.
fn facets(answer: &Answer) -> BTreeMap<String, String> {
    let mut facets = BTreeMap::from([("status".to_owned(), answer.status.to_string())]);
    let mut add = |name: &str, value: &str| {
        facets.insert(name.to_owned(), value.to_owned());
    };
    match answer.status {
        200 | 206 => {
            FIELDS.iter().for_each(|name| add(name, answer.field(name)));
            add("vary", answer.field("vary"));
            add("body", &answer.body.escape_ascii().to_string());
        }
        304 => add("last-modified", answer.field("last-modified")),
        301 => {
            let location = answer.field("location");
            // nginx names its own scheme, host and port.
            let path = |url: &str| url[url.find('/').unwrap_or(url.len())..].to_owned();
            add("location", &location.strip_prefix("http://").map_or(location.to_owned(), path));
        }
        416 => add("content-range", answer.field("content-range")),
        _ => {}
    }
    // nginx says it of no part and of nothing coded.
    if answer.status == 200 && answer.field("content-encoding").is_empty() {
        add("accept-ranges", answer.field("accept-ranges"));
    }
    if matches!(answer.status, 200 | 206 | 304) {
        add("etag", if answer.field("etag").starts_with('"') { "strong" } else { answer.field("etag") });
    }
    facets
}

/// The fields of a request, filled in with what `plain`, the answer without them, has.
fn ask<'a>(method: &'a str, target: &'a str, fields: &str, plain: &Answer) -> Ask<'a> {
    let filled =
        fields.replace("{etag}", plain.field("etag")).replace("{date}", plain.field("last-modified"));
    let fields = filled.split('|').filter_map(|field| field.split_once(": "));
    Ask { method, target, fields: fields.map(|(name, value)| (name.into(), value.into())).collect() }
}

/// Notes in `wrong` where two answers to the request `name` differ, and where they do not but are meant
/// to; how many differences are listed for it.
fn compare(name: &str, theirs: &Answer, ours: &Answer, wrong: &mut Vec<String>) -> usize {
    let (mut theirs, mut ours, mut differing) = (facets(theirs), facets(ours), 0);
    for (_, what, _) in DIFFERENCES.iter().filter(|(requests, ..)| requests.contains(&name)) {
        let (facet, value) = what.split_once(' ').unwrap_or((what, ""));
        differing += 1;
        let is = ours.get(facet).map_or("", String::as_str);
        if (is != value && value != "*") || theirs.get(facet) == ours.get(facet) {
            wrong.push(format!(
                "{name}: {facet} is {:?}, nginx's {:?}, meant: {value:?}",
                ours.get(facet),
                theirs.get(facet)
            ));
        }
        if facet == "status" {
            (theirs, ours) = Default::default();
        }
        theirs.remove(facet);
        ours.remove(facet);
    }
    if theirs != ours {
        let differ = |(name, value): (&String, &String)| {
            let other = theirs.get(name).cloned().unwrap_or_default();
            (*value != other).then(|| format!("{name} {value:.60} (nginx: {other:.60})"))
        };
        wrong.push(format!("{name}: {}", ours.iter().filter_map(differ).collect::<Vec<_>>().join(", ")));
    }
    differing
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_nginx_s_but_for_those_that_are_meant_to_differ() {
    let folder = Folder::full();
    let nginx = Nginx::serving(&folder.root()).await;
    let edge = Edge::start(&config(&folder.root(), "")).await;
    let requests: Vec<(&str, &str, &str)> =
        PATHS.iter().map(|path| ("GET", *path, "")).chain(REQUESTS.iter().copied()).collect();
    assert!(requests.len() > 200, "{}", requests.len());
    let (mut wrong, mut differing) = (Vec::new(), 0);
    for (method, target, fields) in requests {
        let accept = fields.split('|').find(|field| field.starts_with("Accept-Encoding")).unwrap_or_default();
        let (mut theirs, mut ours) = (None, None);
        if fields.contains('{') {
            let plain = ask("GET", target, accept, &Ask::get("/").of(&edge, HOST).await);
            (theirs, ours) =
                (Some(plain.plain(nginx.address, HOST).await), Some(plain.of(&edge, HOST).await));
        }
        let none = || Answer { status: 0, fields: BTreeMap::new(), body: Vec::new() };
        let theirs =
            ask(method, target, fields, &theirs.unwrap_or_else(none)).plain(nginx.address, HOST).await;
        let ours = ask(method, target, fields, &ours.unwrap_or_else(none)).of(&edge, HOST).await;
        if method == "HEAD" {
            assert!(ours.body.is_empty(), "{target}");
        }
        if ours.status == 405 {
            assert_eq!(ours.field("allow"), "GET, HEAD", "{method} {target}");
        }
        assert!(
            !ours.text().contains("outside") && !ours.text().contains("Index of"),
            "{target}: {}",
            ours.text()
        );
        let name = format!("{method} {target} {fields}").trim_end().to_owned();
        differing += compare(&name, &theirs, &ours, &mut wrong);
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    let listed: usize = DIFFERENCES.iter().map(|(requests, ..)| requests.len()).sum();
    assert_eq!(differing, listed, "a difference is listed for a request that is not made");
}
