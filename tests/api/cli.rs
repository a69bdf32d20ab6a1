//! The API from the shell.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::bed::approval::{ApprovalEndpoint, Behaviour};
use crate::bed::program::{Ran, run};
use crate::house::{House, TARGET, house};

/// Runs `nameplate` with a token against a house.
async fn shell(house: &House, token: &str, arguments: &[&str]) -> Ran {
    let api = format!("http://{}", house.edge.admin);
    let ran = run(&[arguments, &["--api", &api, "--token", token]].concat()).await;
    // Seen where a test fails, or with --nocapture.
    println!("$ nameplate {}\n{}{}[{}]\n", arguments.join(" "), ran.out, ran.err, ran.code);
    ran
}

/// The same, which must do it; what it printed.
pub async fn done(house: &House, token: &str, arguments: &[&str]) -> String {
    let ran = shell(house, token, arguments).await;
    assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.out, ran.err);
    ran.out
}

/// The same with `--json`.
async fn document(house: &House, token: &str, arguments: &[&str]) -> Value {
    let out = done(house, token, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}"))
}

/// Whether a line of `text` has all of these.
pub fn line(text: &str, parts: &[&str]) -> bool {
    text.lines().any(|line| parts.iter().all(|part| line.contains(part)))
}

async fn leads_away(house: &House, name: &str) {
    house.ca.set_dns("add-a", json!({ "host": format!("{name}."), "addresses": ["203.0.113.9"] })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_is_added_and_waited_for_until_it_serves() {
    let house = house("").await;
    let token = house.token("cats", "write");

    let out = done(&house, &token, &["hostname", "add", "shop.customer.test", "--wait"]).await;
    assert!(line(&out, &["shop.customer.test", "CNAME", TARGET]), "{out}");
    assert!(out.trim_end().lines().last().unwrap().starts_with("serving: "), "{out}");
    house.edge.get("shop.customer.test", "/hello").await;

    leads_away(&house, "away.customer.test").await;
    let late = ["hostname", "add", "away.customer.test", "--wait", "--timeout", "1s"];
    let ran = shell(&house, &token, &late).await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("not serving after 1 s"), "{}", ran.err);
    let checked = document(&house, &token, &["hostname", "check", "shop.customer.test", "--wait"]).await;
    assert_eq!(checked["data"]["attributes"]["state"], "serving");

    let serving = done(&house, &token, &["hostname", "list", "--state", "serving"]).await;
    assert!(line(&serving, &["HOSTNAME", "STATE", "REASON"]) && line(&serving, &["shop.customer.test"]));
    assert!(!serving.contains("away.customer.test"), "{serving}");
    let found =
        document(&house, &token, &["hostname", "list", "--search", "AWAY", "--site", "default"]).await;
    assert_eq!(found["data"][0]["id"], "away.customer.test");
    assert_eq!(found["data"].as_array().unwrap().len(), 1);

    let shown = done(&house, &token, &["hostname", "show", "Shop.Customer.test."]).await;
    assert!(line(&shown, &["shop.customer.test", "pebble", "p256"]), "{shown}");
    let certificates = done(&house, &token, &["certificate", "list"]).await;
    assert!(line(&certificates, &["shop.customer.test", "pebble"]), "{certificates}");
    let events = done(&house, &token, &["events", "--hostname", "shop.customer.test"]).await;
    assert!(line(&events, &["hostname.serving", "shop.customer.test"]), "{events}");
    let authorities = document(&house, &token, &["authority", "list"]).await;
    assert_eq!(authorities["data"][0]["attributes"]["open"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_for_hostnames_sites_and_organizations_is_changed_from_the_shell() {
    let house = house("").await;
    let token = house.token("*", "admin");
    let other = house.other_origin.address.to_string();

    let site = ["site", "add", "dogs", "--origin", &other, "--organization", "kennel"];
    assert!(line(&done(&house, &token, &site).await, &["origins", &other]));
    done(&house, &token, &["site", "set", "dogs", "--cname-target", "edge2.plat.test"]).await;
    let sites = done(&house, &token, &["site", "list"]).await;
    assert!(line(&sites, &["dogs", "kennel", "edge2.plat.test", &other]), "{sites}");
    assert_eq!(document(&house, &token, &["site", "show", "dogs"]).await["data"]["id"], "dogs");

    let name = "bark.customer.test";
    let set = ["--site", "dogs", "--metadata", r#"{"plan":"gold"}"#, "--redirect-to", "www.customer.test"];
    done(&house, &token, &[&["hostname", "add", name], &set[..]].concat()).await;
    let changed = ["hostname", "set", name, "--origin", &other, "--no-redirect", "--no-metadata"];
    let changed = document(&house, &token, &changed).await;
    let attributes = &changed["data"]["attributes"];
    assert_eq!(attributes["origin"], other);
    assert!(attributes["redirect_to"].is_null() && attributes["metadata"].is_null(), "{attributes}");

    let quota = ["organization", "set-quota", "kennel", "1"];
    assert!(line(&done(&house, &token, &quota).await, &["kennel has 1", "may have 1"]));
    let full = shell(&house, &token, &["hostname", "add", "b.customer.test", "--site", "dogs"]).await;
    assert_eq!(full.code, 1);
    assert!(full.err.contains("as many hostnames as it may"), "{}", full.err);
    assert!(line(&done(&house, &token, &["organization", "list"]).await, &["kennel", "1"]));
    assert!(done(&house, &token, &["quota", "--organization", "cats"]).await.starts_with("cats has 0"));
    let trail = done(&house, &token, &["events", "--audit"]).await;
    assert!(line(&trail, &["site.created", "dogs"]), "{trail}");

    done(&house, &token, &["hostname", "remove", name]).await;
    let gone = shell(&house, &token, &["hostname", "show", name]).await;
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("there is no hostname bark.customer.test"), "{}", gone.err);
    done(&house, &token, &["site", "remove", "dogs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_name_is_explained() {
    let endpoint = ApprovalEndpoint::start().await;
    let house = house(&format!("[on_demand]\napproval = {:?}\n", endpoint.template())).await;
    let (operator, cats) = (house.token("*", "read"), house.token("cats", "write"));
    let dogs = house.token("dogs", "read");
    endpoint.says("walk-in.customer.test", Behaviour::Status(200));
    endpoint.says("stranger.customer.test", Behaviour::Status(404));
    done(&house, &cats, &["hostname", "add", "shop.customer.test", "--wait"]).await;

    let registered = done(&house, &cats, &["explain", "shop.customer.test"]).await;
    assert!(line(&registered, &["Registered: by cats", "serving"]), "{registered}");
    assert!(line(&registered, &["shop.customer.test", "CNAME", TARGET]), "{registered}");
    assert!(registered.contains("Approval: approved"), "{registered}");

    let approved = document(&house, &operator, &["explain", "walk-in.customer.test"]).await;
    let attributes = &approved["data"]["attributes"];
    assert_eq!(attributes["approval"]["verdict"], "approved");
    assert!(attributes["holder"].is_null() && attributes["certificates"].as_array().unwrap().is_empty());
    house.edge.get("walk-in.customer.test", "/hello").await;
    let served = document(&house, &cats, &["explain", "walk-in.customer.test"]).await;
    assert_eq!(served["data"]["attributes"]["certificates"][0]["authority"], "pebble");

    leads_away(&house, "stranger.customer.test").await;
    let unknown = done(&house, &operator, &["explain", "stranger.customer.test"]).await;
    assert!(unknown.contains("Registered: no") && unknown.contains("Approval: denied"), "{unknown}");
    assert!(line(&unknown, &["To do: Register it", "nameplate hostname add"]), "{unknown}");
    assert!(line(&unknown, &["203.0.113.9"]), "what DNS has is shown: {unknown}");

    for name in ["shop.customer.test", "nobody.customer.test"] {
        let hidden = shell(&house, &dogs, &["explain", name]).await;
        assert_eq!(hidden.code, 1);
        assert!(hidden.err.contains("There is no hostname"), "{}", hidden.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_wrong_ends_with_its_code_and_a_sentence() {
    let house = house("").await;
    let token = house.token("cats", "read");
    for (token, arguments, code, sentence) in [
        ("np_wrong_token", &["hostname", "list"][..], 1, "The token is not one of ours"),
        ("", &["hostname", "list"], 2, "give a token"),
        (&token, &["hostname", "add", "a.customer.test"], 1, "this call needs write"),
        (&token, &["hostname", "list", "--site", "dogs"], 1, "There is no site \"dogs\""),
        (&token, &["hostname", "list", "--state", "sleeping"], 2, "waiting, serving or stuck"),
        (&token, &["hostname", "add", "a.test", "--metadata", "{"], 2, "--metadata"),
        (&token, &["hostname", "set", "a.test"], 2, "say what to set"),
        (&token, &["explain", "no hostname"], 1, "Give the hostname alone"),
    ] {
        let ran = shell(&house, token, arguments).await;
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(sentence) && ran.out.is_empty(), "{arguments:?}: {}", ran.err);
    }
    let write = house.token("cats", "write");
    let ran = shell(&house, &write, &["hostname", "add", "co.uk"]).await;
    assert!(ran.err.contains("(/data/attributes/hostname)"), "{}", ran.err);
    let nobody = run(&["hostname", "list", "--api", "http://127.0.0.1:9", "--token", "x"]).await;
    assert!(nobody.code == 1 && nobody.err.contains("does not answer"), "{}", nobody.err);
}

#[tokio::test]
async fn shells_can_read_their_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).await;
        assert!(script.code == 0 && script.out.contains("nameplate"), "{}", script.err);
        if shell != "bash" {
            continue;
        }
        // Longer than an argument may be.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &script.out).unwrap();
        let read = Command::new("bash").arg("-n").arg(file.path()).stdin(Stdio::null()).output().await;
        let read = read.unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_made_changed_and_taken_away_from_the_shell() {
    let house = house("").await;
    let token = house.token("cats", "admin");
    let add = ["webhook", "add", "https://hooks.example/h", "--event", "hostname.serving"];
    let made = document(&house, &token, &add).await;
    let id = made["data"]["id"].as_str().unwrap();
    assert!(made["data"]["attributes"]["secret"].as_str().unwrap().starts_with("whsec_"));
    let listed = done(&house, &token, &["webhook", "list"]).await;
    assert!(listed.contains(id) && listed.contains("https://hooks.example/h"), "{listed}");
    let shown = done(&house, &token, &["webhook", "set", id, "--disable"]).await;
    assert!(shown.contains("enabled") && shown.contains("no"), "{shown}");
    let refused = shell(&house, &token, &["webhook", "redeliver", id]).await;
    assert!(refused.code == 1 && refused.err.contains("disabled"), "{}", refused.err);
    done(&house, &token, &["webhook", "set", id, "--enable", "--event", "certificate.expiring"]).await;
    done(&house, &token, &["webhook", "redeliver", id]).await;
    assert_eq!(document(&house, &token, &["webhook", "deliveries", id]).await["data"], json!([]));
    let refused = shell(&house, &token, &["webhook", "add", "http://127.0.0.1/"]).await;
    assert!(refused.code == 1 && !refused.err.is_empty());
    done(&house, &token, &["webhook", "remove", id]).await;
}
