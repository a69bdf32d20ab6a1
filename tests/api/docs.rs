//! What docs/api.md prints works as it stands there.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::house::{House, house};

/// The first block of this language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let begin = text.split_once(&format!("```{language}\n")).expect("it has one").1;
    begin.split_once("```").expect("it ends").0
}

/// Runs a program with the variables that the examples take; what it printed, as JSON.
async fn ran(house: &House, token: &str, program: &str, option: &str, code: &str) -> Value {
    let output = Command::new(program)
        .args([option, code])
        .env("NAMEPLATE_API", format!("http://{}", house.edge.admin))
        .env("NAMEPLATE_TOKEN", token)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_call_works_as_it_is_printed() {
    let house = house("").await;
    let token = house.token("cats", "write");
    let guide = include_str!("../../docs/api.md");

    let by_curl = ran(&house, &token, "sh", "-c", block(guide, "sh")).await;
    assert_eq!(by_curl["data"]["id"], "shop.example.com");

    let call = r#"print(json.dumps(add_hostname("blog.example.com")))"#;
    let code = format!("{}\n{call}", block(guide, "python"));
    let by_python = ran(&house, &token, "python3", "-c", &code).await;
    assert_eq!(by_python["hostname"], "blog.example.com");
    assert!(by_python["preview_hostname"].as_str().unwrap().ends_with(".plat.test"));

    let shown: Value = serde_json::from_str(block(guide, "json")).unwrap();
    let (shown, real) = (&shown["data"]["attributes"], &by_curl["data"]["attributes"]);
    for (key, value) in shown.as_object().unwrap() {
        assert!(value == &real[key] || ["preview_hostname", "dns"].contains(&key.as_str()), "{key}: {real}");
    }
    let record = &real["dns"]["records_wanted"][0];
    let printed = shown["dns"]["records_wanted"][0].as_object().unwrap();
    assert!(printed.keys().all(|key| !record[key].is_null()), "{record}");
    assert_eq!(record["kind"], json!("CNAME"));
}
