//! A connection's JSON, and where in it something is wrong.

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
    /// None, and a finding if that is sure, for text that is not JSON.
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
        // A text stands for a number, say, that only a deployment has.
        if text.has_made_up(at.saturating_sub(2)..(at + 1).min(json.len())) {
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

    /// What a member says that is a string.
    pub(super) fn string(&self, path: &[&str]) -> Option<Text> {
        json::string(self.text, self.member(path)?.value)
    }

    /// The same; none if nobody can know what it will be.
    pub(super) fn known_string(&self, name: &str) -> Option<(String, Span)> {
        let value = self.member(&[name])?.value;
        let said = json::string(self.text, value.clone())?;
        let is_known = !self.text.has_made_up(value.clone());
        let span = self.text.span(value)?;
        is_known.then(|| (said.as_str().to_owned(), span))
    }

    /// The value of the first of these members that is there, else the beginning of the whole.
    pub(super) fn first_of(&self, paths: &[&[&str]]) -> Range<usize> {
        let found = paths.iter().find_map(|path| self.member(path));
        found.map_or_else(|| self.beginning(), |member| member.value)
    }

    pub(super) fn beginning(&self) -> Range<usize> {
        let text = self.text.as_str();
        let start = text.len() - text.trim_start().len();
        start..(start + 1).min(text.len())
    }

    /// Where a field is wrong: its name, if it is the name that is wrong.
    pub(super) fn field(&self, name: &str, problem: &str) -> Range<usize> {
        match self.member(&[name]) {
            Some(member) if problem.starts_with("unknown;") || problem == "given twice" => {
                member.key
            }
            Some(member) => member.value,
            None => self.beginning(),
        }
    }

    /// Where a program stands at a line and a column, both from 1.
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
            // Behind the last character there is the quote.
            let value = self.member(&["transform"])?.value;
            return self.text.span(value.end.checked_sub(1)?..value.end);
        }
        program.span(at..at + length.max(1))
    }

    /// A finding at a part, unless what stands there was made up.
    pub(super) fn mistake(&self, part: Range<usize>, message: String) -> Option<Finding> {
        if self.text.has_made_up(part.clone()) {
            return None;
        }
        Some(Finding::mistake(self.text.span(part)?, message))
    }
}
