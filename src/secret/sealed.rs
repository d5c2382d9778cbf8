//! Data that must be kept, and that nobody may read who has no more than the file that it is in: encrypted to a key that lies in
//! the state folder, so that a run's folder can be handed on.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::state;

/// What the key is bound to, so that it opens nothing that was made for something else.
const PURPOSE: &[u8] = b"chaos undo 1";

/// Plain in memory, encrypted wherever it is written. What was written plainly by an older version is read all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed<T>(pub T);

impl<T> std::ops::Deref for Sealed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    sealed: String,
}

impl<T: Serialize> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = serde_json::to_vec(&self.0).map_err(S::Error::custom)?;
        let key = state::folder().and_then(|state| state::key(&state)).map_err(S::Error::custom)?;
        Written { sealed: seal(&key, plain).map_err(S::Error::custom)? }.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let plain = match serde_json::from_value::<Written>(value.clone()) {
            Err(_) => value,
            Ok(written) => {
                let state = state::folder().map_err(D::Error::custom)?;
                let key = state::known_key(&state).map_err(D::Error::custom)?;
                let opened = open(&key, &written.sealed).map_err(|why| D::Error::custom(format!("{why} {}", state.display())))?;
                serde_json::from_slice(&opened).map_err(D::Error::custom)?
            }
        };
        serde_json::from_value(plain).map(Self).map_err(D::Error::custom)
    }
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, &'static str> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).map_err(|_| "the key is damaged")
}

/// The nonce, the data and its sum, as Base64.
fn seal(key: &[u8], mut data: Vec<u8>) -> Result<String, &'static str> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| "this machine gives no random numbers")?;
    let whole = cipher(key)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(PURPOSE), &mut data);
    whole.map_err(|_| "it cannot be encrypted")?;
    Ok(STANDARD.encode([nonce.as_slice(), &data].concat()))
}

fn open(key: &[u8], sealed: &str) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str = "it was encrypted with another key than the one in";
    let bytes = STANDARD.decode(sealed).map_err(|_| "it is damaged, or was encrypted with another key than the one in")?;
    let (nonce, data) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(WRONG)?;
    let mut data = data.to_vec();
    let plain = cipher(key)?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(PURPOSE), &mut data);
    plain.map(|plain| plain.to_vec()).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_no_other() {
        let around = tempfile::tempdir().unwrap();
        let (one, other) = (around.path().join("one"), around.path().join("other"));
        for folder in [&one, &other] {
            state::private(folder).unwrap();
        }
        assert!(state::known_key(&one).unwrap_err().contains("is not there"));
        let key = state::key(&one).unwrap();
        assert_eq!((state::key(&one).unwrap(), state::known_key(&one).unwrap()), (key, key), "it is made once");
        let text = seal(&key, b"TOKEN=shibboleth".to_vec()).unwrap();
        assert!(!STANDARD.decode(&text).unwrap().windows(5).any(|w| w == b"TOKEN"));
        assert_ne!(text, seal(&key, b"TOKEN=shibboleth".to_vec()).unwrap());
        assert_eq!(open(&key, &text).unwrap(), b"TOKEN=shibboleth");
        assert!(open(&state::key(&other).unwrap(), &text).unwrap_err().contains("another key"));
        assert!(open(&key, "AAAA").is_err() && open(&key, "?").is_err());
        std::fs::write(one.join("key"), "short").unwrap();
        assert!(state::key(&one).unwrap_err().contains("damaged"));
    }

    #[test]
    fn what_an_older_version_wrote_plainly_is_read() {
        let plain = serde_json::json!({ "a": [1, 2] });
        let read: Sealed<std::collections::BTreeMap<String, Vec<u32>>> = serde_json::from_value(plain).unwrap();
        assert_eq!(read["a"], [1, 2]);
    }
}
