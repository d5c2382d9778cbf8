//! A restart is clean: the process ends when it is asked to, is soon back, and leaves nothing behind that holds memory.

use super::gpu_level::Levels;
use super::time_to_recover::downtime;
use super::{Check, Verdict, View};
use crate::experiment::units::{Share, WallTime};
use crate::fault::FaultSpec;
use crate::fault::restart::How;
use crate::journal::record::Record;
use crate::record;

record! {
    /// A restart is clean.
    pub struct RestartsCleanly {
        /// From the first refused connection to the first that was taken.
        down_at_most: WallTime = WallTime::secs(30),
        /// GPU memory afterwards, with the same number of jobs at work: at most this share of all of it more than before.
        memory_to_within: Share = Share(0.1),
    }
}

const EXPECTED: &str = "it ends when asked to, is soon back, and leaves nothing behind";

impl Check for RestartsCleanly {
    fn series(&self) -> Vec<String> {
        super::gpu_level::SERIES.map(str::to_owned).into()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        if !record.ended {
            return Verdict::pending(EXPECTED, "the run goes on");
        }
        let asked = graceful(record);
        let ended: Vec<_> = record.generations.iter().filter_map(|g| g.exited.as_ref().map(|e| (g, e))).filter(|(g, _)| record.generations.iter().any(|next| next.number > g.number)).collect();
        if ended.is_empty() {
            return Verdict::inconclusive(EXPECTED, "nothing was restarted");
        }
        let mut wrong = Vec::new();
        for (life, (t, status, by_us)) in &ended {
            if *by_us && asked && status.contains("KILL") {
                wrong.push(format!("process {} did not end when asked to, and was killed at {t:.1} s", life.pid));
            }
        }
        let down = downtime(record);
        if let Some((from, to)) = down
            && to - from > self.down_at_most.as_s()
        {
            wrong.push(format!("down for {:.1} s", to - from));
        }
        if record.generations.last().is_some_and(|g| g.ready_after_s.is_none()) {
            wrong.push("the last process never became ready".to_owned());
        }
        wrong.extend(self.left_behind(record));
        let down = down.map_or_else(|| "no downtime was seen".to_owned(), |(from, to)| format!("down for {:.2} s", to - from));
        let observed = format!("{} restarts, {down}", ended.len());
        let ends = ended.iter().map(|(g, (t, status, _))| format!("process {} ended at {t:.1} s ({status})", g.pid));
        let verdict = if wrong.is_empty() { Verdict::passed(EXPECTED, observed) } else { Verdict::failed(EXPECTED, format!("{observed}: {}", wrong.join("; "))) };
        verdict.measuring(down).with(ends)
    }
}

/// A restart asked the process to end before it killed it.
fn graceful(record: &Record) -> bool {
    let asks = |spec: &FaultSpec| match spec {
        FaultSpec::Restart(restart) => restart.how == How::Graceful,
        FaultSpec::Stop(_) => true,
        _ => false,
    };
    record.plan().faults.iter().any(|f| asks(&f.spec))
}

impl RestartsCleanly {
    /// GPU memory that nobody uses any more.
    fn left_behind(&self, record: &Record) -> Option<String> {
        let levels = Levels::of(record)?;
        (!levels.is_back(self.memory_to_within.0)).then(|| format!("something still holds memory: {}", levels.told()))
    }
}
