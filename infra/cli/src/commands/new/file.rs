//! Reads and writes the template of connections.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use crate::error::Error;

/// A template without a connection.
const SKELETON: &str = include_str!("connections.yaml");

/// The file's text. If the file does not exist, the text of the skeleton.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(SKELETON.to_owned()),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// Replaces the file atomically, so that nobody reads half of it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    // If the path is a symbolic link, its target is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let replaced = replace(&path, &temporary, text);
    if replaced.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    replaced.map_err(|error| unusable(&path, &error))
}

fn replace(path: &Path, temporary: &Path, text: &str) -> std::io::Result<()> {
    let mut file = fs::File::create_new(temporary)?;
    file.write_all(text.as_bytes())?;
    if let Ok(metadata) = fs::metadata(path) {
        file.set_permissions(metadata.permissions())?;
    }
    file.sync_all()?;
    fs::rename(temporary, path)
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::NotFound => "; run it in the folder of template.yaml, or give --file",
        _ => "",
    };
    Error::Usage(format!("{}: {error}{hint}", path.display()))
}
