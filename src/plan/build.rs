//! Builds the plan and finds what is wrong across fields. Every problem is reported, each at its place.

use std::path::Path;

use super::forecast;
use super::trace;
use super::trigger::Trigger;
use super::{Arrival, CheckPlan, FaultPlan, LoadPlan, Moment, Plan, RuntimePlan, StagePlan};
use crate::backend::config::Embedded;
use crate::driver::{self, Driver, Wanted};
use crate::experiment::decode::At;
use crate::experiment::decode::Decode;
use crate::experiment::diagnostic::{Diagnostics, Span, nearest};
use crate::experiment::file::Loaded;
use crate::experiment::units::{Time, TimeRange};
use crate::experiment::{Arrivals, Baseline, Canary, Effects, Experiment, FaultEntry, Listen, Load, Runtime, Stage, Target};
use crate::secret::{self, Redactor};
use crate::seed::{Seed, draw};
use crate::text::is_http_url;

/// The load name of the jobs before the load.
pub const WARM_UP: &str = "warm-up";
/// Nobody floods a backend with more than this by mistake.
const MOST_USERS: u32 = 10_000;
/// Beyond the longest time that a check may take, for its last look.
const LAST_LOOK_S: f64 = 2.0;
/// More repetitions than this are a typing error.
const MOST_TIMES: u32 = 1_000;

/// Builds the plan of an experiment whose file lies in the folder `beside`. Same experiment and seed, same plan.
/// `None` means that `loaded.diags` says what is wrong.
pub fn build(loaded: &mut Loaded, seed: Seed, beside: &Path) -> Option<Plan> {
    let Loaded { experiment, diags, incomplete, redactor, .. } = loaded;
    let (experiment, incomplete) = (&*experiment, *incomplete);
    let driver = driver(&experiment.target, beside, redactor, diags);
    let runtime = runtime(experiment, diags);
    let loads = loads(experiment, beside, diags);
    let (faults, places): (Vec<FaultPlan>, Vec<Span>) = faults(experiment, seed, incomplete, diags).into_iter().unzip();
    let known: Vec<&str> = loads.iter().map(|load| load.name.as_str()).collect();
    faults.iter().for_each(|fault| known_load(fault.spec.load().filter(|_| !incomplete), &known, diags));
    let checks = checks(experiment, &loads, &faults, incomplete, diags);
    cross_rules(experiment, &runtime, faults.iter().zip(places), diags);
    let names = loads.iter().map(|l| &l.name).chain(faults.iter().map(|f| &f.name)).chain(checks.iter().map(|c| &c.name));
    names_are_shown(experiment, names, diags);
    if !diags.is_empty() {
        return None;
    }
    let mut plan = Plan {
        name: experiment.name.value.clone(),
        description: experiment.description.clone(),
        seed,
        url: experiment.target.url.value.clone(),
        runtime,
        driver: driver?,
        baseline: experiment.baseline,
        duration_s: experiment.duration.as_ref().map(|d| d.as_s()),
        longer_s: experiment.longer.as_s(),
        recover_at_most_s: recover_at_most_s(experiment, &checks),
        time_scale: *experiment.time_scale,
        warm_up: experiment.warm_up,
        sample_every_s: sample_every_s(experiment),
        loads,
        faults,
        guards: experiment.guards.iter().map(|g| g.spec.clone()).collect(),
        checks,
        touches: Vec::new(),
        forecast: forecast::Forecast::default(),
        warnings: Vec::new(),
    };
    plan.touches =
        plan.faults.iter().flat_map(|f| f.spec.touches(&plan).into_iter().map(|what| format!("{}: {what}", f.name))).collect();
    plan.forecast = forecast::of(&plan);
    plan.warnings = forecast::warnings(&plan);
    if !matches!(plan.runtime, RuntimePlan::Embedded(_)) && experiment.target.backend != Embedded::default() {
        plan.warnings.push("target.backend is for the embedded backend only: it is left aside here".to_owned());
    }
    Some(plan)
}

/// Whatever is in the journal goes by its name, which must be there as it is.
fn names_are_shown<'a>(experiment: &'a Experiment, names: impl Iterator<Item = &'a String>, diags: &mut Diagnostics) {
    let secrets = secret::known();
    for name in std::iter::once(&experiment.name.value).chain(names).filter(|name| secrets.holds(name)) {
        diags
            .error(experiment.name.span, format!("the name `{name}` holds a secret"), "names are in every report as they are")
            .help("give another name to what is called so, with `name:`, or another value to the secret");
    }
}

