//! A job as the backend keeps it and as it tells clients about it.

use serde::{Deserialize, Serialize};

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub width: u32,
    pub height: u32,
    #[serde(default = "one")]
    pub batch: u32,
    /// The client's own mark; it comes back inside the result.
    #[serde(default)]
    pub mark: String,
    #[serde(default)]
    pub seed: u64,
}

fn one() -> u32 {
    1
}

impl Request {
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// # Errors
    /// What is wrong with the request, for a 422.
    pub fn validate(&self) -> Result<(), String> {
        let side = 32..=4096;
        if !side.contains(&self.width) || !side.contains(&self.height) {
            return Err(format!("width and height must lie in 32..=4096, not {}x{}", self.width, self.height));
        }
        if self.batch == 0 || self.batch > 64 {
            return Err(format!("batch must lie in 1..=64, not {}", self.batch));
        }
        if self.mark.len() > 256 {
            return Err("mark is longer than 256 bytes".to_owned());
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl State {
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What clients see of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub id: String,
    pub status: State,
    /// 0 to 100.
    pub progress: f64,
    pub stage: String,
    pub attempts: u32,
    pub batch_size: u32,
    /// The model had to be loaded for this job.
    pub cold: bool,
    pub error: Option<String>,
    pub result: Option<String>,
    pub completions: u32,
}

impl View {
    pub fn new(id: &str, batch: u32) -> Self {
        Self {
            id: id.to_owned(),
            status: State::Queued,
            progress: 0.0,
            stage: "queued".to_owned(),
            attempts: 0,
            batch_size: batch,
            cold: false,
            error: None,
            result: None,
            completions: 0,
        }
    }
}

/// Why a submission was refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    Invalid(String),
    QueueFull {
        retry_after_s: u64,
    },
    /// An error where a refusal should be.
    Broken,
    /// It has been started and is not ready yet.
    Starting,
    ShuttingDown,
}
