//! The JSON Schema of the experiment and driver files, made from the types that read them.

use serde_json::{Value as Json, json};

use super::Experiment;
use super::decode::Decode;

/// The schema that an editor uses for experiments.
pub fn experiment() -> Json {
    headed(Experiment::schema(), "chaos experiment")
}

/// The schema that an editor uses for drivers.
pub fn driver() -> Json {
    headed(crate::driver::Driver::schema(), "chaos driver")
}

/// The schema that an editor uses for schedules.
pub fn schedule() -> Json {
    headed(crate::schedule::file::ScheduleFile::schema(), "chaos schedule")
}

fn headed(mut schema: Json, title: &str) -> Json {
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema["type"] = json!("object");
    schema
}
