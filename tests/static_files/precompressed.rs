//! Files that lie ready, coded, beside the file itself.

use crate::bed::program::Edge;
use crate::client::Ask;
use crate::folder::{Folder, HOST, config};

#[tokio::test(flavor = "multi_thread")]
async fn the_coding_that_the_client_wants_most_is_sent() {
    let folder = Folder::full();
    for (path, content) in
        [("page.css", "as it is"), ("page.css.br", "by brotli"), ("page.css.zst", "by zstandard")]
    {
        folder.write(path, content);
    }
    folder.write("page.css.gz", "by gzip");
    let edge = Edge::start(&config(&folder.root(), "not_found = \"/404.html\"")).await;
    folder.write("404.html", "nothing here");
    folder.write("404.html.br", "nothing, by brotli");
    let mut tags = std::collections::BTreeSet::new();
    for (accept, coding, body) in [
        ("gzip, deflate, br, zstd", "br", "by brotli"),
        ("gzip, zstd", "zstd", "by zstandard"),
        ("gzip", "gzip", "by gzip"),
        ("br;q=0.1, gzip;q=0.9", "gzip", "by gzip"),
        ("br;q=0", "", "as it is"),
        ("", "", "as it is"),
    ] {
        let answer = Ask::get("/page.css").with("Accept-Encoding", accept).of(&edge, HOST).await;
        assert_eq!((answer.field("content-encoding"), answer.text().as_str()), (coding, body), "{accept}");
        assert_eq!(answer.field("content-type"), "text/css; charset=utf-8", "{accept}");
        assert_eq!(answer.field("vary"), "Accept-Encoding", "{accept}");
        tags.insert(answer.field("etag").to_owned());
        let known =
            Ask::get("/page.css").with("Accept-Encoding", accept).with("If-None-Match", answer.field("etag"));
        let known = known.of(&edge, HOST).await;
        assert_eq!((known.status, known.field("vary")), (304, "Accept-Encoding"), "{accept}");
    }
    assert_eq!(tags.len(), 4, "{tags:?}");
    let part =
        Ask::get("/page.css").with("Accept-Encoding", "br").with("Range", "bytes=3-").of(&edge, HOST).await;
    assert_eq!((part.status, part.field("content-encoding"), part.text().as_str()), (206, "br", "brotli"));
    let missing = Ask::get("/nothing").with("Accept-Encoding", "br").of(&edge, HOST).await;
    assert_eq!((missing.status, missing.field("content-encoding")), (404, "br"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_older_than_the_file_or_lies_outside_is_not_there() {
    let folder = Folder::full();
    folder.write("old.css", "as it is");
    folder.write("old.css.br", "as it was");
    folder.age("old.css.br", 60);
    folder.write("out.css", "as it is");
    folder.link("out.css.br", "../outside/secret.txt");
    let edge = Edge::start(&config(&folder.root(), "")).await;
    for target in ["/old.css", "/out.css"] {
        let answer = Ask::get(target).with("Accept-Encoding", "br").of(&edge, HOST).await;
        assert_eq!((answer.text().as_str(), answer.field("vary")), ("as it is", ""), "{target}");
    }
}
