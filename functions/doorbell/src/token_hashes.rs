//! The connections that can be rung, and the hashes of their tokens.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use connector::contract::connection::is_name;
use sha2::{Digest, Sha256};

/// The SHA-256 of each connection's token, by the connection's name. Whoever reads the configuration still has no
/// token, and cannot ring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenHashes(BTreeMap<String, [u8; 32]>);

/// The reason why the configuration cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenHashesError {
    /// The text is not JSON, or not an object of strings.
    #[error(
        "needs a JSON object of connections, each with the SHA-256 of its token in hex, such as {{\"clockings\": \"9f86d0...\"}}: {0}"
    )]
    Shape(String),
    /// The text is not a valid name of a connection.
    #[error("\"{0}\" is no name of a connection: needs 1 to 80 of A-Z a-z 0-9 . _ -")]
    Name(String),
    /// The value for this connection is not 64 hex digits.
    #[error("connection `{0}`: needs the SHA-256 of its token, 64 hex digits")]
    Hash(String),
    /// Two connections have the same token, so a ring would be ambiguous.
    #[error("connections `{0}` and `{1}` have the same token; each needs its own")]
    Same(String, String),
}

impl TokenHashes {
    /// Reads `{"<connection>": "<64 hex digits>"}`.
    pub fn from_json(json: &str) -> Result<Self, TokenHashesError> {
        let hashes: BTreeMap<String, String> = serde_json::from_str(json)
            .map_err(|error| TokenHashesError::Shape(error.to_string()))?;
        let mut token_hashes: BTreeMap<String, [u8; 32]> = BTreeMap::new();
        for (incoming, hash) in hashes {
            if !is_name(&incoming) {
                return Err(TokenHashesError::Name(incoming));
            }
            let hash = bytes(&hash).ok_or_else(|| TokenHashesError::Hash(incoming.clone()))?;
            if let Some((other, _)) = token_hashes.iter().find(|(_, known)| **known == hash) {
                return Err(TokenHashesError::Same(other.clone(), incoming));
            }
            token_hashes.insert(incoming, hash);
        }
        Ok(Self(token_hashes))
    }

    /// The connection that a token rings. The duration reveals nothing about the tokens: every hash is compared, each
    /// in constant time.
    pub fn connection_of(&self, token: &str) -> Option<&str> {
        let hash = digest(token);
        let mut found = None;
        for (incoming, known) in &self.0 {
            if verify_slices_are_equal(known, &hash).is_ok() {
                found = Some(incoming.as_str());
            }
        }
        found
    }

    /// The names of the connections that can be rung, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether `token` rings the connection `incoming`.
    pub fn has_token(&self, incoming: &str, token: &str) -> bool {
        self.connection_of(token) == Some(incoming)
    }
}

/// The SHA-256 of a token in 64 lower-case hex digits, as the configuration needs it.
pub fn token_hash(token: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in digest(token) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let is_hex = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pairs = hex.as_bytes().chunks(2).filter(|_| is_hex);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4: the SHA-256 of "abc".
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_token_rings_the_connection_that_has_its_hash() {
        let json = format!(
            r#"{{"clockings": "{ABC}", "people": "{}"}}"#,
            "0".repeat(64)
        );
        let token_hashes = TokenHashes::from_json(&json).unwrap();
        assert_eq!(token_hashes.connection_of("abc"), Some("clockings"));
        assert_eq!(token_hashes.connection_of("abcd"), None);
        assert_eq!(token_hashes.connection_of(""), None);
        assert_eq!(
            token_hashes.connection_of(ABC),
            None,
            "the hash itself opens nothing"
        );
        assert!(
            token_hashes.has_token("clockings", "abc") && !token_hashes.has_token("people", "abc")
        );
        assert_eq!(token_hash("abc"), ABC);
        assert_eq!(
            TokenHashes::from_json("{}").unwrap().connection_of("abc"),
            None
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let problem = |json: &str| TokenHashes::from_json(json).unwrap_err().to_string();
        for json in ["", "[]", r#"{"clockings": 1}"#] {
            assert!(problem(json).contains("needs a JSON object"), "{json}");
        }
        assert!(problem(r#"{"a b": ""}"#).contains("\"a b\" is no name"));
        for hash in [
            "",
            "abc",
            &ABC[1..],
            &format!("{ABC}0"),
            &ABC.replace('b', "g"),
        ] {
            let json = format!(r#"{{"clockings": "{hash}"}}"#);
            assert!(problem(&json).contains("connection `clockings`: needs the SHA-256"));
        }
        let same = format!(
            r#"{{"clockings": "{ABC}", "people": "{}"}}"#,
            ABC.to_uppercase()
        );
        assert!(problem(&same).contains("`clockings` and `people` have the same token"));
    }
}
