//! Masking in data of a type of ours, such that it can be read back as that type.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Redactor;

/// One step from the root of a value to a place in it.
#[derive(Clone)]
enum Step {
    Key(String),
    At(usize),
}

impl Redactor {
    /// The data as JSON with every secret masked; `None` where none is in it. A word of the format itself (a key, the name of a
    /// variant) stays though a secret is spelled like it: such a word is ours and tells nothing, and without it the data could
    /// not be read back.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn typed<T: Serialize + DeserializeOwned>(&self, data: &T) -> serde_json::Result<Option<Value>> {
        if self.is_empty() {
            return Ok(None);
        }
        let plain = serde_json::to_value(data)?;
        let mut masked = plain.clone();
        self.json(&mut masked);
        if masked == plain {
            return Ok(None);
        }
        // What cannot be read back in any case is masked all the same.
        if fits::<T>(&masked) || !fits::<T>(&plain) {
            return Ok(Some(masked));
        }
        let mut places = Vec::new();
        self.places(&plain, &mut Vec::new(), &mut places);
        Ok(Some(places.iter().fold(plain, |so_far, place| {
            let mut next = so_far.clone();
            self.mask_at(&mut next, place);
            if fits::<T>(&next) { next } else { so_far }
        })))
    }

    /// Where something is to be masked, the inner places before the outer ones. A place that ends in a key is that key's value.
    fn places(&self, value: &Value, here: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, bool)>) {
        match value {
            Value::String(text) if self.holds(text) => found.push((here.clone(), false)),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    here.push(Step::At(at));
                    self.places(item, here, found);
                    here.pop();
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    here.push(Step::Key(key.clone()));
                    self.places(item, here, found);
                    if self.holds(key) {
                        found.push((here.clone(), true));
                    }
                    here.pop();
                }
            }
            _ => {}
        }
    }

    /// Masks the string at a place, or the key that leads to it.
    fn mask_at(&self, value: &mut Value, (place, is_key): &(Vec<Step>, bool)) {
        let Some((last, way)) = place.split_last() else { return self.json(value) };
        let parent = way.iter().try_fold(value, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::At(at) => value.get_mut(at),
        });
        match (parent, last) {
            (Some(Value::Object(map)), Step::Key(key)) if *is_key => {
                let entries = std::mem::take(map);
                map.extend(entries.into_iter().map(|(k, v)| (if k == *key { self.text(&k) } else { k }, v)));
            }
            (Some(parent), Step::Key(key)) => parent.get_mut(key).into_iter().for_each(|value| self.json(value)),
            (Some(parent), Step::At(at)) => parent.get_mut(at).into_iter().for_each(|value| self.json(value)),
            (None, _) => {}
        }
    }
}

/// It can be read, and nothing is lost by that.
fn fits<T: Serialize + DeserializeOwned>(value: &Value) -> bool {
    serde_json::from_value::<T>(value.clone()).and_then(serde_json::to_value).is_ok_and(|again| again == *value)
}
