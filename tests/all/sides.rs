//! Images that are not as large as was asked for, and what only looks like it.

use chaos::check::Ruling::{Failed, Passed};
use chaos::experiment::JobShape;
use chaos::journal::event::{Answer, Event, JobState, ResultLook};
use chaos::report::result::{self, RunResult};

use crate::common::script::{Script, view};

/// Jobs of these sizes in turn, thirty before the fault and thirty after it, and the sizes of their images.
fn images(asked: &[[u32; 2]], image: impl Fn([u32; 2], bool) -> [u32; 2]) -> RunResult {
    judged("embedded }", asked, image)
}

fn judged(target: &str, asked: &[[u32; 2]], image: impl Fn([u32; 2], bool) -> [u32; 2]) -> RunResult {
    judged_in(30, target, asked, asked, image)
}

fn judged_in(
    before: u32,
    target: &str,
    first: &[[u32; 2]],
    then: &[[u32; 2]],
    image: impl Fn([u32; 2], bool) -> [u32; 2],
) -> RunResult {
    let mut script = Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: {target}\nload: [{{ name: users, users: 1 }}]\nfaults: [{{ flood: {{ at: 40s, jobs: 1 }} }}]\nchecks: [all_jobs_complete: {{ within: 60s }}]\n"
    ));
    for at in 0..60_u32 {
        let t = f64::from(at) + if at < 30 { 1.0 } else { 30.0 };
        if at == 30 {
            script.at(40.0, Event::FaultInjecting { fault: "flood".into(), planned_t: 40.0 });
            script.at(41.0, Event::FaultInjected { fault: "flood".into(), error: None });
            script.at(42.0, Event::FaultOver { fault: "flood".into() });
        }
        let asked = if at < before { first } else { then };
        let [width, height] = asked[at as usize % asked.len()];
        let job = script.submitting(t, "users", JobShape { width, height, ..JobShape::default() });
        script.at(t, Event::Answered { job, answer: Answer::Accepted { id: format!("job-{job}") } });
        script.ends(job, t + 0.5, view(JobState::Completed));
        let size = Some(image([width, height], at >= 30)).filter(|size| *size != NONE);
        let (size, mark) = (size.map(|size| size.map(|side| u16::try_from(side).unwrap())), Some(format!("chaos-{job:016x}")));
        let bytes = u64::from(width) * u64::from(height) / 4;
        let look = ResultLook {
            status: 200,
            bytes,
            digest: u64::from(job),
            kind: "png".into(),
            mark,
            other_mark: None,
            size,
            error: None,
        };
        script.at(t + 0.5, Event::ResultSeen { job, look });
    }
    script.end(200.0);
    result::of(&script.record)
}

/// No image.
const NONE: [u32; 2] = [0, 0];
const SMALL: [u32; 2] = [512, 512];
const LARGE: [u32; 2] = [1024, 1024];
const ODD: [u32; 2] = [1000, 700];
const UNTOLD: &str = "\"http://127.0.0.1:9\", driver: http, with: { path: /x, body: { prompt: \"{{prompt}}\" } } }";

#[test]
fn an_image_that_is_not_what_was_asked_for_is_not_the_jobs() {
    // Of large jobs a quarter of the pixels, after the fault alone or always, and sides that are exchanged.
    for (what, asked, image) in [
        (
            "smaller after the fault",
            &[SMALL, LARGE][..],
            &(|asked: [u32; 2], later| if later { SMALL } else { asked }) as &dyn Fn([u32; 2], bool) -> [u32; 2],
        ),
        ("smaller where it is large, in one of twenty", &[SMALL, SMALL, ODD], &|asked, later| {
            if later && asked == ODD { [504, 352] } else { asked }
        }),
        ("a side exchanged", &[SMALL, ODD], &|[w, h], later| if later { [h, w] } else { [w, h] }),
        ("half of what it was", &[SMALL, LARGE], &|[w, h], later| if later { [w, h] } else { [2 * w, 2 * h] }),
    ] {
        let result = images(asked, image);
        let check = result.checks.iter().find(|check| check.name == "all_jobs_complete").unwrap();
        assert_eq!(check.verdict, Failed, "{what}: {check:?}");
        assert!(result.jobs.mismatched >= 10, "{what}: {:?}", result.jobs);
        assert!(check.evidence.iter().any(|line| line.contains("its image has ")), "{what}: {check:?}");
    }
}

#[test]
fn who_rounds_or_enlarges_or_was_not_asked_gives_what_is_right() {
    let round = |side: u32| side.div_ceil(64) * 64;
    for (what, image) in [
        ("as asked", &(|asked, _| asked) as &dyn Fn([u32; 2], bool) -> [u32; 2]),
        ("rounded up to 64", &|[w, h], _| [round(w), round(h)]),
        ("rounded down to 8", &|[w, h], _| [w / 8 * 8, h / 8 * 8]),
        ("four times as large", &|[w, h], _| [4 * w, 4 * h]),
        ("a preview", &|[w, h], _| [w / 8, h / 8]),
        ("made as large as a model likes it", &|[w, h], _| [w * 13 / 10, h * 13 / 10]),
    ] {
        let result = images(&[SMALL, ODD, LARGE], image);
        let check = result.checks.iter().find(|check| check.name == "all_jobs_complete").unwrap();
        assert_eq!((check.verdict, result.jobs.completed), (Passed, 60), "{what}: {check:?}");
    }
    // The size follows from nothing that was asked for, from the beginning: that is a finding, and no verdict.
    let fixed = images(&[SMALL, ODD, LARGE], |_, _| SMALL);
    let check = fixed.checks.iter().find(|check| check.name == "all_jobs_complete").unwrap();
    assert_eq!(check.verdict, Passed, "{check:?}");
    assert!(
        fixed.findings.iter().any(|told| told.contains("the sizes of 30 images before the first fault do not follow")),
        "{:?}",
        fixed.findings
    );
    // Nothing was seen before the fault: of what is all twice as large nothing can be said.
    let unseen = images(&[SMALL, ODD, LARGE], |[w, h], later| if later { [2 * w, 2 * h] } else { NONE });
    assert_eq!((unseen.jobs.mismatched, unseen.findings.iter().find(|told| told.contains("images"))), (0, None));
    // One size is asked for before the fault and another one after it: what is made as asked, and what is always the same, may be right.
    let later = |of: fn([u32; 2]) -> [u32; 2]| {
        let result = judged_in(30, "embedded }", &[SMALL], &[LARGE], |asked, _| of(asked));
        (result.jobs.mismatched, result.jobs.completed)
    };
    assert_eq!((later(|_| LARGE), later(|_| SMALL), later(|[w, h]| [2 * w, 2 * h])), ((0, 60), (0, 60), (0, 60)));
    assert_eq!(later(|[w, h]| if w > 512 { [w * 3 / 4, h * 3 / 4] } else { [w, h] }), (30, 30), "and this is neither");
    // The driver tells no size.
    let untold = judged(UNTOLD, &[SMALL, LARGE], |asked, later| if later { SMALL } else { asked });
    assert_eq!(untold.jobs.mismatched, 0, "{:?}", untold.jobs);
}
