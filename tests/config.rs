//! The configuration: what is refused and with which words, and what is understood.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nameplate::cli::check;
use nameplate::config::{ApprovalUrl, Config, Directory, KeySource, Problems, file, keys};
use tempfile::TempDir;

/// A certificate and a key that nothing here looks into.
const PEM: &str = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n\
                   -----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";

/// The files of `folder` (from the root of this project) that end in `.toml`, sorted.
fn toml_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    files
}

/// A folder with files that only their owner may read.
struct Bed(TempDir);

impl Bed {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn with(self, name: &str, content: &[u8], mode: u32) -> Self {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn parse(&self, text: &str) -> Result<Config, Problems> {
        file::parse_with(text, &self.path("nameplate.toml"), &|_| None)
    }

    /// The problems of `text`, without the folder's name.
    fn problems(&self, text: &str) -> String {
        let problems = self.parse(text).unwrap_err().to_string();
        problems.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn parse(text: &str) -> Result<Config, Problems> {
    Bed::new().parse(text)
}

#[test]
fn every_bad_file_gives_exactly_the_errors_beside_it() {
    let files = toml_files("tests/config/bad");
    assert!(files.len() >= 25, "{}", files.len());
    for path in files {
        let expected = fs::read_to_string(path.with_extension("errors")).unwrap();
        let problems = file::load(&path).expect_err(&path.display().to_string());
        assert_eq!(format!("{problems}\n"), expected, "{}", path.display());
    }
}

#[test]
fn no_problem_shows_a_secret() {
    for path in toml_files("tests/config/bad") {
        let problems = file::load(&path).unwrap_err();
        assert!(!format!("{problems} {problems:?}").contains("s3cret"), "{problems}");
    }
}

/// `text` with its commented-out keys and tables in force: those without a space after the `#`.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with([' ', '#']) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Makes every file that a `*_file` key of `value` names.
fn make_named_files(value: &toml::Value, bed: &Bed) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                match value.as_str() {
                    Some(name) if key.ends_with("_file") => {
                        assert!(Path::new(name).is_relative(), "{name}: a file of an example is beside it");
                        let base64 = ["hmac_key_file", "key_file"].contains(&key.as_str());
                        let content = match key.as_str() {
                            "url_file" => "postgres://nameplate:s3cret@db.example.com/nameplate",
                            _ if base64 => "c2VjcmV0",
                            _ => PEM,
                        };
                        fs::write(bed.path(name), content).unwrap();
                        fs::set_permissions(bed.path(name), fs::Permissions::from_mode(0o600)).unwrap();
                    }
                    _ => make_named_files(value, bed),
                }
            }
        }
        toml::Value::Array(items) => items.iter().for_each(|item| make_named_files(item, bed)),
        _ => {}
    }
}

#[test]
fn every_example_file_loads_as_it_is_and_with_its_commented_lines() {
    let files = toml_files("conf");
    assert!(!files.is_empty());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for text in [text.clone(), uncommented(&text)] {
            let bed = Bed::new();
            make_named_files(&text.parse::<toml::Table>().unwrap().into(), &bed);
            let environment = |_: &str| Some("c2VjcmV0".to_owned());
            let loaded =
                file::parse_with(&text, &bed.path(path.file_name().unwrap().to_str().unwrap()), &environment);
            if let Err(problems) = loaded {
                panic!("{problems}");
            }
        }
    }
}

/// The documentation's tables: each heading's key path with the rows' keys and defaults.
fn documented() -> Vec<(String, Vec<(String, String)>)> {
    let text = fs::read_to_string("docs/configuration.md").unwrap();
    let mut tables: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut headed = 1;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            // A heading of several tables has the rows of each.
            let paths = heading.split('`').skip(1).step_by(2);
            let paths: Vec<&str> = paths.map(|path| path.trim_matches(['[', ']'])).collect();
            let paths = if paths.is_empty() { vec![""] } else { paths };
            headed = paths.len();
            tables.extend(paths.into_iter().map(|path| (path.to_owned(), Vec::new())));
        } else if let Some(row) = line.strip_prefix("| `") {
            let (key, rest) = row.split_once('`').unwrap();
            let default = rest.split('|').nth(2).unwrap().trim().trim_matches('`');
            for (_, rows) in tables.iter_mut().rev().take(headed) {
                rows.push((key.to_owned(), default.to_owned()));
            }
        }
    }
    tables.retain(|(_, rows)| !rows.is_empty());
    tables
}

