//! The operators that filters have.

use std::fmt;

use serde::Deserialize;

/// The four operators of the language; there is no `ne`, `gt`, `lt` or `not`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the language's own")]
pub enum Operator {
    Eq,
    Ge,
    Le,
    In,
}

impl Operator {
    /// All of them, as written.
    pub const NAMES: [&'static str; 4] = ["eq", "ge", "le", "in"];

    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ge => "ge",
            Self::Le => "le",
            Self::In => "in",
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