/// As the file says, or as long as the check that may take longest.
fn recover_at_most_s(experiment: &Experiment, checks: &[CheckPlan]) -> f64 {
    let longest = checks.iter().filter_map(|c| c.spec.needs_load()).max().map_or(0.0, |time| time.as_s());
    experiment.recover_at_most.map_or(longest + LAST_LOOK_S, |time| time.as_s())
}

/// A quarter of a second, or at another time scale what five of the file's seconds are, within reason.
fn sample_every_s(experiment: &Experiment) -> f64 {
    let scale = *experiment.time_scale;
    let usual = if scale == 1.0 { 0.25 } else { (5.0 * scale).clamp(0.05, 0.25) };
    experiment.sample_every.map_or(usual, |time| time.as_s().max(0.02))
}

fn driver(target: &Target, beside: &Path, redactor: &mut Redactor, diags: &mut Diagnostics) -> Option<Driver> {
    let wanted = Wanted { name: &target.driver, with: &target.with, beside };
    let driver = driver::find(&wanted, redactor, diags)?;
    if let Some(effects) = driver.effects.as_ref().filter(|_| target.effects != Effects::Allowed) {
        diags
            .error(target.driver.span, format!("jobs of this driver act outside the target: {effects}"), "this driver")
            .help("if that is meant, give `effects: allowed` beside `driver`");
    }
    Some(driver)
}

fn runtime(experiment: &Experiment, diags: &mut Diagnostics) -> RuntimePlan {
    let target = &experiment.target;
    if target.url.value == "embedded" {
        // A name that is nobody's is misspelt, and reported as that.
        let another = driver::BUILT_IN.iter().any(|(name, _)| *name == target.driver.value && *name != "reference");
        if another || target.driver.contains(['/', '.']) {
            diags.error(target.url.span, "only the reference backend can be embedded", "expected a URL for this driver");
        }
        if !matches!(target.runtime, Runtime::Auto) {
            diags.error(target.url.span, "the embedded backend has its own runtime", "with `url: embedded` leave `runtime` out");
        }
        let mut backend = target.backend.clone();
        backend.speed /= *experiment.time_scale;
        if !(0.01..=100_000.0).contains(&backend.speed) || backend.slots == 0 {
            diags.error(
                target.url.span,
                "the embedded backend cannot run like this",
                "expected a speed from 0.01 to 100000 and at least one slot",
            );
        }
        return RuntimePlan::Embedded(backend);
    }
    if !is_http_url(&target.url) {
        diags.error(target.url.span, format!("`{}` is no URL", target.url.value), "expected `embedded` or http://host:port");
    }
    if !target.backend.defects.is_empty() || !target.backend.modes.is_empty() {
        diags.error(target.url.span, "defects and modes are planted in the embedded backend only", "expected `url: embedded`");
    }
    match &target.runtime {
        Runtime::Process(process) if process.command.is_empty() => {
            diags.error(target.url.span, "the process runtime has no command", "expected a program and its arguments");
            RuntimePlan::None
        }
        Runtime::Process(process) => RuntimePlan::Process(process.clone()),
        Runtime::Docker(docker) => {
            docker.validate(docker.span, diags);
            RuntimePlan::Docker(docker.value.clone())
        }
        Runtime::Auto | Runtime::None => RuntimePlan::None,
    }
}

