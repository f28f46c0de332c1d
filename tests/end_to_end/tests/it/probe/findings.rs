//! What a probe found out, by its questions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub(super) const SPACES: &str = "How are spaces written in a filter?";
pub(super) const LISTS: &str =
    "Which lists can be read with the scopes that are documented or suggested?";
pub(super) const TOKEN: &str =
    "What does the token endpoint grant, for how long, and how does it refuse?";
pub(super) const PAGES: &str = "How many records has a page?";
pub(super) const TWICE: &str = "Is a paging token taken twice?";
pub(super) const PROPERTIES: &str = "Do records have the properties that are documented?";
pub(super) const OPERATORS: &str = "Which operators do fields take, besides those that pages show?";
pub(super) const FIELDS: &str = "Which filters do lists take whose filters are not documented, and which older names of fields?";
pub(super) const OR: &str = "Which fields can be joined by `or`?";
pub(super) const NAMED: &str = "Which named lists does `in` take, `org-tree` besides `org-group`?";
pub(super) const QUOTES: &str = "How is a quote written inside of a string?";
pub(super) const CONSTANTS: &str = "How are values of each type written?";
pub(super) const RANGES: &str = "How long may a range of dates be?";
pub(super) const ETAGS: &str = "Which answers have an ETag?";
pub(super) const NOT_MODIFIED: &str = "Is what has not changed answered with 304?";
pub(super) const ERRORS: &str = "What do errors look like?";
pub(super) const SCOPE: &str = "How is a missing scope answered, with 401 or 403?";
pub(super) const USER_AGENT: &str = "How is a request without User-Agent answered?";
pub(super) const CHARACTERS: &str = "Which characters may an external reference in a path have?";
pub(super) const GZIP: &str = "Are answers compressed for those who accept gzip?";
pub(super) const HEADERS: &str = "Which headers do answers have, and are there limits to the rate?";

/// What was seen, by question and by what was asked of which entity.
pub(super) struct Findings(pub(super) BTreeMap<String, BTreeMap<String, String>>);

impl Findings {
    pub(super) fn of(document: &Value) -> Self {
        let questions = document["questions"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found = questions.map(|question| {
            let findings = question["findings"].as_array().unwrap().iter();
            let findings = findings.map(|finding| {
                let asked = format!("{} {}", text(&finding["entity"]), text(&finding["what"]));
                (asked.trim().to_owned(), text(&finding["seen"]))
            });
            (text(&question["question"]), findings.collect())
        });
        Self(found.collect())
    }

    /// What was seen, such as `kind ge` of `clockings`.
    pub(super) fn seen(&self, question: &str, asked: &str) -> &str {
        let found = &self.0[question];
        let seen = found.get(asked);
        seen.unwrap_or_else(|| panic!("{asked}: {found:#?}"))
    }

    /// The questions that were answered differently.
    pub(super) fn changed(&self, other: &Self) -> BTreeSet<&str> {
        let questions = self.0.iter();
        let changed = questions.filter(|(question, findings)| other.0[*question] != **findings);
        changed.map(|(question, _)| question.as_str()).collect()
    }
}
