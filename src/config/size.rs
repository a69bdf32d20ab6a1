//! Sizes as people write them: `"64KiB"`, `"512MiB"`, `"2GiB"`.

use super::place::{Wrong, quoted};

const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a size in octets; `"0"` is zero.
pub(super) fn parse(text: &str) -> Result<u64, Wrong> {
    read(text).ok_or_else(|| {
        let what = format!("{} is not a size", quoted(text));
        Wrong::new(what, "write a whole number and KiB, MiB or GiB, as in \"512MiB\", or \"0\"")
    })
}

fn read(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, unit)))?;
    let digits = !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(*unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_or_are_zero() {
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("64KiB"), Some(65_536));
        assert_eq!(read("2GiB"), Some(2_147_483_648));
        for text in ["", "1", "MiB", "1 MiB", "+1MiB", "-1MiB", "1.5GiB", "1MB", "99999999999999999999GiB"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