fn loads(experiment: &Experiment, beside: &Path, diags: &mut Diagnostics) -> Vec<LoadPlan> {
    let mut plans: Vec<LoadPlan> = Vec::new();
    for (at, load) in experiment.load.iter().enumerate() {
        let name = load.name.clone().unwrap_or_else(|| if at == 0 { "load".to_owned() } else { format!("load-{}", at + 1) });
        if name == CANARY || name == WARM_UP {
            let label = format!("`{CANARY}` and `{WARM_UP}` are chaos' own");
            diags.error(experiment.name.span, format!("no load can be called `{name}`"), label);
        } else if plans.iter().any(|p| p.name == name) {
            diags.error(experiment.name.span, format!("two loads are called `{name}`"), "expected different names");
        }
        if load.job.is_empty() || load.job.iter().any(|j| j.width == 0 || j.height == 0 || j.batch == 0) {
            diags.error(
                experiment.name.span,
                format!("load `{name}` asks for jobs without pixels"),
                "expected a width, height and batch of at least 1",
            );
        }
        let trace =
            load.trace.as_ref().map_or_else(Vec::new, |file| trace::read(file, load, beside, *experiment.time_scale, diags));
        let stages = stages(load, &name, &trace, experiment.name.span, diags);
        plans.push(LoadPlan {
            name,
            arrivals: load.arrivals,
            think: load.think,
            job: load.job.clone(),
            listen: load.listen,
            stages,
            trace,
            jobs: load.jobs,
            patience_s: load.patience.map(Time::as_s),
        });
    }
    plans.extend(experiment.canary.as_ref().map(|canary| canary_plan(canary, experiment.name.span, diags)));
    plans
}

/// The name of the load that the canary is.
pub const CANARY: &str = "canary";

fn canary_plan(canary: &Canary, place: Span, diags: &mut Diagnostics) -> LoadPlan {
    if canary.every.0.is_zero() {
        diags.error(place, "a canary needs a distance between its jobs", "expected `canary: {every: 10s}`");
    }
    let rate = 1.0 / canary.every.as_s().max(1e-3);
    LoadPlan {
        name: CANARY.to_owned(),
        arrivals: Arrivals::Constant,
        think: TimeRange::exactly(Time::secs(0)),
        job: vec![canary.job.clone()],
        listen: Listen::Poll,
        stages: vec![StagePlan { users: 0, rate_per_s: Some(rate), from_s: 0.0, until_s: None }],
        trace: Vec::new(),
        jobs: None,
        patience_s: None,
    }
}

fn stages(load: &Load, name: &str, trace: &[Arrival], place: Span, diags: &mut Diagnostics) -> Vec<StagePlan> {
    let start = load.start.as_s();
    let until = load.r#for.map(|l| start + l.as_s());
    let given = [load.users.is_some(), load.rate.is_some(), load.stages.is_some(), load.trace.is_some()];
    if given.iter().filter(|g| **g).count() != 1 {
        let span = load.users.as_ref().map(|u| u.span).or(load.rate.as_ref().map(|r| r.span)).unwrap_or(place);
        diags.error(span, format!("load `{name}` must have exactly one of `users`, `rate`, `stages`, `trace`"), "here");
        return Vec::new();
    }
    if let Some(users) = &load.users {
        return vec![StagePlan { users: bounded_users(users, diags), rate_per_s: None, from_s: start, until_s: until }];
    }
    if let Some(rate) = &load.rate {
        return vec![StagePlan { users: 0, rate_per_s: Some(rate.0), from_s: start, until_s: until }];
    }
    if load.trace.is_some() {
        // The moment of the last one is within.
        let last = trace.last().map_or(start, |arrival| start + arrival.at_s + 1e-3);
        let until_s = Some(until.map_or(last, |until| until.min(last)));
        return vec![StagePlan { users: 0, rate_per_s: None, from_s: start, until_s }];
    }
    let mut from = start;
    let steps = load.stages.as_ref().map(|s| (s.span, s.value.as_slice()));
    let (span, steps) = steps.unwrap_or((place, &[]));
    steps.iter().map(|step| one_stage(step, span, &mut from, diags)).collect()
}

fn one_stage(step: &Stage, span: Span, from: &mut f64, diags: &mut Diagnostics) -> StagePlan {
    if step.users.is_some() == step.rate.is_some() {
        diags.error(span, "a stage has either `users` or `rate`", "in these stages");
    }
    let from_s = *from;
    *from += step.r#for.as_s();
    let users = step.users.as_ref().map_or(0, |u| bounded_users(u, diags));
    StagePlan { users, rate_per_s: step.rate.map(|r| r.0), from_s, until_s: Some(*from) }
}

fn bounded_users(users: &At<u32>, diags: &mut Diagnostics) -> u32 {
    if users.value == 0 || users.value > MOST_USERS {
        diags.error(users.span, format!("{} users cannot be", users.value), format!("expected 1 to {MOST_USERS}"));
    }
    users.value
}