#[test]
fn the_documentation_has_every_key_and_no_other() {
    let flat = |path: &str, key: &str| format!("{path}.{key}");
    let known: BTreeSet<String> =
        keys::TABLES.iter().flat_map(|(path, keys)| keys.iter().map(move |key| flat(path, key))).collect();
    let listed: Vec<String> = documented()
        .iter()
        .flat_map(|(path, rows)| rows.iter().map(move |(key, _)| flat(path, key)))
        .collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), known);
    assert_eq!(listed.len(), known.len(), "a key is documented twice");
}

#[test]
fn the_documented_defaults_are_those_in_force() {
    let needed = |path: &str| match path {
        "site" => "name = \"default\"\norigins = [\"127.0.0.1:3000\"]\n",
        "authority" => "name = \"own\"\ndirectory = \"internal\"\n",
        "dns_server" => {
            "listen = [\"127.0.0.1:53\"]\nzone = \"acme.test\"\nname_servers = [\"ns.plat.test\"]\n\
             hostmaster = \"hostmaster@acme.test\"\n"
        }
        "bridge.lua_resty_auto_ssl" => "redis = \"redis://127.0.0.1\"\n",
        _ => "",
    };
    let mut given = String::new();
    let mut left_out = String::new();
    for (path, rows) in documented() {
        // No defaults, or none without the whole table.
        let without = ["", "authority.eab", "authority.limits", "certificate", "dns_zone", "platform"];
        if without.contains(&path.as_str()) || ["platform.dns", "site.hsts"].contains(&path.as_str()) {
            continue;
        }
        let repeated = keys::REPEATED.contains(&path.as_str());
        let header = if repeated { format!("[[{path}]]\n") } else { format!("[{path}]\n") };
        given += &format!("{header}{}", needed(&path));
        left_out += &format!("{header}{}", needed(&path));
        for (key, default) in rows {
            let literal = default.starts_with(['"', '[', '{']) || default.parse::<u64>().is_ok();
            if literal || default == "true" || default == "false" {
                given += &format!("{key} = {default}\n");
            }
        }
    }
    let bed = Bed::new();
    let shown =
        |text: &str| format!("{:?}", bed.parse(text).unwrap()).replace("defaulted: true", "defaulted: false");
    assert!(given.contains("handshake_wait"), "{given}");
    assert_eq!(shown(&given), shown(&left_out));
}

#[test]
fn every_known_key_is_read() {
    for (path, keys) in keys::TABLES {
        let (table, child) = path.split_once('.').unwrap_or((path, ""));
        let mut header = match table {
            "" => String::new(),
            table if keys::REPEATED.contains(&table) => format!("[[{table}]]\n"),
            table => format!("[{table}]\n"),
        };
        if !child.is_empty() {
            header += &format!("[{path}]\n");
        }
        for key in *keys {
            let text = format!("{header}{key} = 1979-05-27\n");
            let dotted = if path.is_empty() { (*key).to_owned() } else { format!("{path}.{key}") };
            let line = text.lines().count();
            let problems = parse(&text).expect_err(&text);
            let found = problems.0.iter().any(|problem| problem.key == dotted && problem.line == line);
            assert!(found, "{text}{problems}");
        }
    }
}

#[test]
fn an_empty_file_has_the_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/nameplate"));
    assert_eq!(config.store.key, KeySource::File("/var/lib/nameplate/store.key".into()));
    assert_eq!(config.listen.admin, "127.0.0.1:9443".parse().unwrap());
    assert!(config.listen.http.iter().chain(&config.listen.https).all(|listen| listen.defaulted));
    assert!(config.on_demand.approval.is_none());
    assert!(config.access_log);
}

