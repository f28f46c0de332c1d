//! The JSON of a connection, with the places of its parts.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::finding::Finding;
use super::json::{self, Member};
use super::text::{Span, Text};

/// Text that is JSON.
pub(super) struct Document<'t> {
    pub(super) text: &'t Text,
}

impl<'t> Document<'t> {
    /// Parses the text. If it is not JSON, there is no document; a finding is added unless the text was partly made up.
    pub(super) fn new(what: &str, text: &'t Text, findings: &mut Vec<Finding>) -> Option<Self> {
        let json = text.as_str();
        let Err(error) = serde_json::from_str::<IgnoredAny>(json) else {
            return Some(Self { text });
        };
        let lines = json.split_inclusive('\n').take(error.line() - 1);
        let start: usize = lines.map(str::len).sum();
        let last = json.len().saturating_sub(1);
        let mut at = (start + error.column().saturating_sub(1)).min(last);
        if error.is_eof() {
            at = json.trim_end().len().saturating_sub(1);
        }
        // A made-up text may stand for another type, such as a number, which only a deployment knows.
        if text.has_placeholder(at.saturating_sub(2)..(at + 1).min(json.len())) {
            return None;
        }
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        if let Some(span) = text.span(at..at + 1) {
            findings.push(Finding::mistake(
                span,
                format!("{what}: not JSON: {reason}"),
            ));
        }
        None
    }

    pub(super) fn member(&self, path: &[&str]) -> Option<Member> {
        json::member(self.text.as_str(), path)
    }

    /// The content of a string member.
    pub(super) fn string(&self, path: &[&str]) -> Option<Text> {
        json::string(self.text, self.member(path)?.value)
    }

    /// The content of a string member. `None` if it is made up.
    pub(super) fn known_string(&self, name: &str) -> Option<(String, Span)> {
        let value = self.member(&[name])?.value;
        let said = json::string(self.text, value.clone())?;
        let is_known = !self.text.has_placeholder(value.clone());
        let span = self.text.span(value)?;
        is_known.then(|| (said.as_str().to_owned(), span))
    }

    /// The value of the first of these members that exists, otherwise the beginning of the document.
    pub(super) fn first_of(&self, paths: &[&[&str]]) -> Range<usize> {
        let found = paths.iter().find_map(|path| self.member(path));
        found.map_or_else(|| self.beginning(), |member| member.value)
    }

    pub(super) fn beginning(&self) -> Range<usize> {
        let text = self.text.as_str();
        let start = text.len() - text.trim_start().len();
        start..(start + 1).min(text.len())
    }

    /// The place of a wrong field: its name if the name is wrong, otherwise its value.
    pub(super) fn field(&self, name: &str, problem: &str) -> Range<usize> {
        match self.member(&[name]) {
            Some(member) if problem.starts_with("unknown;") || problem == "given twice" => {
                member.key
            }
            Some(member) => member.value,
            None => self.beginning(),
        }
    }

    /// The place in the transformer's program of a line and a column, both from 1.
    pub(super) fn in_program(&self, line: usize, column: usize, length: usize) -> Option<Span> {
        let program = self.string(&["transform"])?;
        let text = program.as_str();
        let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
        let start: usize = lines.map(str::len).sum();
        let rest = text.get(start..)?;
        let within = rest.char_indices().nth(column.saturating_sub(1));
        let at = start + within.map_or(rest.len(), |(at, _)| at);
        let is_at_end = at >= text.len();
        if is_at_end {
            // At the end of the program, the closing quote is marked.
            let value = self.member(&["transform"])?.value;
            return self.text.span(value.end.checked_sub(1)?..value.end);
        }
        program.span(at..at + length.max(1))
    }

    /// A mistake at a part, unless the text there was made up.
    pub(super) fn mistake(&self, part: Range<usize>, message: String) -> Option<Finding> {
        if self.text.has_placeholder(part.clone()) {
            return None;
        }
        Some(Finding::mistake(self.text.span(part)?, message))
    }
}
