//! A message as Slack's incoming webhooks take it; Mattermost and Rocket.Chat take the same.

use async_trait::async_trait;
use serde_json::json;

use super::{Channel, Notice, Occasion, filled, post, wrong_url};
use crate::record;

record! {
    /// A message to a chat.
    pub struct Slack {
        /// The incoming webhook's address.
        url: String,
        /// The message, with `{{text}}`, `{{entry}}`, `{{run}}` and the other fields in place.
        text: String = "{{text}}\n{{run}}".to_owned(),
    }
}

#[async_trait]
impl Channel for Slack {
    async fn send(&self, notice: &Notice) -> Result<(), String> {
        let sign = match notice.occasion {
            Occasion::Recovery => ":large_green_circle:",
            Occasion::Test => ":large_blue_circle:",
            Occasion::Inconclusive | Occasion::Silence => ":large_yellow_circle:",
            Occasion::Failure | Occasion::Error | Occasion::LeftBroken => ":red_circle:",
        };
        // The three characters that have a meaning in its texts.
        let text = filled(&self.text, notice).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        post(&self.url, Vec::new(), json!({ "text": format!("{sign} {}", text.trim_end()) }).to_string()).await
    }

    fn wrong(&self) -> Option<String> {
        wrong_url(&self.url)
    }
}
