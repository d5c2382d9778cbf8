//! What a job is made of: the values that a driver's texts fill in, generated from the job's seed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value as Json;

use crate::backend::image;
use crate::experiment::JobShape;
use crate::seed::fnv;

/// Values by name.
pub type Vars = BTreeMap<String, Json>;

/// What can be filled in for every job.
pub const KNOWN: &[&str] = &[
    "width",
    "height",
    "batch",
    "mark",
    "seed",
    "seed31",
    "color",
    "client",
    "prompt",
    "tokens",
    "image",
    "image_base64",
    "file",
    "uuid",
];

/// Everyday words, each about one token of common tokenizers.
const WORDS: &[&str] = &[
    "a", "house", "on", "the", "green", "hill", "with", "two", "red", "doors", "and", "small", "stone", "garden", "under",
    "blue", "sky", "near", "old", "bridge", "where", "people", "walk", "in", "morning", "light", "while", "birds", "sing",
    "over", "water", "white", "boats", "wait", "for", "wind", "to", "carry", "them", "home", "before", "dark", "night",
];

/// What one job asks for, with what makes it recognisable.
#[derive(Debug, Clone)]
pub struct Ask {
    pub shape: JobShape,
    pub mark: String,
    pub seed: u64,
    /// The client that asks, by a name that is the same for its connection.
    pub client: String,
}

impl Ask {
    pub fn new(shape: JobShape, mark: &str, client: String) -> Self {
        Self { shape, mark: mark.to_owned(), seed: fnv(mark.as_bytes()) >> 12, client }
    }

    /// The value of a placeholder. Large ones are made only when they are asked for.
    pub fn value(&self, name: &str) -> Option<Json> {
        Some(match name {
            "width" => self.shape.width.into(),
            "height" => self.shape.height.into(),
            "batch" => self.shape.batch.into(),
            "mark" => self.mark.clone().into(),
            // 53 bits: what every JSON reader takes for a whole number.
            "seed" => (self.seed & ((1 << 53) - 1)).into(),
            // Many a backend's seed is a signed number of 32 bits.
            "seed31" => (self.seed & ((1 << 31) - 1)).into(),
            "color" => (self.seed & 0x00ff_ffff).into(),
            "client" => self.client.clone().into(),
            "tokens" => self.shape.tokens.into(),
            "prompt" => self.prompt().into(),
            "uuid" => self.uuid().into(),
            "image_base64" => base64(&self.image()).into(),
            _ => return None,
        })
    }

    /// A text of so many everyday words, its first being the job's mark: no two jobs ask for the same.
    fn prompt(&self) -> String {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut words = vec![self.mark.clone()];
        words.extend((1..self.shape.prompt).map(|_| WORDS[rng.random_range(0..WORDS.len())].to_owned()));
        words.join(" ")
    }

    /// A version 4 UUID that is the same for the same job.
    fn uuid(&self) -> String {
        let mut bytes: [u8; 16] = ChaCha8Rng::seed_from_u64(self.seed ^ 0x7575_6964).random();
        (bytes[6], bytes[8]) = (bytes[6] & 0x0f | 0x40, bytes[8] & 0x3f | 0x80);
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    pub fn image(&self) -> Vec<u8> {
        image::png(self.shape.width, self.shape.height, self.seed, &self.mark)
    }

    /// One of the user's files: the same one for the same job.
    ///
    /// # Errors
    /// A sentence: there is no folder, it cannot be read, or it is empty.
    pub fn file(&self) -> Result<(String, Vec<u8>), String> {
        let folder = self.shape.files.as_ref().ok_or("the driver sends a file, and the job names no folder: give `files:`")?;
        let cannot = |e: std::io::Error| format!("{folder} cannot be read: {e}");
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .map_err(cannot)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        let path =
            files.get((self.seed % files.len().max(1) as u64) as usize).ok_or_else(|| format!("{folder} holds no file"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        std::fs::read(path).map(|bytes| (name, bytes)).map_err(|e| format!("{} cannot be read: {e}", path.display()))
    }
}

pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Bytes in base64, with or without a `data:` head; `None` when it is none.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let body = text.split_once(";base64,").map_or(text, |(_, body)| body);
    base64::engine::general_purpose::STANDARD.decode(body.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(seed: u64) -> Ask {
        let shape = JobShape { prompt: 20, ..JobShape::default() };
        Ask { shape, mark: format!("chaos-{seed:016x}"), seed, client: "users/0".into() }
    }

    #[test]
    fn the_same_job_asks_for_the_same_and_another_for_something_else() {
        for name in ["prompt", "uuid", "image_base64", "seed"] {
            assert_eq!(ask(1).value(name), ask(1).value(name), "{name}");
            assert_ne!(ask(1).value(name), ask(2).value(name), "{name}");
        }
    }

    #[test]
    fn a_prompt_has_the_length_that_was_asked_for_and_says_whose_it_is() {
        let prompt = ask(3).prompt();
        assert_eq!(prompt.split(' ').count(), 20);
        assert!(prompt.starts_with("chaos-0000000000000003 "));
    }

    #[test]
    fn a_uuid_has_its_form() {
        let uuid = ask(4).uuid();
        let form = regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").unwrap();
        assert!(form.is_match(&uuid), "{uuid}");
    }

    #[test]
    fn base64_is_read_with_and_without_its_head() {
        let text = base64(b"\x89PNG");
        assert_eq!(from_base64(&text).as_deref(), Some(b"\x89PNG".as_slice()));
        assert_eq!(from_base64(&format!("data:image/png;base64,{text}")).as_deref(), Some(b"\x89PNG".as_slice()));
        assert_eq!(from_base64("?"), None);
    }
}
