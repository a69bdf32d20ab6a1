//! `nameplate demo`: what it prints works as printed.

mod bed;

use std::process::Stdio;
use std::time::Duration;

use bed::appears;
use tokio::process::Command;

async fn shell(command: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", command]).output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn every_printed_command_works_and_an_interrupt_ends_it_cleanly() {
    let folder = tempfile::TempDir::new().unwrap();
    let printed = folder.path().join("printed");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_nameplate"))
        .args(["demo", "--data-dir"])
        .arg(folder.path().join("data"))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&printed).unwrap())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let text = appears("the demo tells what to try", async || {
        std::fs::read_to_string(&printed).ok().filter(|text| text.contains("Ctrl-C"))
    })
    .await;
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(commands.len(), 6, "{text}");

    let (served, page) = shell(commands[0]).await;
    assert!(served && page.contains("hostname: status.customer.example"), "{page}");
    let (redirected, answer) = shell(commands[1]).await;
    assert!(redirected && answer.contains("location: https://status.customer.example:"), "{answer}");
    assert!(answer.contains("/a?b=c"), "{answer}");
    let (stranger, why) = shell(commands[2]).await;
    assert!(!stranger && why.contains("unrecognized name"), "{why}");
    let (registered, answer) = shell(commands[3]).await;
    assert!(registered && answer.contains("edge.platform.example"), "{answer}");
    let (served, page) = shell(commands[4]).await;
    assert!(served && page.contains("hostname: shop.registered.example"), "{page}");
    let (measured, metrics) = shell(commands[5]).await;
    assert!(
        measured && metrics.contains(r#"nameplate_orders_total{authority="internal",result="issued"} 2"#)
    );

    let pid = demo.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    let status = tokio::time::timeout(Duration::from_secs(20), demo.wait()).await.unwrap().unwrap();
    assert!(status.success());
}
