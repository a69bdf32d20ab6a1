//! Caddy's file storage (certmagic's): `certificates/ISSUER/NAME/NAME.crt`, `.key` and `.json`.

/// Where certificates lie below Caddy's data folder.
pub const FOLDER: &str = "certificates";

/// Caddy's data folders, the first for the service of its packages; `home` is the user's.
pub fn data_folders(home: Option<&str>) -> Vec<String> {
    let service = "/var/lib/caddy/.local/share/caddy".to_owned();
    std::iter::once(service).chain(home.map(|home| format!("{home}/.local/share/caddy"))).collect()
}

/// The name that a folder's certificate is for.
pub fn domain(folder: &str) -> String {
    match folder.strip_prefix("wildcard_.") {
        Some(parent) => format!("*.{parent}"),
        None => folder.to_owned(),
    }
}

/// Whether certificates of this issuer are of Caddy's own authority, which nobody trusts who was not
/// told to.
pub fn is_internal(issuer: &str) -> bool {
    issuer == "local"
}
