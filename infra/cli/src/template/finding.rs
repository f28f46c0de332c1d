//! Findings: a message, a place and a severity.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value, json};

use super::text::{File, Span};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// The template does not work.
    Mistake,
    /// The template may not work.
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) span: Span,
    pub(super) severity: Severity,
    pub(super) message: String,
}

impl Finding {
    pub(super) fn mistake(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            severity: Severity::Mistake,
            message: message.into(),
        }
    }

    pub(super) fn warning(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::mistake(span, message)
        }
    }

    pub(super) fn json(&self, files: &[File]) -> Value {
        let file = files.get(self.span.file);
        let (line, column) = file.map_or((1, 1), |file| file.position(self.span.start));
        json!({
            "file": file.map(|file| &file.path),
            "line": line,
            "column": column,
            "severity": match self.severity {
                Severity::Mistake => "error",
                Severity::Warning => "warning",
            },
            "message": self.message,
        })
    }

    /// The message with the line of the file, in colour.
    pub(super) fn framed(&self, files: &[File]) -> String {
        let level = match self.severity {
            Severity::Mistake => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        // A message may quote a file, whose control characters must not reach the terminal.
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let title = level.primary_title(self.message.chars().map(plain).collect::<String>());
        let Some(file) = files.get(self.span.file) else {
            return format!(
                "{}\n",
                Renderer::styled().render(&[Group::with_title(title)])
            );
        };
        let marked = AnnotationKind::Primary.span(file.on_one_line(self.span));
        let snippet = Snippet::source(&file.text)
            .path(&file.path)
            .annotation(marked);
        let report = &[title.element(snippet)];
        format!("{}\n", Renderer::styled().render(report))
    }
}
