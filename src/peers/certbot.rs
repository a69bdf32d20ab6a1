//! certbot's folder: `live/NAME/{fullchain,privkey}.pem`, which are links into `archive/`, and
//! `renewal/NAME.conf`, by which it renews.

use super::Error;

/// Where the newest certificates lie.
pub const LIVE: &str = "live";
/// Where it is written how to renew them.
pub const RENEWAL: &str = "renewal";
/// Leaf and chain, in a folder of [`LIVE`].
pub const CHAIN: &str = "fullchain.pem";
/// The private key, beside [`CHAIN`].
pub const KEY: &str = "privkey.pem";

/// How certbot renews one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Renewal {
    /// Its plugin that answers challenges, such as `standalone`.
    pub authenticator: String,
    /// Whether it renews by itself.
    pub automatic: bool,
}

impl Renewal {
    /// Reads `renewal/NAME.conf`, whose name is `file`.
    pub fn read(file: &str, text: &str) -> Result<Self, Error> {
        let broken = |why: &str| Error::Renewal { file: file.to_owned(), why: why.to_owned() };
        let mut section = "";
        let (mut paths, mut authenticator, mut automatic) = (0, None, true);
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix('[') {
                section = rest.trim_end_matches(']');
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
                continue;
            };
            match (section, key.trim(), value.trim()) {
                ("", "cert" | "privkey" | "chain" | "fullchain", path) if !path.is_empty() => paths += 1,
                ("renewalparams", "authenticator", name) => authenticator = Some(name.to_owned()),
                ("renewalparams", "autorenew", value) => automatic = !value.eq_ignore_ascii_case("false"),
                _ => {}
            }
        }
        if paths < 4 {
            return Err(broken("does not name cert, privkey, chain and fullchain"));
        }
        let authenticator = authenticator.filter(|name| !name.is_empty() && name != "None");
        let authenticator = authenticator.ok_or_else(|| broken("names no authenticator"))?;
        Ok(Self { authenticator, automatic })
    }
}
