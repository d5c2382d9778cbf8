use serde::{Deserialize, Serialize};

use super::lines::Lines;
use super::*;

const HARD: &str = "a+b/c=d&e%f\"g'h<i>j\\k lü";

fn redactor(secret: &str) -> Redactor {
    let mut redactor = Redactor::default();
    redactor.put(secret);
    redactor
}

fn gone(secret: &str, text: &str) {
    let masked = redactor(secret).text(&format!("before {text} after"));
    assert_eq!(masked, "before *** after", "{text}");
}

#[test]
fn every_encoding_of_a_secret_is_masked_whole() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let form: String = url::form_urlencoded::byte_serialize(HARD.as_bytes()).collect();
    let strict = percent_encoding::utf8_percent_encode(HARD, percent_encoding::NON_ALPHANUMERIC).to_string();
    let json = serde_json::to_string(HARD).unwrap().trim_matches('"').to_owned();
    let html = html_escape::encode_safe(HARD).into_owned();
    gone(HARD, HARD);
    gone(HARD, &form);
    gone(HARD, &strict);
    gone(HARD, &strict.to_ascii_lowercase().replace("lu%cc%88", "l%c3%bc"));
    gone(HARD, &form.to_ascii_lowercase());
    gone(HARD, "a+b/c=d&e%25f%22g'h%3Ci%3Ej\\k%20l%C3%BC");
    gone(HARD, &json);
    gone(HARD, &json.replace('/', "\\/").replace('ü', "\\u00fc").replace('<', "\\u003C"));
    let nested = serde_json::to_string(&json).unwrap();
    gone(HARD, &nested[1..nested.len() - 1]);
    gone(HARD, &html);
    gone(HARD, &html_escape::encode_quoted_attribute(&html));
    gone(HARD, "a&#43;b&sol;c&equals;d&amp;e&percnt;f&quot;g&#39;h&lt;i&gt;j&bsol;k l&uuml;");
    gone(HARD, STANDARD.encode(HARD).trim_end_matches('='));
    gone(HARD, &URL_SAFE_NO_PAD.encode(HARD));
    gone(HARD, &format!("{HARD:?}")[1..format!("{HARD:?}").len() - 1]);
    gone(HARD, "a+b/c=d&e%f\"g\\'h<i>j\\\\k l\\xc3\\xbc");
    gone(HARD, &HARD.bytes().map(|b| format!("{b:02x}")).collect::<String>());
    gone(HARD, &HARD.bytes().map(|b| format!("%{b:02X}")).collect::<String>());
    gone(HARD, &HARD.bytes().map(|b| format!("\\{b:03o}")).collect::<String>());
    gone(HARD, &HARD.replace('\'', "'\\''"));
    gone(HARD, &HARD.replace('"', "\"\""));
}

#[test]
fn a_secret_within_longer_base64_is_masked_at_each_of_its_three_places() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let secret = "s3cr3t+/token";
    for head in ["", "u", "us", "use", "user:"] {
        for tail in ["", "x", "xy", "xyz"] {
            for text in [STANDARD.encode(format!("{head}{secret}{tail}")), URL_SAFE.encode(format!("{head}{secret}{tail}"))] {
                let masked = redactor(secret).text(&format!("Basic {text}"));
                let left = masked.strip_prefix("Basic ").unwrap().replace(MASK, "").replace('=', "");
                assert!(masked.contains(MASK) && left.len() <= (head.len() + tail.len()) * 4 / 3, "{masked} of {text}");
            }
        }
    }
}

#[test]
fn secrets_that_overlap_are_all_masked() {
    let mut redactor = redactor("abcdef-1");
    redactor.put("def-123456");
    assert_eq!(redactor.text("x abcdef-123456 y"), "x *** y");
    redactor.put("abcdef-123456-and-more");
    assert_eq!(redactor.text("abcdef-123456-and-more abcdef-1"), "*** ***");
}

#[test]
fn a_short_one_is_masked_as_it_is_and_nothing_else_is_touched() {
    let redactor = redactor("ab");
    assert_eq!(redactor.text("ab YWI= 6162 %61%62"), "*** YWI= 6162 ***");
    assert_eq!(Redactor::default().text("ab"), "ab");
}

