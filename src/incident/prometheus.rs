//! The answer of Prometheus to a range query (`/api/v1/query_range`), as JSON.

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::{Clock, Fact, Post, Read, What, quote, stamp};

type Sample = (Timestamp, f64);

/// More submissions in a second than any generation backend takes.
const MOST_PER_S: f64 = 1_000.0;

/// No experiment has more arrivals: an hour at that rate is more than any generation backend has seen.
const MOST_ARRIVALS: f64 = 1e6;

/// One series, its samples in order.
struct Series<'a> {
    name: &'a str,
    labels: &'a Map<String, Json>,
    samples: Vec<Sample>,
    source: String,
}

pub fn read(name: &str, text: &str) -> Result<Read, String> {
    let expected = || format!("{name}: expected the answer of /api/v1/query_range, with resultType `matrix`");
    let value: Json = serde_json::from_str(text).map_err(|e| format!("{}: {e}", expected()))?;
    let result = value.pointer("/data/result").and_then(Json::as_array).ok_or_else(expected)?;
    let mut read = Read::default();
    for (at, one) in result.iter().enumerate() {
        let labels = one.get("metric").and_then(Json::as_object).ok_or_else(expected)?;
        let values = one.get("values").and_then(Json::as_array).ok_or_else(expected)?;
        let sample = |v: &Json| Some((stamp::json(v.get(0)?)?.0, v.get(1)?.as_str()?.parse().ok()?));
        let series = Series {
            name: labels.get("__name__").and_then(Json::as_str).unwrap_or_default(),
            labels,
            samples: values.iter().filter_map(sample).collect(),
            source: format!("{name}: series {}", at + 1),
        };
        series.tell(&mut read);
    }
    Ok(read)
}

