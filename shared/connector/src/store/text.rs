//! Texts of any length, in items of their own: `text/<incoming>/<hash>/<number>`.
//!
//! An item holds at most 400 KB, and each update bills all of it. Therefore a long text that never changes has items of
//! its own. Their key is a hash of the text: storing it again changes nothing. The table's time to live deletes them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::item::{number, string_of, text};
use super::{StateError, StateTable};

/// Longest text that stays where it is needed, in bytes.
const MOST_INLINE: usize = 1_024;
/// Longest text of one item in bytes. An item holds 400 KB, including attribute names and keys.
const LONGEST_PART: usize = 300_000;
/// Longer than any run takes: a backfill of billions of records may take months, plus a pause.
const RETENTION: SignedDuration = SignedDuration::from_hours(400 * 24);

/// A reference to texts in items of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredTexts {
    id: String,
    count: usize,
}

/// A text, stored in place or in items of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StoredText {
    /// A short text, stored in place.
    Here(String),
    /// A long text, in parts, one in each of these items.
    Elsewhere(StoredTexts),
}

impl StateTable {
    /// Stores a text: in place if it is short, otherwise in items of its own.
    pub async fn store_text(&self, incoming: &str, value: &str) -> Result<StoredText, StateError> {
        if value.len() <= MOST_INLINE {
            return Ok(StoredText::Here(value.to_owned()));
        }
        let mut parts = Vec::new();
        let mut rest = value;
        while !rest.is_empty() {
            let (part, others) = rest.split_at(rest.floor_char_boundary(LONGEST_PART));
            parts.push(part.to_owned());
            rest = others;
        }
        self.store_texts(incoming, &parts)
            .await
            .map(StoredText::Elsewhere)
    }

    /// Reads a stored text.
    pub async fn stored_text(&self, kept: &StoredText) -> Result<String, StateError> {
        match kept {
            StoredText::Here(text) => Ok(text.clone()),
            StoredText::Elsewhere(texts) => {
                let mut whole = String::new();
                for place in 0..texts.count {
                    whole += &self.text(texts, place).await?;
                }
                Ok(whole)
            }
        }
    }

    /// Stores texts of at most 300 KB, each in an item of its own.
    pub(super) async fn store_texts(
        &self,
        incoming: &str,
        texts: &[String],
    ) -> Result<StoredTexts, StateError> {
        let hash = xxh3_128(texts.join("\n").as_bytes());
        let kept = StoredTexts {
            id: format!("text/{incoming}/{hash:032x}"),
            count: texts.len(),
        };
        let expires = (Timestamp::now() + RETENTION).as_second();
        for (place, value) in texts.iter().enumerate() {
            let update = self
                .update(&format!("{}/{place}", kept.id))
                .update_expression("SET #text = :text, expires = :expires")
                .expression_attribute_names("#text", "text")
                .expression_attribute_values(":text", text(value))
                .expression_attribute_values(":expires", number(expires));
            update
                .send()
                .await
                .map_err(|error| self.unreachable(&error))?;
        }
        Ok(kept)
    }

    /// The text at `place`, from 0.
    pub(super) async fn text(
        &self,
        kept: &StoredTexts,
        place: usize,
    ) -> Result<String, StateError> {
        let id = format!("{}/{place}", kept.id);
        let item = self.read(&id, None).await?;
        string_of(&item, "text")
            .map(str::to_owned)
            .ok_or(StateError::TextGone(id))
    }
}
