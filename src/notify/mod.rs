//! Who is told, and how. A new way to tell is one file here, one field of [`Notify`] and one line of [`Notify::channel`].

mod command;
mod email;
mod slack;
mod webhook;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::driver::template::{self, Fill};
use crate::experiment::decode::At;
use crate::experiment::diagnostic::Diagnostics;
use crate::text::is_http_url;
use crate::{record, words};

/// Nobody waits longer than this to be told.
const SEND_WITHIN: Duration = Duration::from_secs(30);

words! {
    /// Why somebody is told.
    pub enum Occasion("occasion") {
        /// A check failed that did not fail before.
        Failure = "failure",
        /// Nothing failed, and nothing was proven.
        Inconclusive = "inconclusive",
        /// It could not start, took too long, was aborted, or broke off.
        Error = "error",
        /// Something could not be put back.
        LeftBroken = "left_broken",
        /// It passes again.
        Recovery = "recovery",
        /// There was no verdict for too long.
        Silence = "silence",
        /// Nothing has happened: somebody wants to see whether telling works.
        Test = "test",
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same for the same event, however often it is sent.
    pub id: String,
    pub occasion: Occasion,
    pub entry: String,
    /// One sentence.
    pub text: String,
    pub outcome: String,
    pub exit_code: Option<u8>,
    pub due: Option<String>,
    pub ended: Option<String>,
    /// The run's folder.
    pub run: Option<String>,
    pub run_id: Option<String>,
}

impl Notice {
    /// For trying a channel.
    pub fn of_no_occasion(channel: &str, now: Timestamp) -> Self {
        Self {
            id: format!("chaos-test-{channel}-{}", now.as_millisecond()),
            occasion: Occasion::Test,
            entry: "none".to_owned(),
            text: format!("this is a test of the channel {channel}: nothing has happened"),
            outcome: "passed".to_owned(),
            exit_code: None,
            due: None,
            ended: None,
            run: None,
            run_id: None,
        }
    }
}

record! {
    /// Somebody who is told.
    pub struct Notify {
        /// A name for this channel.
        name: At<String>,
        /// Of what.
        on: Vec<Occasion> = vec![Occasion::Failure, Occasion::Error, Occasion::LeftBroken, Occasion::Recovery, Occasion::Silence],
        /// Of these entries only.
        only: Vec<String> = Vec::new(),
        /// An HTTP POST of JSON, signed.
        webhook: Option<webhook::Webhook> = None,
        /// A message as Slack, Mattermost and Rocket.Chat take it.
        slack: Option<slack::Slack> = None,
        /// A mail over SMTP.
        email: Option<email::Email> = None,
        /// A program.
        command: Option<command::Command> = None,
    }
}

/// A way to tell.
#[async_trait]
pub trait Channel: Send + Sync {
    /// # Errors
    /// A sentence; it will be tried again.
    async fn send(&self, notice: &Notice) -> Result<(), String>;

    /// What is wrong with the settings.
    fn wrong(&self) -> Option<String> {
        None
    }
}

impl Notify {
    pub fn wants(&self, notice: &Notice) -> bool {
        self.on.contains(&notice.occasion) && (self.only.is_empty() || self.only.contains(&notice.entry))
    }

    fn channels(&self) -> Vec<&dyn Channel> {
        let all: [Option<&dyn Channel>; 4] = [
            self.webhook.as_ref().map(|c| c as &dyn Channel),
            self.slack.as_ref().map(|c| c as &dyn Channel),
            self.email.as_ref().map(|c| c as &dyn Channel),
            self.command.as_ref().map(|c| c as &dyn Channel),
        ];
        all.into_iter().flatten().collect()
    }

    pub fn validate(&self, diags: &mut Diagnostics) {
        let wrong = match self.channels().as_slice() {
            [one] => one.wrong(),
            _ => Some("expected exactly one of `webhook`, `slack`, `email`, `command`".to_owned()),
        };
        if let Some(wrong) = wrong {
            diags.error(self.name.span, format!("the channel `{}` cannot be used", self.name.value), wrong);
        }
    }

    /// # Errors
    /// A sentence; it will be tried again.
    pub async fn send(&self, notice: &Notice) -> Result<(), String> {
        let Some(channel) = self.channels().into_iter().next() else { return Err("no channel".to_owned()) };
        tokio::time::timeout(SEND_WITHIN, channel.send(notice))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", SEND_WITHIN.as_secs())))
    }
}

/// The notice's fields as `{{text}}`, `{{entry}}`, `{{occasion}}` and so on; what is not there is empty.
fn fields(notice: &Notice) -> impl Fn(&str) -> Option<Json> {
    let all = serde_json::to_value(notice).unwrap_or_default();
    move |name| all.get(name).map(|value| if value.is_null() { "".into() } else { value.clone() })
}

fn filled(template: &str, notice: &Notice) -> String {
    let fields = fields(notice);
    let fill: Fill<'_> = &fields;
    template::plain(template, fill)
}

/// Posts JSON; any 2xx is well.
async fn post(url: &str, headers: Vec<(String, String)>, body: String) -> Result<(), String> {
    let client = reqwest::Client::builder().timeout(SEND_WITHIN).build().map_err(|e| e.to_string())?;
    let mut request = client.post(url).header("content-type", "application/json").body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    // The address may hold a token: it is in no error.
    let answer = request.send().await.map_err(|e| crate::driver::request::sentence(&e.without_url()))?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(format!("answered with {status}")) }
}

fn wrong_url(url: &str) -> Option<String> {
    (!is_http_url(url)).then(|| "expected a `url` such as https://host/path".to_owned())
}
