//! Which folder beneath a site's root is a hostname's.

use super::NoPlace;
use crate::domain::files::{Piece, Root, is_name};
use crate::domain::hostname::Hostname;

/// The folder of `hostname`, relative to the root's own; empty: that itself.
///
/// - `metadata`: a JSON object as text, where the hostname has some.
pub fn below(root: &Root, hostname: &Hostname, metadata: Option<&str>) -> Result<String, NoPlace> {
    let mut path = String::new();
    let mut read = None;
    for piece in &root.below {
        match piece {
            Piece::Text(text) => path.push_str(text),
            Piece::Hostname => path.push_str(hostname.as_str()),
            Piece::Metadata(key) => {
                let read = read.get_or_insert_with(|| object(metadata));
                let value = read.get(&**key).and_then(|value| value.as_str());
                let value = value.ok_or_else(|| NoPlace::NoText(key.to_string()))?;
                if !is_name(value) {
                    return Err(NoPlace::Unsafe(key.to_string()));
                }
                path.push_str(value);
            }
        }
    }
    Ok(path)
}

fn object(metadata: Option<&str>) -> serde_json::Map<String, serde_json::Value> {
    metadata.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root(below: Vec<Piece>) -> Root {
        Root { folder: "/srv".into(), below }
    }

    fn by_folder(metadata: &str) -> Result<String, NoPlace> {
        let root = root(vec![Piece::Metadata("folder".into()), Piece::Text("/public".into())]);
        below(&root, &"shop.test".parse().unwrap(), Some(metadata))
    }

    #[test]
    fn placeholders_are_filled_from_the_hostname_and_its_metadata() {
        let name = "shop.test".parse().unwrap();
        assert_eq!(below(&root(vec![]), &name, None), Ok(String::new()));
        let site = root(vec![Piece::Text("site-".into()), Piece::Hostname]);
        assert_eq!(below(&site, &name, None), Ok("site-shop.test".into()));
        assert_eq!(by_folder(r#"{"folder": "cool cats"}"#), Ok("cool cats/public".into()));
    }

    #[test]
    fn metadata_that_is_missing_or_leads_elsewhere_gives_no_folder() {
        for metadata in ["", "{}", "[]", r#"{"folder": 7}"#, r#"{"folder": null}"#, r#"{"Folder": "a"}"#] {
            assert_eq!(by_folder(metadata), Err(NoPlace::NoText("folder".into())), "{metadata}");
        }
        for value in ["", ".", "..", "../other", "a/b", "/etc", ".git", "a\\b", "a\0", "\u{7f}"] {
            let metadata = serde_json::json!({ "folder": value }).to_string();
            assert_eq!(by_folder(&metadata), Err(NoPlace::Unsafe("folder".into())), "{metadata}");
        }
    }

    proptest! {
        #[test]
        fn no_metadata_leads_out_of_the_root(value in "[a./\\\\\u{0}\u{e9} -]{0,6}") {
            if let Ok(path) = by_folder(&serde_json::json!({ "folder": value }).to_string()) {
                let folder = path.strip_suffix("/public").unwrap();
                prop_assert!(!folder.contains(['/', '\\', '\0']) && !folder.starts_with('.') && !folder.is_empty());
            }
        }
    }
}
