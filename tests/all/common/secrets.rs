//! Twenty secrets, how others write them, and what finds any of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::chaos;

/// Their characters come out differently in each encoding.
pub const SECRETS: [&str; 20] = [
    "p4ss/w+rd=01&x%y?",
    "quo\"te'd<secret>02",
    "back\\slash\\n-03-\\u0041",
    "a space in it, 04",
    "üñïçødé-geheim-05",
    "k9#Zq!",
    "sk-07-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
    "-----BEGIN KEY-----\nMIIEvQ08IBADANBgkq+hkiG9w0B\nAQEFAASC/BKcwggSjAgEAAoIB\n-----END KEY-----",
    "%41%42-literal-09%zz",
    "&amp;literal&#49;0;",
    "Bearer+abc/def==11",
    "6f1c1e0a-12aa-4bd8-9c3e-0d5a12f0c112",
    "a b+c%20d+13",
    "🔑-key-of-fourteen",
    "{\"json\": [15, \"x\"]}",
    "'; DROP TABLE t16; --",
    "$HOME`id`$(id)17!",
    "tab\tin-it-18",
    "==/+padded+/19==",
    "UPPER-and-lower-20",
];

fn name(at: usize) -> String {
    format!("SWEEP_SECRET_{at:02}")
}

/// The program under test with all of them in its environment.
pub fn program(state: &Path) -> Command {
    let mut command = chaos();
    command.env("CHAOS_STATE_DIR", state).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(SECRETS.iter().enumerate().map(|(at, secret)| (name(at), secret)));
    command
}

/// How others write a secret. None of this is the program's own code.
fn encodings(secret: &str) -> Vec<String> {
    let strict = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let json = serde_json::to_string(secret).unwrap();
    let utf16 = secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let numeric: String = secret.chars().map(|c| format!("&#x{:X};", u32::from(c))).collect();
    let nested = serde_json::to_string(&json).unwrap();
    vec![
        secret.to_owned(),
        strict.to_ascii_lowercase_hex(),
        strict,
        url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        json[1..json.len() - 1].to_owned(),
        json[1..json.len() - 1].replace('/', "\\/"),
        nested[3..nested.len() - 3].to_owned(),
        utf16,
        html_escape::encode_safe(secret).into_owned(),
        numeric,
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        STANDARD.encode(format!("user:{secret}")),
        URL_SAFE.encode(format!("u:{secret}:x")),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
        format!("{secret:?}").trim_matches('"').to_owned(),
    ]
}

trait LowercaseHex {
    fn to_ascii_lowercase_hex(&self) -> String;
}

impl LowercaseHex for String {
    /// `%C3` as `%c3`, and nothing else.
    fn to_ascii_lowercase_hex(&self) -> String {
        let mut parts = self.split('%');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| format!("{text}%{}{}", part[..2].to_ascii_lowercase(), &part[2..]))
    }
}

/// Every form, in an order that puts each of them into every position sooner or later.
pub fn forms() -> Vec<String> {
    let all: Vec<Vec<String>> = SECRETS.iter().map(|secret| encodings(secret)).collect();
    (0..all[0].len()).flat_map(|form| all.iter().map(move |forms| forms[form].clone())).collect()
}

/// What finds a secret in anything: every form, and of Base64 and of long ones any part that tells something.
pub struct Detector(AhoCorasick, Vec<String>);

impl Detector {
    pub fn new() -> Self {
        let mut texts = forms();
        for secret in SECRETS {
            texts.extend(secret.lines().filter(|line| line.len() >= 12).map(str::to_owned));
            // A head that was left by a cut.
            let head: String = secret.chars().take(10).collect();
            texts.extend(Some(head).filter(|head| head.len() >= 8));
        }
        texts.sort();
        texts.dedup();
        Self(AhoCorasick::new(&texts).unwrap(), texts)
    }

    pub fn check(&self, place: &str, bytes: &[u8]) {
        if let Some(hit) = self.0.find(bytes) {
            let around = &bytes[hit.start().saturating_sub(80)..(hit.end() + 80).min(bytes.len())];
            let found = &self.1[hit.pattern().as_usize()];
            panic!("{place} holds {found:?} in {:?}", String::from_utf8_lossy(around));
        }
    }

    pub fn check_output(&self, what: &str, output: &Output) {
        self.check(&format!("standard output of {what}"), &output.stdout);
        self.check(&format!("standard error of {what}"), &output.stderr);
    }

    /// Every file below, and what it and its folder are called; how many there were.
    pub fn check_folder(&self, folder: &Path) -> usize {
        let files = files(folder);
        for path in &files {
            match std::fs::read(path) {
                // One that is there for a moment only, as those of a database.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                read => self.check(&path.display().to_string(), &read.unwrap()),
            }
        }
        files.len()
    }

    /// The command lines of every process that has this state folder in its environment.
    pub fn check_processes(&self, state: &Path) -> usize {
        let mark = format!("CHAOS_STATE_DIR={}", state.display());
        let is_ours = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
        };
        let ours = chaos::observe::procfs::pids().filter(is_ours);
        ours.inspect(|pid| self.check("a command line", &std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()))
            .count()
    }
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

pub fn quoted(at: usize) -> String {
    format!("\"${{secret:{}}}\"", name(at))
}
