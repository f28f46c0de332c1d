//! Asks on a terminal for what the arguments leave out.

use dialoguer::{Confirm, Input, Password, Select};
use secrecy::SecretString;

use crate::confirm::{answered, has_terminal};
use crate::error::Error;

/// A question for one value.
pub(super) struct Question<'a> {
    /// The name of the argument that gives the answer.
    pub(super) argument: &'a str,
    pub(super) prompt: &'a str,
    /// Also used if there is no terminal.
    pub(super) default: Option<String>,
}

impl Question<'_> {
    /// The given value, the default, or what a person types. The check applies to each of them.
    pub(super) fn answer(
        &self,
        given: Option<&str>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Result<String, Error> {
        let answer = match (given, &self.default) {
            (Some(given), _) => given.to_owned(),
            (None, _) if has_terminal() => self.typed(&check)?,
            (None, Some(default)) => default.clone(),
            (None, None) => return Err(self.missing()),
        };
        check(&answer)
            .map_err(|problem| Error::Connection(format!("{}: {problem}", self.argument)))?;
        Ok(answer)
    }

    fn typed(&self, check: impl Fn(&str) -> Result<(), String>) -> Result<String, Error> {
        let mut input = Input::<String>::new().with_prompt(self.prompt);
        if let Some(default) = &self.default {
            input = input
                .default(default.clone())
                .show_default(!default.is_empty());
            input = input.allow_empty(default.is_empty());
        }
        let input = input.validate_with(|text: &String| check(text));
        answered(input.interact_text())
    }

    /// The answer is one of a few words. The first word is the default.
    pub(super) fn choice(&self, given: Option<&str>, words: &[&str]) -> Result<String, Error> {
        let first = words.first().copied().unwrap_or_default();
        let chosen = match given {
            Some(given) => given,
            None if has_terminal() => {
                let select = Select::new().with_prompt(self.prompt).items(words);
                let number = answered(select.default(0).interact())?;
                words.get(number).copied().unwrap_or(first)
            }
            None => first,
        };
        Ok(chosen.to_owned())
    }

    /// Yes or no; without a terminal, no.
    pub(super) fn agreed(&self, given: bool) -> Result<bool, Error> {
        if given || !has_terminal() {
            return Ok(given);
        }
        let asked = Confirm::new().with_prompt(self.prompt).default(false);
        answered(asked.interact())
    }

    /// The answer is not shown while it is typed.
    pub(super) fn secret(&self) -> Result<SecretString, Error> {
        if !has_terminal() {
            return Err(self.missing());
        }
        let asked = Password::new().with_prompt(self.prompt);
        answered(asked.interact()).map(SecretString::from)
    }

    fn missing(&self) -> Error {
        let Self {
            argument, prompt, ..
        } = self;
        Error::Usage(format!(
            "`{argument}` is missing, and there is no terminal to ask on: {prompt}"
        ))
    }
}
