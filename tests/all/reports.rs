//! What readers see, pinned: made from a record by hand, so that nothing in it changes from run to run.

use std::path::Path;

use crate::common::script::{Script, view};
use chaos::fault::Observation;
use chaos::journal::event::{Event, JobState, Level, When};
use chaos::report::{self, result, terminal};

/// A run in which one job failed, with something to escape everywhere.
fn script() -> Script {
    let mut script = Script::new("all_jobs_complete: { within: 30s }");
    script.at(0.5, Event::Preflight { what: "target".into(), level: Level::Ok, detail: "embedded is ready".into() });
    for i in 0..4 {
        script.completed(f64::from(i), 0.5);
    }
    script.at(
        19.9,
        Event::FaultObserved { fault: "flood".into(), when: When::Before, observation: Observation::intact("nothing sent") },
    );
    script.fault();
    script.at(
        25.0,
        Event::FaultObserved { fault: "flood".into(), when: When::During, observation: Observation::broken(1.0, "1 sent") },
    );
    let job = script.accepted(26.0);
    let mut failed = view(JobState::Failed);
    failed.error = Some("boom | `x` <b>\u{1b}[31m".into());
    script.ends(job, 27.0, failed);
    script.at(28.0, Event::Sample { values: [("process.rss_bytes".to_owned(), 1e8), ("queue.depth".to_owned(), 2.0)].into() });
    script.at(
        30.0,
        Event::FaultObserved { fault: "flood".into(), when: When::After, observation: Observation::intact("all accounted for") },
    );
    script.end(31.0);
    script
}

#[test]
fn the_end_of_a_run_on_the_terminal() {
    let result = result::of(&script().record);
    insta::assert_snapshot!(terminal::summary(&result, Path::new("reports/r"), false));
}

#[test]
fn markdown_and_junit() {
    let folder = tempfile::tempdir().unwrap();
    report::write_all(&script().record, folder.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    insta::assert_snapshot!("report.md", read("report.md"));
    insta::assert_snapshot!("junit.xml", read("junit.xml"));
}

/// What a hostile target says stands there as text: it makes no link, turns no line around, and breaks no format.
#[test]
fn a_targets_words_stay_text_in_every_report() {
    let mut script = script();
    let job = script.accepted(31.5);
    let mut failed = view(JobState::Failed);
    let evil =
        "see [the fix](https://evil.example/x) ![i](http://evil.example/i.png) \u{202e}gpj.exe \u{fffe}\u{ffff}\u{0} <img src=x>";
    failed.error = Some(evil.into());
    script.ends(job, 32.0, failed);
    script.at(32.0, Event::Broken { reason: evil.into() });
    let folder = tempfile::tempdir().unwrap();
    report::write_all(&script.record, folder.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let (markdown, junit) = (read("report.md"), read("junit.xml"));
    assert!(markdown.contains("the fix") && junit.contains("the fix"));
    for (name, text) in
        [("report.md", &markdown), ("terminal", &terminal::summary(&result::of(&script.record), Path::new("r"), false))]
    {
        assert!(!text.contains('\u{202e}') && !text.contains('\u{fffe}') && !text.contains('\0'), "{name}: {text}");
    }
    assert!(!markdown.contains("https://evil") && !markdown.contains("[the fix]") && !markdown.contains("<img"), "{markdown}");
    // The characters of XML 1.0, production 2.
    let is_xml = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(junit.chars().all(is_xml), "{junit}");
}

/// Every section of the load-testing plan's report template is there, and has something in it.
#[test]
fn every_section_of_the_plans_template_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    report::write_all(&script().record, folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    for section in ["Test Summary", "Performance Results", "Resource Utilization", "Bottlenecks Identified", "Recommendations"] {
        let body = text.split(&format!("## {section}\n")).nth(1).unwrap_or_else(|| panic!("no section {section}"));
        let body = body.split("\n## ").next().unwrap().trim();
        assert!(!body.is_empty() && !body.contains("[X]"), "{section} is empty");
    }
}

#[test]
fn a_report_of_a_long_run_stays_small() {
    let mut script = Script::new("all_jobs_complete: { within: 30s }");
    for i in 0..20_000 {
        let t = f64::from(i) * 0.1;
        script.completed(t, 0.5);
        script.at(
            t,
            Event::Sample {
                values: [("queue.depth".to_owned(), f64::from(i % 13)), ("process.rss_bytes".to_owned(), f64::from(i))].into(),
            },
        );
    }
    script.end(3000.0);
    let folder = tempfile::tempdir().unwrap();
    report::write_all(&script.record, folder.path()).unwrap();
    let size = std::fs::metadata(folder.path().join("report.html")).unwrap().len();
    assert!(size < 2 << 20, "{size} bytes");
}