fn faults(experiment: &Experiment, seed: Seed, incomplete: bool, diags: &mut Diagnostics) -> Vec<(FaultPlan, Span)> {
    let mut plans: Vec<(FaultPlan, Span)> = Vec::new();
    for entry in &experiment.faults {
        entry.spec.validate(entry.span, diags);
        let wanted = entry.timing.name.as_ref().map_or_else(|| entry.spec.kind().to_owned(), |n| n.value.clone());
        let taken = |name: &str, plans: &[(FaultPlan, Span)]| {
            plans.iter().any(|(p, _)| p.name == name) || experiment.load.iter().any(|l| l.name.as_deref() == Some(name))
        };
        if entry.timing.name.is_some() && taken(&wanted, &plans) {
            diags.error(entry.span, format!("the name `{wanted}` is taken"), "expected different names for faults and loads");
        }
        let first = moment(entry, seed, &wanted, &plans, incomplete, diags);
        let times = repetitions(entry, diags);
        for index in 0..times {
            let name = (0..)
                .map(|n| if n == 0 { wanted.clone() } else { format!("{wanted}-{}", n + 1) })
                .find(|n| !taken(n, &plans))
                .unwrap_or_default();
            let moment = match (&first, &entry.timing.every) {
                (Moment::At { s }, Some(every)) => Moment::At { s: s + f64::from(index) * every.as_s() },
                (first, _) => first.clone(),
            };
            plans.push((FaultPlan { name, moment, spec: entry.spec.clone() }, entry.span));
        }
    }
    plans
}

fn repetitions(entry: &FaultEntry, diags: &mut Diagnostics) -> u32 {
    let timing = &entry.timing;
    match (&timing.every, &timing.times) {
        (None, None) => 1,
        (Some(every), Some(times)) => {
            if timing.when.is_some() || timing.after.is_some() {
                diags.error(every.span, "`every` goes with `at` or `between`", "here");
            }
            if times.value == 0 || times.value > MOST_TIMES {
                diags.error(times.span, format!("{} times cannot be", times.value), format!("expected 1 to {MOST_TIMES}"));
                return 1;
            }
            times.value
        }
        (Some(every), None) => {
            diags.error(every.span, "`every` without `times` has no end", "expected `times: 3` beside it");
            1
        }
        (None, Some(times)) => {
            diags.error(times.span, "`times` without `every`", "expected `every: 30s` beside it");
            1
        }
    }
}

fn moment(
    entry: &FaultEntry,
    seed: Seed,
    name: &str,
    before: &[(FaultPlan, Span)],
    incomplete: bool,
    diags: &mut Diagnostics,
) -> Moment {
    let timing = &entry.timing;
    let given = [timing.at.is_some(), timing.after.is_some(), timing.between.is_some(), timing.when.is_some()];
    if given.iter().filter(|g| **g).count() != 1 {
        diags
            .error(entry.span, "a fault needs exactly one moment", "expected one of `at`, `after`, `between`, `when`")
            .help("for example `at: 10s`");
    }
    if let Some(at) = &timing.at {
        return Moment::At { s: at.as_s() };
    }
    if let Some(range) = &timing.between {
        return Moment::At { s: draw(&mut seed.stream(&format!("fault/{name}/between")), range.value).as_s() };
    }
    if let Some(after) = &timing.after {
        return after_moment(after, before, incomplete, diags);
    }
    if let Some(when) = &timing.when {
        match when.parse::<Trigger>() {
            Ok(trigger) => return Moment::When { trigger, timeout_s: timing.timeout.as_s(), on_timeout: timing.on_timeout },
            Err(reason) => {
                diags.error(when.span, format!("`{}` {reason}", when.value), "expected a condition such as `queue_depth > 5`");
            }
        }
    }
    Moment::At { s: 0.0 }
}

