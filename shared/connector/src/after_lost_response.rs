//! What to do when it is unknown whether Protime has written. These rules are ours, not Protime's.

use std::sync::LazyLock;

use protime::Method;
use protime::catalogue::Operation;
use serde::Deserialize;

static RULES: LazyLock<Vec<Row>> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the file is part of the program, and a test reads it"
    )]
    serde_json::from_str(include_str!("after_lost_response.json"))
        .expect("after_lost_response.json is valid")
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    method: Method,
    path: &'static str,
    rule: AfterLostResponse,
}

/// What to do with a write whose response was lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", bound(deserialize = "'de: 'static"))]
pub enum AfterLostResponse {
    /// Nothing is safe: a person has to decide.
    #[default]
    Park,
    /// Writing again has the same effect as writing once.
    Repeat,
    /// Look up whether the record exists.
    LookUp(LookUp),
}

/// How to find the record that a creation may have made, in its entity's list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookUp {
    /// The property that holds the date. The look-up searches around it.
    pub date: &'static str,
    /// Properties with minutes from that date. The first one of the body has to match any of them in the record.
    /// Another date with other minutes can be the same time.
    pub minutes: Vec<&'static str>,
    /// Properties that, with person and moment, tell a record from others.
    pub identity: Vec<&'static str>,
    /// Further properties that are equal if the record is the one that was written.
    pub equal: Vec<&'static str>,
}

impl AfterLostResponse {
    /// The rule for a write. An operation that is not in the table is parked.
    pub fn of(operation: Option<&Operation>) -> &'static Self {
        let of_operation = |row: &&Row| {
            operation.is_some_and(|write| (write.method, write.path) == (row.method, row.path))
        };
        RULES
            .iter()
            .find(of_operation)
            .map_or(&Self::Park, |row| &row.rule)
    }
}

#[cfg(test)]
mod tests {
    use protime::catalogue::catalogue;

    use super::*;

    #[test]
    fn every_rule_is_of_a_documented_write() {
        assert!(!RULES.is_empty());
        for row in RULES.iter() {
            let mut operations = catalogue()
                .entities()
                .iter()
                .flat_map(|entity| &entity.operations);
            assert!(row.method != Method::Get);
            assert!(
                operations.any(|known| (known.method, known.path) == (row.method, row.path)),
                "{} {}",
                row.method,
                row.path
            );
        }
    }
}