#[test]
fn each_line_of_a_long_secret_is_a_secret() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n";
    assert_eq!(redactor(key).text("read MIIEvQIBADANBg"), "read ***");
    gone(key.trim_end(), &serde_json::to_string(key.trim_end()).unwrap().replace('"', ""));
}

#[test]
fn hostile_texts_cost_little_and_change_nothing() {
    let redactor = redactor(HARD);
    for text in
        ["%", "%4", "&", "&#", "&#x;", "\\", "\\u", "\\ud83d", "\\ud83d\\u0041", "\\u{", "\\x", "''", "%%%%", "\\\\\\", "ü%ü"]
    {
        assert_eq!(redactor.text(text), text);
    }
    let long = "%25\\u005c&amp;''".repeat(5_000);
    assert_eq!(redactor.text(&long), long);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Word {
    #[serde(rename = "completed")]
    Completed,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Data {
    detail: String,
    #[serde(default)]
    reason: Option<String>,
    state: Word,
    more: std::collections::BTreeMap<String, f64>,
}

#[test]
fn words_of_the_format_stay_and_what_is_from_outside_is_masked() {
    let data = |detail: &str, key: &str| Data {
        detail: detail.to_owned(),
        reason: Some(detail.to_owned()),
        state: Word::Completed,
        more: [(key.to_owned(), 0.1)].into(),
    };
    for secret in ["detail", "reason", "completed", "shibboleth"] {
        let masked = redactor(secret).typed(&data(&format!("it is {secret}!"), secret)).unwrap().unwrap();
        let read: Data = serde_json::from_value(masked).unwrap();
        assert_eq!(read, data("it is ***!", "***"), "{secret}");
    }
    assert_eq!(redactor("nowhere").typed(&data("x", "y")).unwrap(), None);
}

#[test]
fn lines_are_masked_across_pieces_and_before_they_are_cut() {
    let whole = format!("one {HARD} two\nnothing\n{}{HARD}{}\nlast {HARD}", "x".repeat(30), "y".repeat(500));
    for size in [1, 2, 3, 7, 64, 1_000] {
        let mut lines = Lines::of(40, || redactor(HARD));
        let mut seen = Vec::new();
        for piece in whole.as_bytes().chunks(size) {
            lines.take(piece, |line| seen.push(line.to_owned()));
        }
        lines.finish(|line| seen.push(line.to_owned()));
        let long = format!("{}***", "x".repeat(30));
        assert_eq!(seen, ["one *** two", "nothing", long.as_str(), "last ***"], "pieces of {size}");
    }
}

#[test]
fn a_carriage_return_ends_a_line_where_a_terminal_is_meant() {
    let whole = "one\r\ntwo\n\nthree\r 10 %\r 20 % an error\nlast\r";
    for size in 1..whole.len() {
        let all = |mut lines: Lines| {
            let mut seen = Vec::new();
            whole.as_bytes().chunks(size).for_each(|piece| lines.take(piece, |line| seen.push(line.to_owned())));
            lines.finish(|line| seen.push(line.to_owned()));
            seen
        };
        let none = || redactor(HARD);
        assert_eq!(
            all(Lines::of(40, none).at_returns()),
            ["one", "two", "", "three", " 10 %", " 20 % an error", "last"],
            "{size}"
        );
        assert_eq!(all(Lines::of(40, none)), ["one", "two", "", "three\r 10 %\r 20 % an error", "last"], "{size}");
    }
}

#[test]
fn no_head_of_a_secret_stays_wherever_a_long_line_is_cut() {
    for before in 0..60 {
        let mut lines = Lines::of(40, || redactor(HARD));
        let coded: String = url::form_urlencoded::byte_serialize(HARD.as_bytes()).collect();
        let text = format!("{}{coded}{}\n", "x".repeat(before), coded.repeat(30));
        lines.take(text.as_bytes(), |line| assert!(line.chars().all(|c| "x*".contains(c)), "{line}"));
    }
}

#[test]
fn each_line_of_a_secret_is_one_whatever_ends_it() {
    for secret in ["first-part\nother-part", "first-part\rother-part", "first-part\r\nother-part"] {
        let masked = redactor(secret);
        assert_eq!(masked.text("a other-part z first-part"), "a *** z ***", "{secret:?}");
    }
}
