//! The experiment: YAML that says of each line where it was taken from, and asks what could not be known.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use super::timeline::{Incident, Restart};
use super::{Clock, Fact, What};

/// The text of the experiment and of its trace.
#[derive(Debug)]
pub struct Written {
    pub experiment: String,
    pub trace: String,
}

/// Where the trace is, beside the experiment.
pub const TRACE: &str = "arrivals.jsonl";
/// A recovery that takes longer than the incident itself, and this, is none.
const LEAST_PATIENCE_S: f64 = 120.0;
/// More sources than this are counted.
const CITED: usize = 5;

/// Target settings, as they were given.
pub struct Target<'a> {
    pub name: &'a str,
    pub driver: &'a str,
    pub url: &'a str,
}

pub fn write(incident: &Incident, target: &Target<'_>) -> Written {
    let mut doubts = incident.doubts.clone();
    let trace = trace(incident, &mut doubts);
    let mut out = String::new();
    // Writing into a String does not fail, here and below.
    let _ = writeln!(
        out,
        "# Made by `chaos incident` from what was recorded from {} on, {:.0} s long.\n# Times count from there. What follows `from` is the line that it was taken from.",
        incident.begin, incident.lasts_s
    );
    let load = load(incident);
    let faults = faults(incident, &mut doubts);
    let checks = checks(incident);
    if target.url == "embedded" {
        doubts.push("the target is the reference backend: how fast was the real one, with how many slots and how much memory? (`target.backend`)".to_owned());
    }
    let runtime = runtime(incident, target, &mut doubts);
    let _ = writeln!(out, "#\n# Could not be known:");
    for doubt in &doubts {
        let _ = writeln!(out, "#   QUESTION {doubt}");
    }
    let quoted = |text: &str| Json::from(text).to_string();
    let _ = write!(
        out,
        "version: 1\nname: {}\ndescription: {}\nseed: 1\ntarget:\n  driver: {}\n  url: {}\n{runtime}duration: {:.3}s\n{load}{faults}{checks}",
        quoted(target.name),
        quoted(&format!("What was recorded from {} on, again.", incident.begin)),
        quoted(target.driver),
        quoted(target.url),
        incident.lasts_s,
    );
    Written { experiment: out, trace }
}

/// What the target runs in, where something is told of it: only then can it be restarted.
fn runtime(incident: &Incident, target: &Target<'_>, doubts: &mut Vec<String>) -> String {
    let names: Vec<&str> = incident.containers.iter().map(String::as_str).collect();
    match names.as_slice() {
        _ if target.url == "embedded" => String::new(),
        [] if incident.restarts.is_empty() => String::new(),
        [one] => format!("  runtime: {{ docker: {{ container: {} }} }}\n", Json::from(*one)),
        _ => {
            doubts.push(format!(
                "what does the target run in? Without `target.runtime` it cannot be restarted (told of: {})",
                if names.is_empty() { "no container".to_owned() } else { names.join(", ") }
            ));
            String::new()
        }
    }
}

fn trace(incident: &Incident, doubts: &mut Vec<String>) -> String {
    let (mut out, mut sized, mut coarse) = (String::new(), 0, 0);
    for arrival in &incident.arrivals {
        let mut line = Map::from_iter([("at_s".to_owned(), json!((incident.at_s(arrival.at) * 1e3).round() / 1e3))]);
        if let What::Posted(post) = &arrival.what {
            sized += usize::from(!post.job.is_empty());
            coarse += usize::from(post.known_by == Clock::Second);
            line.extend(post.job.clone());
        }
        line.insert("from".to_owned(), arrival.source.clone().into());
        let _ = writeln!(out, "{}", Json::Object(line));
    }
    let all = incident.arrivals.len();
    if sized < all {
        doubts.push(format!(
            "the size of {} of {all} jobs was not recorded: they are of the load's first `job`. How large were they?",
            all - sized
        ));
    }
    if coarse > 0 {
        doubts.push(format!("{coarse} arrivals are known to the second only, and stand evenly in it. Did they come at once?"));
    }
    doubts.push("how did the clients follow their jobs, and did they send refused ones again?".to_owned());
    out
}

fn load(incident: &Incident) -> String {
    let refused = incident
        .arrivals
        .iter()
        .filter(|a| matches!(&a.what, What::Posted(post) if matches!(post.status, Some(429 | 503))))
        .count();
    let refused = if refused > 0 { format!(", {refused} of them refused") } else { String::new() };
    format!("load:\n  # {} arrivals{refused}\n  - {{ name: recorded, trace: {TRACE} }}\n", incident.arrivals.len())
}

fn cite(out: &mut String, indent: &str, facts: &[Fact]) {
    let shown = cited(facts);
    for fact in &shown {
        let _ = writeln!(out, "{indent}# from {}: {}", fact.source, fact.text);
    }
    if facts.len() > shown.len() {
        let _ = writeln!(out, "{indent}# and {} more", facts.len() - shown.len());
    }
}