#[test]
fn what_is_given_is_what_comes_out() {
    let bed = Bed::new().with("hmac", b"c2VjcmU=\n", 0o600).with("cert.pem", PEM.as_bytes(), 0o644).with(
        "key.pem",
        PEM.as_bytes(),
        0o400,
    );
    let text = fs::read_to_string("tests/config/whole.toml").unwrap();
    let config = bed.parse(&text).unwrap();

    assert_eq!(config.data_dir, bed.path("data"));
    assert_eq!(config.store.key, KeySource::File(bed.path("data/store.key")));
    assert!(config.listen.http.is_empty());
    assert!(!config.listen.https[0].defaulted);
    assert_eq!(config.listen.default_certificate.unwrap().key, bed.path("key.pem"));
    assert_eq!(config.listen.https_port, Some(8443));
    let eab = config.authorities[0].eab.as_ref().unwrap();
    assert_eq!((eab.key_id.as_str(), eab.hmac_key.0.as_str()), ("kid", "c2VjcmU"));
    assert_eq!((config.authorities[0].accounts, config.authorities[1].accounts), (100, 1));
    assert_eq!(config.authorities[0].ca_file, Some(bed.path("cert.pem")));
    let lifetime = Duration::from_secs(7 * 86_400);
    assert_eq!(config.authorities[1].directory, Directory::Internal { lifetime });
    assert!(
        matches!(&config.on_demand.approval, Some(ApprovalUrl::Template { after, .. }) if after == "?x=1")
    );
    assert_eq!(config.limits.new_names_per_client.count, 5);
    assert_eq!(config.limits.drain, Duration::ZERO);
    assert_eq!(
        config.dns.resolvers,
        ["192.0.2.53:53".parse().unwrap(), "[2001:db8::53]:5353".parse().unwrap()]
    );
    let server = config.dns_server.as_ref().unwrap();
    assert_eq!(server.zone.as_str(), "acme.example.io");
    assert_eq!((server.listen.len(), server.addresses.len()), (2, 2));
    assert_eq!(server.hostmaster, ("dns.ops".into(), "example.com".parse().unwrap()));
    assert_eq!(server.ttl, Duration::from_secs(86_400));
    assert_eq!(server.queries_per_client.count, 1_000);
    assert!(config.webhooks.allow_private[1].contains("fd00::1".parse().unwrap()));
    assert_eq!(config.webhooks.timeout, Duration::from_secs(5));
    assert_eq!(config.tickets.rotate, Duration::from_secs(2 * 60 * 60));
    let bridge = config.bridge.as_ref().unwrap();
    assert_eq!(*bridge.redis.0, "rediss://:hush@redis.example.net:6380/2");
    assert_eq!((bridge.prefix.as_deref(), bridge.timeout), (Some("auto-ssl"), Duration::from_millis(250)));
    assert!(bridge.write_back && !format!("{bridge:?}").contains("hush"));
    assert_eq!(config.platforms[0].domain.as_str(), "example.io");
    let site = &config.sites[0];
    assert_eq!(site.hostnames[1].as_str(), "*.example.net");
    assert_eq!(site.origins[1].to_string(), "https://[::1]:3443");
    assert!(site.hsts.unwrap().preload);
    assert_eq!(site.timeouts.connect, Duration::from_millis(250));
    assert!(!config.access_log);
}

#[test]
fn a_switched_off_on_demand_asks_nobody_and_needs_no_site() {
    let config = parse("[on_demand]\nenabled = false\napproval = \"https://a.test/{hostname}\"").unwrap();
    assert!(config.on_demand.approval.is_none());
}

#[test]
fn secrets_that_others_can_read_are_refused_with_the_command_that_mends_it() {
    let bed = Bed::new()
        .with("hmac", b"c2VjcmV0", 0o640)
        .with("cert.pem", PEM.as_bytes(), 0o644)
        .with("key.pem", PEM.as_bytes(), 0o604)
        .with("sealing.key", b"AAAA", 0o644);
    let dir = bed.0.path().display().to_string();
    let problems = bed.parse(
        "store.key_file = \"sealing.key\"\n\
         listen = { default_certificate_file = \"cert.pem\", default_certificate_key_file = \"key.pem\" }\n\
         [[authority]]\nname = \"a\"\ndirectory = \"https://a.test/\"\n\
         eab = { key_id = \"k\", hmac_key_file = \"hmac\" }\n",
    );
    let shown = problems.unwrap_err().to_string();
    for (key, name, mode) in [
        ("store.key_file", "sealing.key", "0644"),
        ("listen.default_certificate_key_file", "key.pem", "0604"),
        ("authority.eab.hmac_key_file", "hmac", "0640"),
    ] {
        let line = format!(
            "{key}: {dir}/{name} is open to others than its owner (mode {mode}); chmod 600 {dir}/{name}"
        );
        assert!(shown.contains(&line), "{shown}");
    }
    assert_eq!(shown.lines().count(), 3, "{shown}");
}

#[test]
fn files_that_cannot_be_what_they_should_are_refused() {
    let bed = Bed::new()
        .with("empty", b"\n", 0o600)
        .with("swapped-cert", b"-----BEGIN PRIVATE KEY-----", 0o600)
        .with("swapped-key", b"-----BEGIN CERTIFICATE-----", 0o600)
        .with("binary", b"\xff\xfe", 0o600);
    let shown = bed.problems(
        "listen = { default_certificate_file = \"swapped-cert\", default_certificate_key_file = \"swapped-key\" }\n\
         data_dir = \"empty\"\n\
         store.key_file = \"empty\"\n\
         authority = [\n\
         { name = \"a\", directory = \"https://a.test/\", ca_file = \".\", eab = { key_id = \"k\", hmac_key_file = \"empty\" } },\n\
         { name = \"b\", directory = \"https://b.test/\", eab = { key_id = \"k\", hmac_key_file = \"binary\" } },\n\
         ]\n",
    );
    assert_eq!(format!("{shown}\n"), fs::read_to_string("tests/config/files.errors").unwrap());
}

