//! Authorities and leafs of the tests' own.

use std::io::Write;
use std::process::{Command, Stdio};

use nameplate::domain::certificate::Certificate;
use nameplate::domain::clock::UnixTime;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

/// 2026-06-01T00:00:00Z: leafs of the tests are valid from 2026-01-01 to 2027-01-01 or later.
pub const NOW: UnixTime = UnixTime(1_780_272_000);

/// Root and intermediate; every one has the same names, and keys of its own.
pub struct Ca {
    pub root: Vec<u8>,
    pub intermediate: Vec<u8>,
    pub issuer: Issuer<'static, KeyPair>,
}

/// A leaf, its key and its CA's intermediate.
pub struct Leaf {
    pub der: Vec<u8>,
    pub key: KeyPair,
    pub intermediate: Vec<u8>,
}

impl Ca {
    pub fn new() -> Self {
        let authority = |name: &str| {
            let mut params = params(&[], 2040);
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        };
        let (root_key, key) = (p256(), p256());
        let root = authority("Root").self_signed(&root_key).unwrap();
        let intermediate =
            authority("Intermediate").signed_by(&key, &Issuer::new(authority("Root"), root_key)).unwrap();
        Self {
            root: root.der().to_vec(),
            intermediate: intermediate.der().to_vec(),
            issuer: Issuer::new(authority("Intermediate"), key),
        }
    }

    /// Valid from 2026 to the first day of `until`.
    pub fn leaf(&self, names: &[&str], until: i32, key: KeyPair) -> Leaf {
        self.sign(params(names, until), key)
    }

    pub fn leaf_from(&self, names: &[&str], from: i32, until: i32) -> Leaf {
        let mut params = params(names, until);
        params.not_before = date_time_ymd(from, 1, 1);
        self.sign(params, p256())
    }

    pub fn sign(&self, params: CertificateParams, key: KeyPair) -> Leaf {
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Leaf { der, key, intermediate: self.intermediate.clone() }
    }
}

impl Leaf {
    /// Leaf and intermediate.
    pub fn chain(&self) -> String {
        [&self.der, &self.intermediate].map(|der| pem_of("CERTIFICATE", der)).concat()
    }

    /// Leaf, intermediate and key.
    pub fn text(&self) -> String {
        self.chain() + &self.key.serialize_pem()
    }

    /// As lua-resty-auto-ssl has it.
    pub fn auto_ssl(&self) -> String {
        serde_json::json!({ "fullchain_pem": self.chain(), "privkey_pem": self.key.serialize_pem(),
            "cert_pem": pem_of("CERTIFICATE", &self.der), "expiry": 1_798_761_600 })
        .to_string()
    }
}

pub fn params(names: &[&str], until: i32) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

pub fn p256() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub fn names(certificates: &[Certificate]) -> Vec<&str> {
    certificates.iter().map(|one| one.name.as_str()).collect()
}

pub fn pem_of(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// What `openssl` prints when it is given `input`.
pub fn openssl(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