/// Of many facts those that say most, in their order: the first of every file, then the first of each kind in a file, then
/// the earliest. An engine tells of each process that a kernel killed, and nobody else would be heard beside it.
fn cited(facts: &[Fact]) -> Vec<&Fact> {
    let mut files = BTreeSet::new();
    let mut kinds = Vec::new();
    let mut ranked: Vec<(u8, usize)> = Vec::new();
    for (at, fact) in facts.iter().enumerate() {
        let file = match fact.source.rsplit_once(':') {
            Some((file, line)) if line.bytes().all(|b| b.is_ascii_digit()) => file,
            _ => fact.source.as_str(),
        };
        let kind = (file, std::mem::discriminant(&fact.what));
        let rank = match (files.insert(file), kinds.contains(&kind)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        kinds.push(kind);
        ranked.push((rank, at));
    }
    ranked.sort_unstable();
    ranked.truncate(CITED.max(files.len()));
    ranked.sort_unstable_by_key(|(_, at)| *at);
    ranked.iter().filter_map(|(_, at)| facts.get(*at)).collect()
}

fn faults(incident: &Incident, doubts: &mut Vec<String>) -> String {
    if incident.restarts.is_empty() && incident.drops.is_empty() {
        return "# No restart and no lost connection was recorded.\n".to_owned();
    }
    let mut out = String::from("faults:\n");
    for (at, restart) in incident.restarts.iter().enumerate() {
        let name = format!("restart-{}", at + 1);
        cite(&mut out, "  ", &restart.facts);
        ask_about(restart, &name, doubts);
        let down = restart.until.map_or(0.0, |until| until.duration_since(restart.at).as_secs_f64().max(0.0));
        let how = if restart.asked && !restart.killed { "graceful" } else { "kill" };
        let _ =
            writeln!(out, "  - restart: {{ name: {name}, at: {:.3}s, how: {how}, down: {down:.3}s }}", incident.at_s(restart.at));
    }
    for (at, drop) in incident.drops.iter().enumerate() {
        cite(&mut out, "  ", drop);
        let moment = drop.first().map_or(0.0, |fact| incident.at_s(fact.at));
        let _ = writeln!(out, "  - websocket_drop: {{ name: drop-{}, at: {moment:.3}s, listeners: all }}", at + 1);
    }
    if !incident.drops.is_empty() {
        doubts.push(
            "how did the lost connections end (closed, reset, or silent), and how many were there? (`how`, `listeners`)"
                .to_owned(),
        );
    }
    out
}

fn ask_about(restart: &Restart, name: &str, doubts: &mut Vec<String>) {
    if restart.for_memory {
        doubts.push(format!("{name} was a kill for memory, and is SIGKILL here: what took the memory? (a `memory_limit` would show it in a container)"));
    }
    if restart.end_unknown {
        doubts.push(format!(
            "when exactly did the target end at {name}? Its last sign of life, or its next start, is all that was recorded"
        ));
    }
    if !restart.killed && !restart.asked {
        doubts.push(format!("how did the target end at {name}? It said nothing of it, and is killed here"));
    }
    if restart.until.is_none() {
        doubts.push(format!("when did the target come back after {name}? It is started again at once here"));
    }
}

fn checks(incident: &Incident) -> String {
    let patience = incident.lasts_s.max(LEAST_PATIENCE_S);
    let mut out = format!(
        "checks:\n  - all_jobs_complete: {{ within: {patience:.0}s }}\n  - queue_drains: {{ to: 0, within: {patience:.0}s, load: gone }}\n  - health_is_honest: {{}}\n"
    );
    if incident.restarts.is_empty() {
        out.push_str("  - error_rate: { below: 1% }\n");
    } else {
        // What is sent while the target is away has to fail, and is not what is asked about.
        out.push_str("  - restarts_cleanly: {}\n");
    }
    if !incident.gpu_out_of_memory.is_empty() {
        cite(&mut out, "  ", &incident.gpu_out_of_memory);
        out.push_str("  - oom_outcome: {}\n");
    }
    if !incident.drops.is_empty() {
        out.push_str("  - reconnects: {}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that kills several processes fills no page: whoever else told of it is still named.
    #[test]
    fn of_many_facts_each_file_and_each_kind_is_cited() {
        let fact =
            |what: What, source: &str| Fact { at: jiff::Timestamp::UNIX_EPOCH, what, source: source.into(), text: "x".into() };
        let killed = |line: usize| fact(What::OomKilled, &format!("events.jsonl:{line}"));
        let mut facts: Vec<Fact> = (1..=7).map(killed).collect();
        facts.push(fact(What::Ended { killed: true }, "events.jsonl:8"));
        facts.push(fact(What::OomKilled, "inspect.json"));
        facts.push(fact(What::Started, "events.jsonl:9"));
        let mut out = String::new();
        cite(&mut out, "", &facts);
        let lines = ["events.jsonl:1: x", "events.jsonl:2: x", "events.jsonl:8: x", "inspect.json: x", "events.jsonl:9: x"];
        let expected: String = lines.iter().map(|line| format!("# from {line}\n")).collect();
        assert_eq!(out, expected + "# and 5 more\n");
        // Each file is named, however many there are.
        let many: Vec<Fact> = (0..9).map(|file| fact(What::Started, &format!("{file}.log:1"))).collect();
        assert_eq!((cited(&many).len(), cited(&facts[..3]).len()), (9, 3));
    }
}