impl Series<'_> {
    fn tell(&self, read: &mut Read) {
        let label = |key: &str| self.labels.get(key).and_then(Json::as_str).unwrap_or_default();
        match self.name {
            "process_start_time_seconds" => self.steps(read, |(_, before), (at, now)| {
                let start = Timestamp::from_millisecond((now * 1e3) as i64).unwrap_or(at);
                (now - before > 0.5).then_some((start, What::Started))
            }),
            // Between two samples it ended, or began: the last at which it was up is its last sign of life.
            "up" => self.steps(read, |(since, before), (at, now)| match (before >= 1.0, now >= 1.0) {
                (true, false) => Some((since, What::LastSign)),
                (false, true) => Some((at, What::Started)),
                _ => None,
            }),
            "websocket_connections_active" => {
                self.steps(read, |(_, before), (at, now)| (before >= 2.0 && now == 0.0).then_some((at, What::Disconnected)));
            }
            name if name.contains("out_of_memory") && !name.contains("created") => {
                self.steps(read, |(_, before), (at, now)| (now > before).then_some((at, What::GpuOutOfMemory)));
            }
            name if name.ends_with("requests_total") && label("method") == "POST" => self.arrivals(read, label("endpoint")),
            _ => {}
        }
    }

    fn fact(&self, at: Timestamp, what: What, text: &str) -> Fact {
        Fact { at, what, source: self.source.clone(), text: quote(&format!("{} {text}", self.name)) }
    }

    /// What each pair of neighbouring samples means, and when that was.
    fn steps(&self, read: &mut Read, mean: impl Fn(Sample, Sample) -> Option<(Timestamp, What)>) {
        for pair in self.samples.windows(2) {
            let text = || format!("{} → {}", pair[0].1, pair[1].1);
            read.facts.extend(mean(pair[0], pair[1]).map(|(at, what)| self.fact(at, what, &text())));
        }
    }

    /// A counter tells how many came between two samples, and no more.
    fn arrivals(&self, read: &mut Read, endpoint: &str) {
        let told_before = read.facts.len();
        for pair in self.samples.windows(2) {
            let ((since, before), (_, now)) = (pair[0], pair[1]);
            // A counter that has fallen began anew.
            let came = if now < before { now } else { now - before };
            let span = pair[1].0.duration_since(since).as_millis_f64();
            // One that is no number, runs backwards in time, or races, counts something else.
            let is_sane = before >= 0.0 && now >= 0.0 && span > 0.0 && came / span * 1e3 <= MOST_PER_S;
            let (seconds, name, source) = (span / 1e3, self.name, &self.source);
            if !is_sane {
                read.doubts.push(format!(
                    "{name} goes from {before} to {now} within {seconds} s, which no server takes ({source}): were there arrivals?"
                ));
                return;
            }
            if read.facts.len() as f64 + came > MOST_ARRIVALS {
                read.doubts.push(format!(
                    "{name} goes from {before} to {now} within {seconds} s ({source}): with what came before, more than {MOST_ARRIVALS} arrivals; those of this series are left out. Export the time of the incident only"
                ));
                return read.facts.truncate(told_before);
            }
            for n in 0..came as u64 {
                let ms = since.as_millisecond() + (span * (n as f64 + 0.5) / came) as i64;
                let at = Timestamp::from_millisecond(ms).unwrap_or(since);
                let post = Post { path: endpoint.to_owned(), job: Map::new(), status: None, known_by: Clock::Counter };
                read.facts.push(self.fact(at, What::Posted(post), &format!("POST {endpoint} {before} → {now}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples that lie years apart make a slow rate of very many.
    #[test]
    fn a_counter_over_years_is_a_doubt_and_no_flood() {
        let text = r#"{"data":{"result":[{"metric":{"__name__":"http_requests_total","method":"POST"},"values":[[17950,"6.4e9"],[1795256145,"2.3e10"]]}]}}"#;
        let read = read("range.json", text).unwrap();
        assert!(read.facts.is_empty() && read.doubts[0].contains("more than 1000000 arrivals"), "{:?}", read.doubts);
    }

    #[test]
    fn changes_of_series_are_facts() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"process_start_time_seconds"},"values":[[1795478400,"1795470000"],[1795478410,"1795478405.5"]]},
            {"metric":{"__name__":"up"},"values":[[1795478400,"1"],[1795478405,"0"],[1795478410,"1"]]},
            {"metric":{"__name__":"gpu_out_of_memory_total"},"values":[[1795478400,"3"],[1795478410,"5"]]},
            {"metric":{"__name__":"http_requests_total","method":"POST","endpoint":"/jobs"},"values":[[1795478400,"10"],[1795478410,"14"]]}]}}"#;
        let mut facts = read("range.json", text).unwrap().facts;
        facts.sort_by_key(|f| f.at);
        let count = |what: &What| facts.iter().filter(|f| f.what == *what).count();
        assert_eq!((count(&What::Started), count(&What::GpuOutOfMemory)), (2, 1));
        let counted: Vec<i64> = facts
            .iter()
            .filter(|f| matches!(&f.what, What::Posted(post) if post.path == "/jobs"))
            .map(|f| f.at.as_millisecond() % 60_000)
            .collect();
        assert_eq!(counted, [1250, 3750, 6250, 8750]);
        assert!(read("x", r#"{"data":{"result":{}}}"#).is_err());
    }

    #[test]
    fn a_counter_of_nonsense_is_a_doubt_and_no_flood() {
        for values in [
            r#"[[1795478400,"10"],[1795478410,"1e300"]]"#,
            r#"[[1795478400,"10"],[1795478410,"NaN"]]"#,
            r#"[[1795478400,"-5"],[1795478410,"4"]]"#,
            r#"[[1795478410,"1"],[1795478410,"4"]]"#,
            r#"[[1795478400,"0"],[1795478410,"900000"]]"#,
        ] {
            let text = format!(
                r#"{{"data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"http_requests_total","method":"POST","endpoint":"/jobs"}},"values":{values}}}]}}}}"#
            );
            let read = read("range.json", &text).unwrap();
            assert_eq!((read.facts.len(), read.doubts.len()), (0, 1), "{values}: {:?}", read.doubts);
        }
    }
}
