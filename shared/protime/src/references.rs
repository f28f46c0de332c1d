//! The query parameter `externalReferences`: `(people,@badge-number)(terminals,@external-code)`.

use crate::catalogue::{Operation, catalogue};
use crate::nearest;

/// Collections that were renamed (release notes, 05/05/2025).
const RENAMED: [(&str, &str); 1] = [("persons", "people")];
/// References that were renamed (release notes, 05/05/2025).
const RENAMED_REFERENCES: [(&str, &str); 1] = [("@badge", "@badge-number")];

/// Checks the requested external references: Protime answers 400 to an unsupported specification
/// (`reference/collections/job-categories/get`). Returns warnings about what the documentation does not say.
pub(crate) fn check(
    text: &str,
    entity: &str,
    operation: &Operation,
) -> Result<Vec<String>, String> {
    let malformed = || {
        let example = "(people,@badge-number)(terminals,@external-code)";
        format!("`{text}` is not a list of references; write {example}")
    };
    let inner = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'));
    let mut warnings = Vec::new();
    for pair in inner.ok_or_else(malformed)?.split(")(") {
        let (collection, reference) = pair.split_once(',').ok_or_else(malformed)?;
        let (collection, reference) = (collection.trim(), reference.trim());
        if collection.is_empty() || reference.is_empty() || reference.contains(['(', ')', ',']) {
            return Err(malformed());
        }
        known_collection(collection, &mut warnings)?;
        known_reference(collection, reference)?;
        let supported = &operation.external_references;
        if !supported.is_empty() && !supported.contains(&collection) {
            let supported = supported.join(", ");
            warnings.push(format!(
                "query parameter `externalReferences`: `{collection}` is not documented for `{entity}` ({supported}); it is sent all the same"
            ));
        }
    }
    Ok(warnings)
}

fn known_collection(collection: &str, warnings: &mut Vec<String>) -> Result<(), String> {
    let known = catalogue().reference_collections();
    if known.contains(collection) {
        return Ok(());
    }
    let renamed = RENAMED.iter().find(|(old, _)| *old == collection);
    let meant = renamed.map(|(_, new)| *new);
    if let Some(meant) = meant.or_else(|| nearest(collection, known)) {
        return Err(format!(
            "there is no collection `{collection}`; did you mean `{meant}`?"
        ));
    }
    warnings.push(format!(
        "query parameter `externalReferences`: the collection `{collection}` is not documented; it is sent all the same"
    ));
    Ok(())
}

/// Names with `@` are Protime's own fields. Any other name may be a custom reference.
fn known_reference(collection: &str, reference: &str) -> Result<(), String> {
    // The ids in restrictions are those of activity definitions.
    let of = match collection {
        "activity-restrictions" => "activity-definitions",
        other => other,
    };
    let known = catalogue().predefined_external_references(of);
    if !reference.starts_with('@')
        || known.contains(&reference)
        || !catalogue().reference_collections().contains(collection)
    {
        return Ok(());
    }
    let renamed = RENAMED_REFERENCES.iter().find(|(old, _)| *old == reference);
    let meant = renamed
        .map(|(_, new)| *new)
        .filter(|new| known.contains(new));
    let meant = meant.or_else(|| nearest(reference, known.iter().copied()));
    let hint = match (meant, known) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, []) => "it has no predefined ones, only those of your own, without `@`".to_owned(),
        (None, known) => format!("predefined are {}", known.join(", ")),
    };
    Err(format!(
        "`{collection}` has no reference `{reference}`; {hint}"
    ))
}
