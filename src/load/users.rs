//! Sends a load: closed-loop users that wait for their jobs, and open-loop arrivals that wait for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::arrivals;
use super::drive::{After, Client, Shop, mark};
use crate::experiment::{JobShape, Listen};
use crate::plan::{LoadPlan, StagePlan};
use crate::seed::draw;

/// How long a user waits after a refusal that did not say how long, at the least.
const BACK_OFF: Duration = Duration::from_millis(250);

/// Starts every client of a load. `begin` is the moment, on the run's clock, at which the loads start.
pub fn start(shop: &Shop, load: &LoadPlan, begin: f64) {
    let left = Arc::new(AtomicU32::new(load.jobs.unwrap_or(u32::MAX)));
    for (at, stage) in load.stages.iter().enumerate() {
        for user in 0..stage.users {
            let (shop, load, stage, left) = (shop.clone(), load.clone(), stage.clone(), left.clone());
            // A user of a later stage is somebody else: its own name, and its own chances.
            let number = at as u32 * 10_000 + user;
            shop.tasks.clone().spawn(async move { closed_user(shop, load, stage, number, begin, &left).await });
        }
        if !load.trace.is_empty() {
            let (shop, load, stage, left) = (shop.clone(), load.clone(), stage.clone(), left.clone());
            shop.tasks.clone().spawn(async move { recorded(shop, load, stage, begin, &left).await });
        }
        if stage.rate_per_s.is_some() {
            let (shop, load, stage, left) = (shop.clone(), load.clone(), stage.clone(), left.clone());
            shop.tasks.clone().spawn(async move { open_loop(shop, load, stage, at as u32, begin, &left).await });
        }
    }
}

/// One more job may be sent.
fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

/// Jobs of a load one after another, before anything is measured.
pub async fn warm_up(shop: &Shop, load: &LoadPlan, name: &str, jobs: u32) {
    let client = Client::new(shop, name, 0, Listen::Poll);
    let mut shapes = shop.seed.stream(&format!("load/{name}/shape"));
    for index in 0..jobs {
        if shop.stop.is_cancelled() {
            return;
        }
        let shape = pick(&load.job, &mut shapes);
        shop.drive(&client, &shape, &mark(shop.seed, name, 0, index.into()), shop.clock.now_s()).await;
    }
}

async fn closed_user(shop: Shop, load: LoadPlan, stage: StagePlan, number: u32, begin: f64, left: &AtomicU32) {
    let purpose = format!("load/{}/{number}", load.name);
    let (mut shapes, mut thoughts) =
        (shop.seed.stream(&format!("{purpose}/shape")), shop.seed.stream(&format!("{purpose}/think")));
    let mut client = Client::new(&shop, &load.name, number, load.listen);
    client.patience = load.patience_s.map(Duration::from_secs_f64);
    let end = stage.until_s.map_or(f64::INFINITY, |s| begin + s);
    // When the next job is due: what we are late by ourselves is no time of the target's, and no load that it had.
    let mut due = begin + stage.from_s;
    if !wait_until(&shop, due).await {
        return;
    }
    for index in 0.. {
        if shop.stop.is_cancelled() || shop.clock.now_s() >= end || !take(left) {
            break;
        }
        let shape = pick(&load.job, &mut shapes);
        let mark = mark(shop.seed, &load.name, number, index);
        let pause = match shop.drive(&client, &shape, &mark, due).await {
            After::Ended => draw(&mut thoughts, load.think).0,
            After::NotTaken(wait) => draw(&mut thoughts, load.think).0.max(wait.unwrap_or(BACK_OFF)),
            After::RunOver => break,
        };
        due = crate::clock::round_us(shop.clock.now_s() + pause.as_secs_f64());
        if !wait_until(&shop, due).await {
            break;
        }
    }
    client.leave(&shop).await;
}

async fn open_loop(shop: Shop, load: LoadPlan, stage: StagePlan, number: u32, begin: f64, left: &AtomicU32) {
    let purpose = format!("load/{}/open/{number}", load.name);
    let mut shapes = shop.seed.stream(&format!("{purpose}/shape"));
    let mut client = Client::new(&shop, &load.name, number, load.listen);
    client.patience = load.patience_s.map(Duration::from_secs_f64);
    let start = begin + stage.from_s;
    let end = stage.until_s.map_or(f64::INFINITY, |s| begin + s);
    let due = arrivals::moments(stage.rate_per_s.unwrap_or(1.0), load.arrivals, shop.seed.stream(&purpose));
    for (index, offset) in due.enumerate() {
        let intended = start + offset;
        if intended >= end || !wait_until(&shop, intended).await || !take(left) {
            break;
        }
        let shape = pick(&load.job, &mut shapes);
        let mark = mark(shop.seed, &load.name, number, index as u64);
        let (shop, client) = (shop.clone(), client.clone());
        shop.tasks.clone().spawn(async move { shop.drive(&client, &shape, &mark, intended).await });
    }
    client.leave(&shop).await;
}

/// Arrivals as they were recorded, whatever the target does.
async fn recorded(shop: Shop, load: LoadPlan, stage: StagePlan, begin: f64, left: &AtomicU32) {
    let mut client = Client::new(&shop, &load.name, 0, load.listen);
    client.patience = load.patience_s.map(Duration::from_secs_f64);
    let end = stage.until_s.map_or(f64::INFINITY, |s| begin + s);
    for (index, arrival) in load.trace.iter().enumerate() {
        let intended = begin + stage.from_s + arrival.at_s;
        if intended >= end || !wait_until(&shop, intended).await || !take(left) {
            break;
        }
        let mark = mark(shop.seed, &load.name, 0, index as u64);
        let (shop, client, shape) = (shop.clone(), client.clone(), arrival.job.clone());
        shop.tasks.clone().spawn(async move { shop.drive(&client, &shape, &mark, intended).await });
    }
    client.leave(&shop).await;
}

/// False if the load was stopped first.
async fn wait_until(shop: &Shop, t: f64) -> bool {
    tokio::select! {
        biased;
        () = shop.stop.cancelled() => false,
        () = shop.clock.sleep_until(t) => true,
    }
}

/// Draws a shape by weight.
pub fn pick(shapes: &[JobShape], rng: &mut ChaCha8Rng) -> JobShape {
    let total: u32 = shapes.iter().map(|s| s.weight).sum();
    let mut left = if total == 0 { 0 } else { rng.random_range(0..total) };
    for shape in shapes {
        if left < shape.weight {
            return shape.clone();
        }
        left -= shape.weight;
    }
    shapes.first().cloned().unwrap_or_default()
}
