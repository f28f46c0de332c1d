//! Suggestions for misspelt names.

/// The candidate that a name probably means. Case and signs between letters do not count, and a letter or two may be
/// wrong.
///
/// ```
/// assert_eq!(protime::nearest("fitler", ["filter", "externalReferences"]), Some("filter"));
/// assert_eq!(protime::nearest("$Filter", ["filter"]), Some("filter"));
/// assert_eq!(protime::nearest("top", ["filter"]), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let wanted = plain(name);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= allowed(wanted.len().min(candidate.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// In bytes. A longer name is no typing error.
const LONGEST: usize = 100;

/// Letters and digits in lower case.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// How many letters may be wrong in a name of this length.
fn allowed(length: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=4 => 1,
        _ => 2,
    }
}