fn after_moment(after: &At<String>, before: &[(FaultPlan, Span)], incomplete: bool, diags: &mut Diagnostics) -> Moment {
    let (name, plus) = after.split_once('+').map_or((after.trim(), None), |(name, plus)| (name.trim(), Some(plus.trim())));
    if !incomplete && !before.iter().any(|(p, _)| p.name == name) {
        let known: Vec<&str> = before.iter().map(|(p, _)| p.name.as_str()).collect();
        let label = if known.is_empty() {
            "there is no fault before this one".to_owned()
        } else {
            format!("expected one of: {}", known.join(", "))
        };
        let error = diags.error(after.span, format!("there is no earlier fault `{name}`"), label);
        if let Some(word) = nearest(name, known) {
            error.help(format!("did you mean `{word}`?"));
        }
    }
    let plus_s = match plus.map(str::parse::<Time>) {
        None => 0.0,
        Some(Ok(time)) => time.scaled(diags.time_scale).as_s(),
        Some(Err(reason)) => {
            diags.error(after.span, format!("`{}`: {reason}", plus.unwrap_or_default()), "expected a time after the `+`");
            0.0
        }
    };
    Moment::After { fault: name.to_owned(), plus_s }
}

fn checks(
    experiment: &Experiment,
    loads: &[LoadPlan],
    faults: &[FaultPlan],
    incomplete: bool,
    diags: &mut Diagnostics,
) -> Vec<CheckPlan> {
    if experiment.checks.is_empty() && diags.is_empty() {
        diags
            .error(experiment.name.span, "there is no check", "an experiment without a check proves nothing")
            .help("add `checks:` with at least one entry");
    }
    let known: Vec<&str> = loads.iter().map(|l| l.name.as_str()).chain(faults.iter().map(|f| f.name.as_str())).collect();
    let mut plans: Vec<CheckPlan> = Vec::new();
    for entry in &experiment.checks {
        entry.spec.validate(entry.span, diags);
        known_load(entry.spec.load().filter(|_| !incomplete), &known, diags);
        let wanted = entry.name.clone().unwrap_or_else(|| entry.spec.kind().to_owned());
        let taken = |name: &str| plans.iter().any(|p| p.name == name);
        if entry.name.is_some() && taken(&wanted) {
            diags.error(entry.span, format!("two checks are called `{wanted}`"), "expected different names");
        }
        let name = (0..)
            .map(|n| if n == 0 { wanted.clone() } else { format!("{wanted}-{}", n + 1) })
            .find(|n| !taken(n))
            .unwrap_or_default();
        plans.push(CheckPlan { name, spec: entry.spec.clone() });
    }
    plans
}

/// Says so where a check or a fault names a load that there is not.
fn known_load(load: Option<&At<String>>, known: &[&str], diags: &mut Diagnostics) {
    let Some(load) = load.filter(|load| !known.contains(&load.as_str())) else { return };
    let label = format!("expected one of: {}", known.join(", "));
    let error = diags.error(load.span, format!("there is no load `{}`", load.value), label);
    if let Some(word) = nearest(load, known.iter().copied()) {
        error.help(format!("did you mean `{word}`?"));
    }
}

/// Rules between the faults, each with its place in the file, and the rest of the experiment.
fn cross_rules<'a>(
    experiment: &Experiment,
    runtime: &RuntimePlan,
    faults: impl Iterator<Item = (&'a FaultPlan, Span)>,
    diags: &mut Diagnostics,
) {
    if experiment.load.is_empty() && experiment.faults.is_empty() {
        diags.error(experiment.name.span, "there is neither load nor a fault", "nothing would be sent to the target");
    }
    let baseline = match experiment.baseline {
        Some(Baseline::Lasts(time)) => time.as_s(),
        _ => 0.0,
    };
    for (plan, place) in faults {
        if plan.spec.needs_process() && matches!(runtime, RuntimePlan::None) {
            diags
                .error(
                    place,
                    format!("`{}` needs a runtime that chaos may touch", plan.spec.kind()),
                    "this target's runtime is `none`",
                )
                .help("use `url: embedded`, or give `runtime: {process: …}` or `runtime: {docker: …}`");
        } else if plan.spec.containers().is_some() && !matches!(runtime, RuntimePlan::Docker(_)) {
            let label = "this target's runtime is another";
            diags
                .error(place, format!("`{}` breaks containers", plan.spec.kind()), label)
                .help("give `runtime: {docker: {container: NAME}}`");
        }
        if let (Moment::At { s }, Some(duration)) = (&plan.moment, &experiment.duration)
            && baseline + s > duration.as_s()
        {
            let label = format!("the load ends at {}", duration.value);
            diags
                .error(place, format!("`{}` comes after the end of the load", plan.name), label)
                .help("make `duration` longer, or leave it out");
        }
    }
}
