//! `docker events --format '{{json .}}'` and `docker inspect`.

use serde_json::Value as Json;

use super::{Fact, Read, What, quote, stamp};

pub fn events(name: &str, text: &str) -> Result<Read, String> {
    let mut read = Read::default();
    let mut events = 0;
    for (at, line) in text.lines().enumerate() {
        let Ok(event) = serde_json::from_str::<Json>(line) else { continue };
        let moment = event.get("timeNano").or_else(|| event.get("time")).and_then(stamp::json);
        let (Some((when, _)), Some(action)) = (moment, event.get("Action").and_then(Json::as_str)) else { continue };
        events += 1;
        if event.get("Type").and_then(Json::as_str).is_some_and(|kind| kind != "container") {
            continue;
        }
        let attribute = |key: &str| event.pointer(&format!("/Actor/Attributes/{key}")).and_then(Json::as_str);
        let what = match action {
            "oom" => What::OomKilled,
            "kill" => What::Ended { killed: matches!(attribute("signal"), Some("9" | "SIGKILL" | "KILL")) },
            // 143 is the end that SIGTERM asked for, and 0 its own.
            "die" => What::Ended { killed: !matches!(attribute("exitCode"), Some("0" | "143")) },
            "start" => What::Started,
            _ => continue,
        };
        let container = attribute("name").unwrap_or("a container");
        read.containers.extend(attribute("name").map(str::to_owned));
        read.facts.push(Fact {
            at: when,
            what,
            source: format!("{name}:{}", at + 1),
            text: quote(&format!(
                "{container}: {action} {}",
                attribute("exitCode").map_or(String::new(), |c| format!("(exit {c})"))
            )),
        });
    }
    if events == 0 {
        return Err(format!("{name}: no event; expected the output of docker events --format '{{{{json .}}}}'"));
    }
    Ok(read)
}

pub fn inspect(name: &str, text: &str) -> Result<Read, String> {
    let value: Json = serde_json::from_str(text).map_err(|e| format!("{name}: not the output of docker inspect: {e}"))?;
    let mut read = Read::default();
    let containers = value.as_array().cloned().unwrap_or_else(|| vec![value]);
    for one in &containers {
        let Some(state) = one.get("State") else {
            return Err(format!("{name}: no `State`; expected the output of docker inspect"));
        };
        let who = one.get("Name").and_then(Json::as_str).unwrap_or("a container").trim_start_matches('/');
        read.containers.insert(who.to_owned());
        let at = |key: &str| state.get(key).and_then(stamp::json).map(|(t, _)| t).filter(|t| t.as_second() > 0);
        let fact = |at, what, text: String| Fact { at, what, source: name.to_owned(), text: quote(&text) };
        let is = |key: &str| state.get(key).and_then(Json::as_bool) == Some(true);
        if let Some(ended) = at("FinishedAt") {
            let exit = state.get("ExitCode").and_then(Json::as_i64).unwrap_or(0);
            // Once it runs again the engine has forgotten with what it ended.
            let runs = is("Running") && !is("Restarting");
            let (what, how) = match (is("OOMKilled"), runs) {
                (true, _) => (What::OomKilled, "out of memory".to_owned()),
                (false, true) => (What::Gone, "with what is not kept".to_owned()),
                (false, false) => (What::Ended { killed: !matches!(exit, 0 | 143) }, format!("with {exit}")),
            };
            read.facts.push(fact(ended, what, format!("{who}: ended, {how}")));
        }
        read.facts.extend(at("StartedAt").map(|at| fact(at, What::Started, format!("{who}: started"))));
        if let Some(limit) = one.pointer("/HostConfig/Memory").and_then(Json::as_u64).filter(|bytes| *bytes > 0) {
            read.doubts.push(format!("{who} had a memory limit of {limit} bytes ({name}): does the target of this experiment?"));
        }
        if let Some(count) = one.get("RestartCount").and_then(Json::as_u64).filter(|n| *n > 1) {
            read.doubts.push(format!(
                "{who} was restarted {count} times ({name}), of which only the last is in there: when were the others?"
            ));
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_inspect_tell_of_deaths() {
        let lines = r#"{"Type":"container","Action":"oom","Actor":{"Attributes":{"name":"gpu"}},"time":1795478401}
{"Type":"container","Action":"die","Actor":{"Attributes":{"name":"gpu","exitCode":"137"}},"time":1795478401,"timeNano":1795478401500000000}
{"Type":"network","Action":"connect","time":1795478402}
{"Type":"container","Action":"start","Actor":{"Attributes":{"name":"gpu"}},"time":1795478402}"#;
        let found: Vec<What> = events("e", lines).unwrap().facts.into_iter().map(|f| f.what).collect();
        assert_eq!(found, [What::OomKilled, What::Ended { killed: true }, What::Started]);
        let text = r#"[{"Name":"/gpu","RestartCount":3,"State":{"OOMKilled":true,"ExitCode":137,"FinishedAt":"2026-11-24T00:00:01.5Z","StartedAt":"2026-11-24T00:00:02Z"},"HostConfig":{"Memory":1073741824}}]"#;
        let read = inspect("i", text).unwrap();
        assert_eq!(read.facts.iter().map(|f| f.what.clone()).collect::<Vec<_>>(), [What::OomKilled, What::Started]);
        assert_eq!(read.doubts.len(), 2, "{:?}", read.doubts);
        let state = |running: bool, restarting: bool, exit: i64| {
            format!(
                r#"{{"State":{{"Running":{running},"Restarting":{restarting},"ExitCode":{exit},"FinishedAt":"2026-11-24T00:00:01Z"}}}}"#
            )
        };
        let end = |text: String| inspect("i", &text).unwrap().facts[0].what.clone();
        assert_eq!(end(state(true, false, 0)), What::Gone);
        assert_eq!(end(state(true, true, 139)), What::Ended { killed: true });
        assert_eq!(end(state(false, false, 0)), What::Ended { killed: false });
        assert!(events("e", "x").is_err() && inspect("i", "{}").is_err());
    }
}
