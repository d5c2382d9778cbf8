//! `chaos plan`: what would happen, without touching anything.

use std::path::PathBuf;

use super::load;
use super::{OutputFormat, complain, print};
use crate::exit::Exit;
use crate::experiment::file::Overrides;
use crate::plan::{Moment, Plan, RuntimePlan, looks};
use crate::secret;
use crate::text::seconds;

/// Print what a run would send, break and touch, and when. Touches nothing.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos plan experiments/gpu-oom.yaml --seed 7")]
pub struct Args {
    /// The experiment.
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args) -> Exit {
    let ready = match load::ready(&args.file, &args.overrides, args.format) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let masked = secret::known().typed(&ready.plan);
    let plan = match masked.and_then(|masked| masked.map_or_else(|| serde_json::to_value(&ready.plan), Ok)) {
        Ok(plan) => plan,
        Err(error) => return complain(Exit::CannotRun, format!("the plan cannot be written: {error}")),
    };
    match args.format {
        OutputFormat::Json => print(&format!("{plan:#}\n")),
        OutputFormat::Text => print(&secret::masked(&text(&ready.plan))),
    }
}

fn text(plan: &Plan) -> String {
    let mut out = format!("{} (seed {})\n", plan.name, plan.seed.0);
    let mut line = |text: String| out.push_str(&format!("{text}\n"));
    let runtime = match &plan.runtime {
        RuntimePlan::Embedded(b) => format!(
            "embedded reference backend, {}× speed, {} slots, {} of simulated VRAM, queue of {}",
            b.speed, b.slots, b.vram, b.queue
        ),
        RuntimePlan::Process(p) => format!("process: {}", p.command.join(" ")),
        RuntimePlan::Docker(d) => format!("{}, at most {}", d.selector(), d.at_most),
        RuntimePlan::None => "nothing that chaos may start or stop".to_owned(),
    };
    line(format!("target   {} through driver {}; {runtime}", plan.url, plan.driver.name));
    if let RuntimePlan::Embedded(b) = &plan.runtime {
        b.defects.iter().for_each(|d| line(format!("defect   {d}: {}", d.about())));
    }
    for (load, forecast) in plan.loads.iter().zip(&plan.forecast.loads) {
        for stage in &load.stages {
            let what = match stage.rate_per_s {
                _ if !load.trace.is_empty() => format!("{} recorded arrivals", load.trace.len()),
                Some(rate) => format!("{rate} jobs/s, {}", load.arrivals),
                None => format!("{} users, thinking {}", stage.users, load.think),
            };
            let until = stage.until_s.map_or_else(|| "until the checks are decided".to_owned(), |u| format!("to {}", seconds(u)));
            line(format!("load     {}: {what}, from {} {until}, following by {}", load.name, seconds(stage.from_s), load.listen));
        }
        if let Some(rate) = forecast.jobs_per_s {
            let total = forecast.jobs.map_or_else(String::new, |n| format!(", about {n:.0} in all"));
            line(format!("         about {rate:.2} jobs/s at most{total}"));
        }
    }
    let looks = looks::of(plan);
    if looks.len() > 1 {
        let told = looks.iter().map(|look| format!("{} ({})", seconds(look.at_s), look.confidence));
        line(format!("looks    whether the load is long enough, and how sure: {}", told.collect::<Vec<_>>().join(", ")));
    }
    for fault in &plan.faults {
        let when = match &fault.moment {
            Moment::At { s } => format!("at {}", seconds(*s)),
            Moment::After { fault, plus_s } => format!("{} after {fault}", seconds(*plus_s)),
            Moment::When { trigger, timeout_s, on_timeout } => {
                format!("when {trigger} (within {}, else {on_timeout})", seconds(*timeout_s))
            }
        };
        line(format!("fault    {} ({}) {when}", fault.name, fault.spec.kind()));
    }
    plan.touches.iter().for_each(|t| line(format!("touches  {t}")));
    plan.guards.iter().for_each(|g| line(format!("guard    {}", g.kind())));
    plan.checks.iter().for_each(|c| line(format!("check    {} ({})", c.name, c.spec.kind())));
    plan.warnings.iter().for_each(|w| line(format!("warning  {w}")));
    out
}
