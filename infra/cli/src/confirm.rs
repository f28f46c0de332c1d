//! The question before a change.

use std::io::{ErrorKind, IsTerminal as _};

use dialoguer::Confirm;

use crate::arguments::Change;
use crate::error::Error;

/// Asks for confirmation. `what` reads like `run connection x now`.
pub(crate) fn confirm(change: &Change, what: &str) -> Result<bool, Error> {
    if change.dry_run {
        anstream::eprintln!("This would {what}.");
        return Ok(false);
    }
    if change.yes {
        return Ok(true);
    }
    if !has_terminal() {
        return Err(Error::Usage(format!(
            "this would {what}; without a terminal to ask on, give --yes"
        )));
    }
    let asked = Confirm::new()
        .with_prompt(format!("This will {what}. Go on?"))
        .default(false);
    answered(asked.interact())
}

/// Whether a person can be asked. Questions go to stderr.
pub(crate) fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// A person's answer. Ctrl-C becomes [`Error::Interrupted`].
pub(crate) fn answered<T>(answer: Result<T, dialoguer::Error>) -> Result<T, Error> {
    answer.map_err(|dialoguer::Error::IO(error)| {
        if error.kind() == ErrorKind::Interrupted {
            Error::Interrupted
        } else {
            Error::Other(error.to_string())
        }
    })
}
