//! A mail over SMTP.

use async_trait::async_trait;
use lettre::message::{Mailbox, header::ContentType};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{Channel, Notice, filled};
use crate::record;

record! {
    /// A mail.
    pub struct Email {
        /// The server: smtps://user:password@host, smtp://user:password@host:587?tls=required, or smtp://host:25 without
        /// encryption.
        server: String,
        /// The sender.
        from: String,
        /// The receivers.
        to: Vec<String>,
        /// The subject, with `{{text}}` and the other fields in place.
        subject: String = "chaos: {{text}}".to_owned(),
        /// The text.
        text: String = "{{text}}\n\nExperiment: {{entry}}\nOutcome: {{outcome}}\nDue: {{due}}\nEnded: {{ended}}\nRun: {{run}}\n".to_owned(),
    }
}

#[async_trait]
impl Channel for Email {
    async fn send(&self, notice: &Notice) -> Result<(), String> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&self.server).map_err(|e| e.to_string())?.build();
        transport.send(self.message(notice)?).await.map(drop).map_err(|e| e.to_string())
    }

    fn wrong(&self) -> Option<String> {
        let addresses = self.to.iter().chain([&self.from]);
        if let Some(wrong) = addresses.into_iter().find(|text| text.parse::<Mailbox>().is_err()) {
            return Some(format!("`{wrong}` is no mail address"));
        }
        if self.to.is_empty() {
            return Some("expected at least one receiver in `to`".to_owned());
        }
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(&self.server);
        server.err().map(|_| "expected a `server` such as smtps://user:password@host".to_owned())
    }
}

impl Email {
    fn message(&self, notice: &Notice) -> Result<Message, String> {
        let address = |text: &str| text.parse::<Mailbox>().map_err(|e| format!("`{text}`: {e}"));
        let subject = filled(&self.subject, notice).replace(['\r', '\n'], " ");
        let mut message = Message::builder()
            .from(address(&self.from)?)
            .subject(subject)
            .message_id(Some(format!("<{}@chaos.invalid>", notice.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(address(to)?);
        }
        message.body(filled(&self.text, notice)).map_err(|e| e.to_string())
    }
}
