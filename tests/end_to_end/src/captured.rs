//! Captures the standard output of a function that runs in the test's own process.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// A writer that keeps everything in memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// All lines so far. Each must be a JSON object.
    pub fn lines(&self) -> Vec<Value> {
        self.lines_after(0)
    }

    /// The lines after the first `read` ones. Each must be a JSON object.
    pub fn lines_after(&self, read: usize) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .skip(read)
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// The whole text so far.
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(bytes.clone()).expect("UTF-8")
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
