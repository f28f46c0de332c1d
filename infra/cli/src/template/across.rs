//! Mistakes that show only when two connections are compared.

use super::finding::Finding;
use super::incoming::Known;
use super::text::{File, Span};

/// Looks for duplicate names, and for deltas that would end each other.
pub(super) fn check(known: &[Known], files: &[File], findings: &mut Vec<Finding>) {
    let deployed = || known.iter().filter(|connection| connection.is_deployed);
    for (index, connection) in deployed().enumerate() {
        let before = || deployed().take(index);
        if let Some((name, span)) = &connection.incoming
            && let Some(other) = before().find_map(|other| match &other.incoming {
                Some((taken, span)) if taken == name => Some(span),
                _ => None,
            })
        {
            let other = place(*other, *span, files);
            let message = format!(
                "connection `{name}`: the name is taken by the connection {other}; give one of them another"
            );
            findings.push(Finding::mistake(*span, message));
        }
        if let Some((client, entity, span)) = &connection.delta
            && let Some(other) = before().find_map(|other| match &other.delta {
                Some((other_client, other_entity, span))
                    if (other_client, other_entity) == (client, entity) =>
                {
                    Some(span)
                }
                _ => None,
            })
        {
            let other = place(*other, *span, files);
            let message = format!(
                "sync: the connection {other} has the delta of `{entity}` for client `{client}`. Protime documents one active delta per collection, presumably for each client. Use that connection, another client, or \"full\""
            );
            findings.push(Finding::mistake(*span, message));
        }
    }
}

fn place(span: Span, own: Span, files: &[File]) -> String {
    let Some(file) = files.get(span.file).filter(|_| span != own) else {
        return "of this template, which is nested twice".to_owned();
    };
    let (line, _) = file.position(span.start);
    format!("at {}:{line}", file.path)
}
