//! Texts that nobody may see.

use std::fmt;

use zeroize::Zeroizing;

/// A secret from the configuration; `Debug` does not show it, and it is wiped when dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(pub Zeroizing<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
