//! No way out of the root: by links that change meanwhile, too.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::bed::program::Edge;
use crate::client::Ask;
use crate::folder::{Folder, HOST, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_leads_out_and_in_by_turns_never_shows_what_is_outside() {
    let folder = Folder::full();
    let edge = Edge::start(&config(&folder.root(), "")).await;
    folder.write("turn/secret.txt", "inside");
    let (root, over) = (folder.root(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Each is put in place of the other at once, as a deployment does it.
            while !over.load(Ordering::Relaxed) {
                for target in ["turn", "../outside"] {
                    std::os::unix::fs::symlink(target, root.join("next")).unwrap();
                    std::fs::rename(root.join("next"), root.join("turning")).unwrap();
                }
            }
        });
        let seen = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let (mut shown, mut not_shown) = (0, 0);
                for _ in 0..300 {
                    let answer = Ask::get("/turning/secret.txt").of(&edge, HOST).await;
                    match (answer.status, answer.text().as_str()) {
                        (200, "inside") => shown += 1,
                        (404, _) => not_shown += 1,
                        _ => return Err(answer),
                    }
                }
                Ok((shown, not_shown))
            })
        });
        over.store(true, Ordering::Relaxed);
        let (shown, not_shown) = seen.unwrap();
        assert!(shown > 0 && not_shown > 0, "{shown} shown, {not_shown} not");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_names_of_the_kernel_are_followed_nowhere() {
    let folder = Folder::full();
    folder.link("proc", "/proc");
    folder.link("self", "/proc/self/root");
    folder.link("dots", "../../../../../../etc");
    folder.link("up", "..");
    folder.link("here", ".");
    let edge = Edge::start(&config(&folder.root(), "")).await;
    for target in [
        "/proc/self/environ",
        "/self/etc/passwd",
        "/dots/passwd",
        "/up/outside/secret.txt",
        "/up/site/index.html",
    ] {
        assert_eq!(Ask::get(target).of(&edge, HOST).await.status, 404, "{target}");
    }
    assert_eq!(
        Ask::get("/here/here/index.html").of(&edge, HOST).await.status,
        200,
        "a link that stays inside"
    );
}
