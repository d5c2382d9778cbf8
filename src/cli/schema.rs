//! `chaos schema`: JSON Schemas for editors and readers.

use super::{complain, print};
use crate::exit::Exit;
use crate::experiment::schema;
use crate::report::result::RunResult;

/// Print the JSON Schema of a file format.
#[derive(clap::Args)]
#[command(
    after_help = "Example: chaos schema > chaos.schema.json, and in the experiment: # yaml-language-server: $schema=chaos.schema.json"
)]
pub struct Args {
    /// Which format.
    #[arg(value_enum, default_value = "experiment")]
    what: What,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    Experiment,
    Driver,
    Schedule,
    Result,
}

pub fn run(args: Args) -> Exit {
    let schema = match args.what {
        What::Experiment => Ok(schema::experiment()),
        What::Driver => Ok(schema::driver()),
        What::Schedule => Ok(schema::schedule()),
        What::Result => serde_json::to_value(schemars::schema_for!(RunResult)),
    };
    match schema {
        Ok(schema) => print(&format!("{schema:#}\n")),
        Err(error) => complain(Exit::CannotRun, error),
    }
}