#[test]
fn a_store_key_that_lies_in_the_data_folder_is_judged_too() {
    let bed = Bed::new().with("store.key", b"AAAA", 0o644);
    let shown = bed.problems("data_dir = \".\"\n");
    assert!(shown.contains("store.key_file: "), "{shown}");
    assert!(shown.contains("; chmod 600 "), "{shown}");
}

#[test]
fn a_secret_comes_from_the_environment_that_is_given() {
    let text = "[[authority]]\nname = \"a\"\ndirectory = \"https://a.test/\"\n\
                eab = { key_id = \"k\", hmac_key_env = \"EAB\" }\n";
    let from = |value: &'static str| {
        file::parse_with(text, Path::new("x.toml"), &move |name| (name == "EAB").then(|| value.to_owned()))
    };
    let config = from("c2VjcmV0\n").unwrap();
    assert_eq!(config.authorities[0].eab.as_ref().unwrap().hmac_key.0.as_str(), "c2VjcmV0");
    assert!(!format!("{config:?}").contains("c2VjcmV0"));
    let shown = from("not base64: s3cret").unwrap_err().to_string();
    assert!(shown.contains("not base64url") && !shown.contains("s3cret"), "{shown}");
    assert!(from("  ").is_err());
}

#[test]
fn sealing_keys_come_from_the_environment_and_are_never_shown() {
    let from = |value: &str| {
        let value = value.to_owned();
        let environment = move |name: &str| (name == "KEY").then(|| value.clone());
        file::parse_with("[store]\nkey_env = \"KEY\"\n", Path::new("x.toml"), &environment)
    };
    let [one, two] = [1, 2].map(|octet| STANDARD.encode([octet; 32]));
    let config = from(&format!("{one} {two}\n")).unwrap();
    assert!(matches!(&config.store.key, KeySource::Environment { name, .. } if name == "KEY"));
    assert!(!format!("{config:?}").contains(&one));
    for wrong in [&one[1..], &format!("{one},{two}"), &STANDARD.encode([1; 31])] {
        let shown = from(wrong).unwrap_err().to_string();
        assert!(shown.contains("x.toml:2:11: store.key_env: the variable holds no sealing key"), "{shown}");
        assert!(!shown.contains(wrong), "{shown}");
    }
}

#[test]
fn a_megabyte_of_junk_is_refused_in_few_words() {
    const MEGABYTE: usize = 1 << 20;
    let repeated = |piece: &str| piece.repeat(MEGABYTE / piece.len());
    let mut state = 1u32;
    let mut octet = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(state >> 25).unwrap()
    };
    let random: String = (0..MEGABYTE).map(|_| char::from(octet())).collect();
    let unknown: String = (0..MEGABYTE / 16).map(|number| format!("k{number} = 1\n")).collect();
    let key = format!("{} = 1", repeated("a"));
    for junk in [random, unknown, key, repeated("a"), repeated("["), repeated("=\n"), repeated("\0")] {
        let problems = parse(&junk).unwrap_err();
        assert!(problems.0.len() <= 101, "{}", problems.0.len());
        assert!(problems.to_string().len() < 64 * 1024);
    }
}

#[test]
fn a_file_that_is_none_is_a_problem_of_the_whole_file() {
    let bed = Bed::new();
    for (name, what) in [("missing.toml", "No such file"), (".", "directory")] {
        let problems = file::load(&bed.path(name)).unwrap_err().to_string();
        assert!(problems.contains(":1:1: it cannot be read: "), "{problems}");
        assert!(problems.contains(what), "{problems}");
    }
}

#[test]
fn check_prints_problems_or_a_summary() {
    let said = |name: &str| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = check::Args { config: Some(name.into()) };
        let ok = check::check(&args, &mut out, &mut err).unwrap();
        (ok, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (ok, out, err) = said("conf/development.toml");
    assert!(ok && err.is_empty(), "{err}");
    assert!(out.starts_with("conf/development.toml: ok\n"), "{out}");
    assert!(out.lines().count() < 24, "{out}");

    let (ok, out, err) = said("tests/config/bad/several-tables.toml");
    assert!(!ok && out.is_empty(), "{out}");
    assert_eq!(err, fs::read_to_string("tests/config/bad/several-tables.errors").unwrap());
}
