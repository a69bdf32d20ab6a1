//! Certificates as an operator brings them: self-signed, in PEM.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SerialNumber, date_time_ymd};

/// A certificate and its key.
pub struct Pair {
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: String,
    /// The serial number, in hex as clients show it.
    pub serial: String,
}

/// A key on P-256.
pub fn p256() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// A key for RSA with 2048 bits.
pub fn rsa() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
}

/// For `names`, valid from 2020 to the first day of `until`.
pub fn pair(names: &[&str], key: &KeyPair, until: i32) -> Pair {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let mut serial = rand::random::<[u8; 8]>();
    // Positive, and its hex form has all its digits.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let certificate = params.self_signed(key).unwrap().pem();
    let serial = serial.iter().map(|octet| format!("{octet:02X}")).collect();
    Pair { certificate, key: key.serialize_pem(), serial }
}

impl Pair {
    /// Both in one text, as haproxy wants them.
    pub fn text(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }

    /// Writes `NAME.pem` and `NAME.key` into `folder`, each over an older one in one step.
    pub fn write(&self, folder: &Path, name: &str) {
        replace(&folder.join(format!("{name}.pem")), &self.certificate);
        replace(&folder.join(format!("{name}.key")), &self.key);
    }
}

/// Puts a file with `text` that only its owner may read in the place of `path`.
pub fn replace(path: &Path, text: &str) {
    use std::io::Write;
    let whole = path.with_extension("new");
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&whole).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    std::fs::rename(&whole, path).unwrap();
}
