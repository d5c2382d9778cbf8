//! An HTTP POST of JSON, signed as the Standard Webhooks specification (1.0) has it: `webhook-id`, `webhook-timestamp`, and
//! `webhook-signature: v1,` with the Base64 of HMAC-SHA256 over `id.timestamp.body`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value as Json;

use super::{Channel, Notice, fields, post, wrong_url};
use crate::driver::template;
use crate::record;

record! {
    /// An HTTP POST of JSON.
    pub struct Webhook {
        /// Where to.
        url: String,
        /// The key of the signature; `whsec_` and Base64, or any text. Without it nothing is signed.
        secret: Option<String> = None,
        /// More headers.
        headers: BTreeMap<String, String> = BTreeMap::new(),
        /// The body, with `{{text}}`, `{{entry}}`, `{{occasion}}`, `{{outcome}}`, `{{run}}` and the other fields in place.
        /// Without it all fields are sent.
        body: Option<Json> = None,
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, notice: &Notice) -> Result<(), String> {
        let body = match &self.body {
            Some(body) => template::json(body, &fields(notice)).to_string(),
            None => serde_json::to_string(notice).map_err(|e| e.to_string())?,
        };
        let mut headers: Vec<(String, String)> = self.headers.clone().into_iter().collect();
        let now = jiff::Timestamp::now().as_second();
        headers.push(("webhook-id".into(), notice.id.clone()));
        headers.push(("webhook-timestamp".into(), now.to_string()));
        if let Some(secret) = &self.secret {
            headers.push(("webhook-signature".into(), signature(secret, &notice.id, now, &body)));
        }
        post(&self.url, headers, body).await
    }

    fn wrong(&self) -> Option<String> {
        wrong_url(&self.url)
    }
}

fn signature(secret: &str, id: &str, timestamp: i64, body: &str) -> String {
    let coded = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, coded.as_deref().unwrap_or(secret.as_bytes()));
    format!("v1,{}", STANDARD.encode(hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own verification tools.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
