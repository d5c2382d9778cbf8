//! The files that `chaos init` writes.

use super::{Choice, Found, Proposal};

/// Names and texts: the experiment, and a driver where none that is built in fits.
pub fn files(found: &Found, proposal: &Proposal, name: &str) -> Vec<(String, String)> {
    let driver_file = format!("{name}-driver.yaml");
    let mut files = Vec::new();
    let target = match &proposal.choice {
        Choice::File { text, needs } => {
            let head = "# Checked by `chaos validate`, tried by `chaos doctor`; the format stands in docs/drivers.md.\n";
            files.push((driver_file.clone(), format!("{head}{text}")));
            let whys: String = needs.iter().map(|need| format!("  # To be set: {}.\n", need.why)).collect();
            let names: Vec<String> = needs.iter().map(|need| format!("{}: …", need.parameter)).collect();
            let with = if names.is_empty() { String::new() } else { format!("{whys}  # with: {{ {} }}\n", names.join(", ")) };
            format!("  driver: ./{driver_file}\n{with}")
        }
        Choice::BuiltIn { name, with } => {
            let with: String =
                with.as_object().into_iter().flatten().map(|(key, value)| format!("    {key}: {value}\n")).collect();
            let with = if with.is_empty() { String::new() } else { format!("  with:\n{with}") };
            format!("  driver: {name}\n{with}")
        }
    };
    files.push((format!("{name}.yaml"), experiment(found, proposal, name, &target)));
    files
}

fn experiment(found: &Found, proposal: &Proposal, name: &str, target: &str) -> String {
    let url = &found.url;
    let (kind, because) = (proposal.kind, &proposal.because);
    format!(
        r#"# A first experiment for {url}.
# It looks like this kind of backend: {kind} ({because}).
# Try each part with `chaos doctor {name}.yaml`, see what would happen with `chaos plan`, then `chaos run`.
version: 1
name: {name}
target:
{target}  url: {url}
  # What it runs in, and so what can restart it; then the faults `restart`, `kill`, `pause` and others can be used.
  # runtime: {{ docker: {{ container: my-backend }} }}
  # runtime: {{ process: {{ command: [python, server.py] }} }}

# Two users, each waiting for its job before it sends the next.
load:
  - name: users
    users: 2
    think: 1s..3s
    job: {{ width: 512, height: 512 }}

# Jobs without faults first: what recovery is compared with.
baseline: 60s

faults:
  # Five jobs at once. Twenty, as real users do it, once this is green.
  - burst: {{ at: 5s, jobs: 5 }}

checks:
  # Every accepted job ends, once, with its own result.
  - all_jobs_complete: {{ within: 10m }}
  # The queue is empty again.
  - queue_drains: {{ within: 10m }}
  # Refusals say so, and when to come back; nothing that was accepted is dropped.
  - backpressure_is_honest: {{}}
"#
    )
}
